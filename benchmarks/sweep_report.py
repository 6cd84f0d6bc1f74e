"""The results of `sweep.py` as tables, as records, and beside their targets."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from loss_report import Target
from rich.table import Table
from scipy.stats import mannwhitneyu, permutation_test
from sweep_turns import Turn

CONTENDERS: Mapping[str, str] = {"ours": "ours", "single": "ours, packs of 1", "tune": "plain Ray Tune"}
TARGET_SPEEDUP = 10.0
TARGET_P = 0.01


@dataclass(frozen=True)
class Rate:
    """A contender at a batch size: medians over its turns. ratio: our rate over its own; NaN where ours has none."""

    contender: str
    batch_size: int
    trials: int
    turns: int
    per_hour: float
    ratio: float
    busy_seconds: float
    start_up_seconds: float


@dataclass(frozen=True)
class Step:
    """Our step at a batch size: milliseconds of a slice of `members`, and of its matrix products alone."""

    batch_size: int
    members: int
    milliseconds: float
    floor_milliseconds: float

    @property
    def floor_share(self) -> float:
        """Floor / step: 1 would be a step that costs nothing but its products."""
        return self.floor_milliseconds / self.milliseconds


@dataclass(frozen=True)
class SameWork:
    """Linear accuracy of the same trials by ours and by plain Ray Tune; batch_size None: all together.

    paired_p: of a sign-flip test of the paired differences. A trial and its twin have the same configuration and
    initial weights; if both codes do the same work, either result could be either's, so that every sign is as likely.
    unpaired_p: of the Mann-Whitney test, which asks less.
    """

    batch_size: int | None
    trials: int
    ours: float
    tune: float
    paired_p: float
    unpaired_p: float


def rates(turns: Sequence[Turn]) -> list[Rate]:
    """A line for each batch size and contender, in their order of appearance."""
    groups: dict[tuple[int, str], list[Turn]] = {}
    for turn in turns:
        groups.setdefault((turn.batch_size, turn.contender), []).append(turn)
    medians = {key: statistics.median(turn.per_hour for turn in group) for key, group in groups.items()}
    return [
        Rate(
            contender,
            batch_size,
            trials=sum(len(turn.trials) for turn in group),
            turns=len(group),
            per_hour=medians[batch_size, contender],
            ratio=medians.get((batch_size, "ours"), float("nan")) / medians[batch_size, contender],
            busy_seconds=statistics.median(turn.busy_seconds for turn in group),
            start_up_seconds=statistics.median(turn.start_up_seconds for turn in group),
        )
        for (batch_size, contender), group in sorted(groups.items(), key=lambda item: item[0][0])
    ]


def same_work(turns: Sequence[Turn]) -> list[SameWork]:
    """A line for each batch size and one for all, of the trials that both ours and plain Ray Tune ran."""
    columns = ["trial_id", "batch_size", "linear_top1"]
    rows = pd.concat([turn.trials.assign(contender=turn.contender, batch_size=turn.batch_size) for turn in turns])
    sides = [rows.loc[rows["contender"] == name, columns] for name in ("ours", "tune")]
    both = sides[0].merge(sides[1], on=["trial_id", "batch_size"], suffixes=("", "_tune"))
    groups: list[tuple[int | None, pd.DataFrame]] = [(int(size), group) for size, group in both.groupby("batch_size")]
    if len(groups) > 1:
        groups.append((None, both))
    return [_compared(size, group) for size, group in groups]


def targets(rated: Sequence[Rate], compared: Sequence[SameWork]) -> list[Target]:
    """The acceptance lines: the speed at each batch size, and that all trials together do the same work."""
    lines = [
        Target(f"ours against plain Ray Tune, batch size {rate.batch_size}: at least", rate.ratio, TARGET_SPEEDUP, True)
        for rate in rated
        if rate.contender == "tune"
    ]
    p = compared[-1].paired_p if compared else float("nan")
    return [*lines, Target("p of equal accuracies: at least", p, TARGET_P, True)]


def rates_table(rated: Sequence[Rate]) -> Table:
    """Trials per hour."""
    table = _table("batch size", "contender", "trials", "turns", "trials / h", "ours / it", "s a trial", "start-up s")
    for rate in rated:
        figures = (f"{rate.per_hour:,.0f}", f"{rate.ratio:.2f}", f"{rate.busy_seconds:.2f}")
        counts = (str(rate.trials), str(rate.turns))
        table.add_row(
            str(rate.batch_size), CONTENDERS[rate.contender], *counts, *figures, f"{rate.start_up_seconds:.1f}"
        )
    return table


def steps_table(steps: Sequence[Step]) -> Table:
    """Our step and its floor."""
    table = _table("batch size", "members", "step ms", "floor ms", "floor share")
    for step in steps:
        times = (f"{step.milliseconds:.2f}", f"{step.floor_milliseconds:.2f}", f"{step.floor_share:.2f}")
        table.add_row(str(step.batch_size), str(step.members), *times)
    return table


def same_work_table(compared: Sequence[SameWork]) -> Table:
    """Accuracies of the same trials."""
    table = _table("batch size", "trials", "ours", "Ray Tune", "difference", "p paired", "p unpaired")
    for line in compared:
        means = (f"{line.ours:.4f}", f"{line.tune:.4f}", f"{line.ours - line.tune:+.4f}")
        p_values = (f"{line.paired_p:.3f}", f"{line.unpaired_p:.3f}")
        table.add_row(str(line.batch_size or "all"), str(line.trials), *means, *p_values)
    return table


def _compared(batch_size: int | None, both: pd.DataFrame) -> SameWork:
    ours, tune = both["linear_top1"].to_numpy(), both["linear_top1_tune"].to_numpy()
    paired = permutation_test(
        (ours, tune), _mean_difference, permutation_type="samples", vectorized=True, rng=np.random.default_rng(0)
    )
    unpaired = mannwhitneyu(ours, tune)
    means = (float(ours.mean()), float(tune.mean()))
    return SameWork(batch_size, len(both), *means, float(paired.pvalue), float(unpaired.pvalue))


def _mean_difference(ours: Any, tune: Any, axis: int) -> Any:
    return np.mean(ours, axis=axis) - np.mean(tune, axis=axis)


def _table(*headings: str) -> Table:
    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "contender" else "right", no_wrap=True)
    return table
