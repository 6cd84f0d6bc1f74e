"""How a study stands: counted from its plan, its store and the times of its checkpoints, by whoever can read them."""

import time
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from analysis.table.store import read_study, with_extra_columns
from robustness import store
from robustness.durations import duration
from robustness.store import Folder
from search_spaces import Study

LEAST_RUNNING_MINUTES = 10
LATEST_PACKS = 12
LATEST_SECONDS = 3600.0

_NO_AXES = {
    "trial_id", "pack_id", "study", "design", "family", "loss", "seed", "dataset", "encoder", "trial",
    "extra_hyperparameters",
}  # fmt: skip


@dataclass(frozen=True)
class FamilyStanding:
    """Trials of one family: `done` are stored, with those that failed; `left` are not, with those that run."""

    family: str
    done: int
    failed: Mapping[str, int]
    running: int
    left: int

    @property
    def failures(self) -> str:
        """`3 diverged, 1 timeout`; `0`."""
        return ", ".join(f"{count:,} {name}" for name, count in self.failed.items()) or "0"


@dataclass(frozen=True)
class Best:
    """The best configuration of a family on a data set so far: its mean outcome over the seeds that are done."""

    dataset: str
    family: str
    mean: float
    seeds: int
    configuration: Mapping[str, float | int | str]


@dataclass(frozen=True)
class Standing:
    """How a study stands.

    Args:
        study: its name.
        adaptive: whether trials are planned as others end: then at most as many are left as this says.
        outcome: the column that its analysis is about.
        families: in the order of the plan.
        best: a row a data set and family with at least one outcome.
        trials_per_minute: of the latest packs; None before there are two.
        seconds_left: at that rate; None where it is unknown, 0 when all is done.
        last_stored: when the latest pack was stored; None before the first.
    """

    study: str
    adaptive: bool
    outcome: str
    families: tuple[FamilyStanding, ...]
    best: tuple[Best, ...]
    trials_per_minute: float | None
    seconds_left: float | None
    last_stored: datetime | None

    @property
    def total(self) -> FamilyStanding:
        """All families together."""
        failed = sum((Counter(each.failed) for each in self.families), Counter[str]())
        counts = {name: sum(getattr(each, name) for each in self.families) for name in ("done", "running", "left")}
        return FamilyStanding("all", failed=dict(failed), **counts)

    @property
    def progress(self) -> str:
        """`120 of 530 trials stored, 410 left`."""
        total, most = self.total, "at most " if self.adaptive else ""
        return f"{total.done:,} of {most}{total.done + total.left:,} trials stored, {total.left:,} left"

    def pace(self, now: datetime) -> str:
        """`31 trials a minute, about 12 min left; the latest pack 20 s ago`; empty before the first."""
        parts = []
        if self.trials_per_minute is not None and self.total.left:
            speed = f"{self.trials_per_minute:.3g} trials a minute"
            parts.append(f"{speed}, about {duration(self.seconds_left)} left")
        if self.last_stored is not None:
            parts.append(f"the latest pack {duration((now - self.last_stored).total_seconds())} ago")
        return "; ".join(parts)

    def plain(self) -> dict[str, Any]:
        """As data that JSON can hold."""
        last = None if self.last_stored is None else self.last_stored.isoformat()
        return {**asdict(self), "total": asdict(self.total), "last_stored": last}


def standing(folder: Folder) -> Standing:
    """How the study in a folder stands; reads only, so it may be called while others write.

    Raises:
        StoreError: there is no study in this folder, or it is damaged.
    """
    planned = store.read_plan(folder)
    study = read_study(folder, planned)
    outcome = study.analysis.outcome
    stored = store.read(folder, ["trial_id", "pack_id", "status", "finished_at", outcome])
    stored = stored[stored["trial_id"].isin(planned["trial_id"])]
    minutes = max(LEAST_RUNNING_MINUTES, study.resources.checkpoint_minutes)
    running = running_packs(folder, seconds=60 * minutes)
    families = tuple(_families(planned, stored, running=running, expected=_expected(study, planned)))
    rate, left = _trials_per_second(stored), sum(each.left for each in families)
    last = stored["finished_at"].max()
    return Standing(
        study=study.name,
        adaptive=study.design.adaptive,
        outcome=outcome,
        families=families,
        best=tuple(_best(planned, stored, study)),
        trials_per_minute=None if rate is None else 60 * rate,
        seconds_left=0.0 if left == 0 else None if rate is None else left / rate,
        last_stored=None if pd.isna(last) else last.to_pydatetime(),
    )


def running_packs(folder: Folder, *, seconds: float) -> set[str]:
    """The packs whose checkpoint is younger than so many seconds."""
    checkpoints, oldest, packs = folder / "checkpoints", time.time() - seconds, set()
    for path in checkpoints.glob("*/*"):
        # A pack that is stored meanwhile takes its checkpoint away.
        with suppress(FileNotFoundError):
            if path.stat().st_mtime > oldest:
                packs.add(path.parent.name)
    return packs


def _expected(study: Study, planned: pd.DataFrame) -> dict[str, int]:
    """How many trials each family will have: those of the plan, and of an adaptive design those to come."""
    counts = {str(family): int(count) for family, count in planned.groupby("family", sort=False).size().items()}
    if not study.design.adaptive:
        return counts
    from robustness.plan import num_expected

    return {family: max(count, counts.get(family, 0)) for family, count in num_expected(study).items()}


def _families(
    planned: pd.DataFrame, stored: pd.DataFrame, *, running: set[str], expected: Mapping[str, int]
) -> Iterator[FamilyStanding]:
    """Counts of each family; of a pack that runs, those trials that are not stored."""
    status = planned["trial_id"].map(stored.set_index("trial_id")["status"])
    runs = status.isna() & planned["pack_id"].isin(running)
    for family, count in expected.items():
        own = planned["family"] == family
        found = status[own].value_counts()
        done = int(found.sum())
        failed = {str(name): int(found[name]) for name in sorted(found.index) if name not in ("ok", "stopped")}
        yield FamilyStanding(family, done=done, failed=failed, running=int(runs[own].sum()), left=count - done)


def _best(planned: pd.DataFrame, stored: pd.DataFrame, study: Study) -> list[Best]:
    """As `evaluation.keep: best` chooses: the fewest seeds that failed first, then the mean over seeds."""
    outcome, maximize = study.analysis.outcome, study.analysis.direction == "maximize"
    rows = with_extra_columns(planned)
    axes = [name for name in rows if name not in _NO_AXES]
    rows["configuration"] = rows.groupby(["dataset", "family", *axes], dropna=False, sort=False).ngroup()
    done = rows[["trial_id", "dataset", "family", "configuration"]].merge(stored, on="trial_id")
    done["failed"] = done[outcome].isna()
    groups = done.groupby(["dataset", "family", "configuration"], sort=False)
    found = groups.agg(failed=("failed", "sum"), mean=(outcome, "mean"), seeds=(outcome, "count")).reset_index()
    found = found[found["seeds"] > 0].sort_values(["failed", "mean"], ascending=[True, not maximize], kind="stable")
    found = found.drop_duplicates(["dataset", "family"]).sort_values("configuration")
    settings = rows.drop_duplicates("configuration").set_index("configuration")[axes].to_dict("index")
    varying = {family: own.columns[own.nunique(dropna=False) > 1] for family, own in rows.groupby("family")[axes]}
    return [
        Best(dataset, family, mean, seeds, _setting({name: settings[place][name] for name in varying[family]}))
        for dataset, family, place, mean, seeds in found[
            ["dataset", "family", "configuration", "mean", "seeds"]
        ].itertuples(index=False)
    ]


def _setting(values: Mapping[Hashable, Any]) -> dict[str, float | int | str]:
    """Values by axis, whole numbers as such; an axis that the family lacks is left out."""
    return {
        str(name): int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in values.items()
        if not pd.isna(value)
    }


def _trials_per_second(stored: pd.DataFrame) -> float | None:
    """Of the packs that were stored in the last hour of the sweep, and of at least the latest twelve."""
    ends = stored.groupby("pack_id")["finished_at"].max().sort_values()
    if len(ends) < 2:
        return None
    recent = int((ends > ends.iloc[-1] - pd.Timedelta(seconds=LATEST_SECONDS)).sum())
    ends = ends.iloc[-max(recent, LATEST_PACKS) :]
    seconds = (ends.iloc[-1] - ends.iloc[0]).total_seconds()
    # The first of these packs only begins the time in which the others were trained.
    trials = int(stored["pack_id"].isin(ends.index[1:]).sum())
    return trials / seconds if seconds > 0 else None
