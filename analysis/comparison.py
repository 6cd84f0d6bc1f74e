"""Families against a reference, trial by trial: the same seed and the same shared setting on both sides."""

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.cells import Cells, cells
from analysis.crossfit import choose_best
from analysis.labels import counted
from analysis.table import Table

Floats = NDArray[np.float64]
Profile = Literal["mean", "best"]

COLUMNS = (
    "dataset", "outcome", "family", "against", "profile", "measure", "difference", "low", "high", "p", "p_adjusted",
    "verdict", "n_pairs", "n_seeds", "reason",
)  # fmt: skip

PROFILES: tuple[Profile, ...] = ("mean", "best")
"""What stands for a family at a shared setting: the mean over its own axes, or their best, chosen on other seeds."""

VERDICTS = ("better", "non-inferior", "equivalent", "undecided", "worse")

FEWEST_PAIRS, FEWEST_SEEDS, MOST_SEEDS = 6, 3, 1000


def compare(table: Table) -> pd.DataFrame:
    """Paired differences of every family from the reference, with a verdict.

    With d(x, s) the difference at shared setting x and seed s, and d_s its mean over x:

        difference = mean_s d_s,    interval: +- t(S - 1) sd(d_s) / sqrt(S)

    The settings of a grid are fixed, so the seeds alone are the sample. The margin is `table.equivalence`.
    In this order: the 90 % interval inside +-margin is `equivalent`; the 95 % interval above 0 `better`, below 0
    `worse`, above -margin `non-inferior`; else `undecided`, with how many seeds more would decide.

    Returns:
        A row a family and profile (columns `COLUMNS`), differences in the outcome's unit and direction; p from
        the t distribution, adjusted by Holm's method within a profile. NaN with a reason where settings are a
        sample, or there are fewer than 3 seeds or 6 pairs. No rows without a reference.
    """
    rows = [
        row
        for dataset in table.datasets
        for profile in PROFILES
        for row in _adjusted(list(_rows(table, dataset, profile)))
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(table: Table, dataset: str, profile: Profile) -> Iterator[dict[str, Any]]:
    if table.reference is None or table.reference not in table.axes:
        return
    reference = cells(table, dataset, table.reference, table.outcome)
    if reference is None:
        return
    for family in table.axes:
        found = cells(table, dataset, family, table.outcome) if family != table.reference else None
        if found is not None:
            labels = {"dataset": dataset, "outcome": table.outcome, "family": family, "against": table.reference}
            labels |= {"profile": profile, "measure": "difference"}
            yield labels | _difference(table, found, reference, profile)


def _difference(table: Table, family: Cells, reference: Cells, profile: Profile) -> dict[str, Any]:
    ours, theirs = (_profiled(one, table.shared, profile) for one in (family, reference))
    settings = [key for key in ours if key in theirs]
    pairs = np.array([ours[key] - theirs[key] for key in settings]).reshape(len(settings), family.outcome.shape[1])
    complete = np.isfinite(pairs).all(axis=0)
    pairs = pairs[:, complete]
    count = {"n_pairs": pairs.size, "n_seeds": pairs.shape[1]}
    if table.design != "grid":
        return _undecided("the settings are a sample: no paired comparison") | count
    if pairs.shape[1] < FEWEST_SEEDS or pairs.size < FEWEST_PAIRS:
        return _undecided(f"fewer than {FEWEST_SEEDS} seeds or {FEWEST_PAIRS} pairs") | count
    per_seed = pairs.mean(axis=0)
    mean, error = float(per_seed.mean()), float(per_seed.std(ddof=1)) / math.sqrt(len(per_seed))
    df = len(per_seed) - 1
    half = float(stats.t.ppf(0.975, df)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, df)) if error > 0 else float(mean == 0)
    verdict, reason = _verdict(mean, error, df, margin=table.equivalence)
    sign = family.sign
    low, high = sorted((sign * (mean - half), sign * (mean + half)))
    found = {"difference": sign * mean, "low": low, "high": high, "p": p, "verdict": verdict, "reason": reason}
    return found | count


def _profiled(family: Cells, shared: tuple[str, ...], profile: Profile) -> dict[tuple[Any, ...], Floats]:
    """Shared setting -> the family's outcome there, by seed; larger is better."""
    names = [name for name in family.settings.columns if name in shared]
    keys = (
        [tuple(row) for row in family.settings[names].itertuples(index=False)] if names else [()] * family.num_configs
    )
    found = {}
    for key in dict.fromkeys(keys):
        rows = np.array([other == key for other in keys])
        outcome, selection = family.outcome[rows], family.selection[rows]
        if profile == "best":
            found[key] = choose_best(selection, outcome).values
        else:
            # A seed with a missing trial has no mean over all of the family's settings.
            found[key] = outcome.mean(axis=0)
    return found


def _verdict(mean: float, error: float, df: int, *, margin: float) -> tuple[str, str]:
    verdict = _decided(mean, error, df, margin=margin)
    if verdict is not None:
        return verdict, ""
    seeds, deviation = df + 1, error * math.sqrt(df + 1)
    for count in range(seeds + 1, MOST_SEEDS):
        if _decided(mean, deviation / math.sqrt(count), count - 1, margin=margin) is not None:
            return "undecided", f"about {counted(count - seeds, 'more seed')} would decide it"
    return "undecided", f"more than {MOST_SEEDS} seeds would be needed"


def _decided(mean: float, error: float, df: int, *, margin: float) -> str | None:
    """The verdict on a difference with this standard error; None where there is none."""
    half = float(stats.t.ppf(0.975, df)) * error
    if abs(mean) + float(stats.t.ppf(0.95, df)) * error < margin:
        return "equivalent"
    if abs(mean) > half:
        return "better" if mean > 0 else "worse"
    return "non-inferior" if mean - half > -margin else None


def _undecided(reason: str) -> dict[str, Any]:
    numbers = dict.fromkeys(("difference", "low", "high", "p"), math.nan)
    return numbers | {"verdict": "undecided", "reason": reason}


def _adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With Holm's adjusted p: the k-th smallest of m times m - k + 1, never below a smaller one's."""
    known = sorted((row for row in rows if math.isfinite(row["p"])), key=lambda row: float(row["p"]))
    largest = 0.0
    for rank, row in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * row["p"]))
        row["p_adjusted"] = largest
    return [{"p_adjusted": math.nan, **row} for row in rows]
