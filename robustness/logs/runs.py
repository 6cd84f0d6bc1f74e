"""Stored trials as runs of other tools: hyperparameters, metrics over epochs, and how each ended."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa

from analysis.table.store import with_extra_columns
from robustness import store
from robustness.store import HYPERPARAMETER_COLUMNS, NUMERIC_OUTCOMES, TRIALS_SCHEMA, Folder

Row = Mapping[str, Any]

IDENTITY = ("study", "dataset", "family", "loss")
"""Hyperparameters that are words, and every trial has."""

AXES = ("seed", "batch_size", "projector_dim", "batch_policy", "learning_rate", "weight_decay")
"""Hyperparameters of no loss."""

_METRICS = (*NUMERIC_OUTCOMES, "train_seconds", "evaluate_seconds")
_EPOCH_METRICS = ("epoch", "updates", "images", *NUMERIC_OUTCOMES)
_NOTES = ("status", "error", "collapse")
_WELL = ("ok", "stopped")
_COLUMNS = [name for name in TRIALS_SCHEMA.names if not name.endswith("spectrum")]
_WHOLE = frozenset(field.name for field in TRIALS_SCHEMA if pa.types.is_integer(field.type))
_LONGEST_TEXT = 500
_PACKS_AT_ONCE = 100


@dataclass(frozen=True)
class Run:
    """A stored trial, as a tool that tracks experiments takes it.

    Args:
        trial_id: what the run is known by.
        stamp: of the stored result: another one once the trial was run again.
        failed: neither ok nor stopped early.
        started, finished: seconds since 1970.
        hyperparameters: study, dataset, family, loss, seed and every axis that the trial has.
        outcomes: its finite numbers; none of them where it failed.
        steps: metrics by the epoch in which they were measured, 1 for any time in the first; the outcomes are in
            the last one.
        notes: status, error and collapse in words.
    """

    trial_id: str
    stamp: str
    failed: bool
    started: float
    finished: float
    hyperparameters: Mapping[str, str | int | float]
    outcomes: Mapping[str, float]
    steps: Mapping[int, Mapping[str, float]]
    notes: Mapping[str, str]

    @property
    def family(self) -> str:
        """What it is grouped by."""
        return str(self.hyperparameters["family"])

    @property
    def name(self) -> str:
        """What lists of runs show."""
        return f"{self.family[:100]}-{self.trial_id[:8]}"


class RunLog(Protocol):
    """Runs in another tool, at most one a trial.

    Args:
        logged: trial_id -> stamp of each run that is there whole.
    """

    logged: dict[str, str]

    def add(self, run: Run) -> None:
        """Log a run, in the place of any that is there of its trial; `logged` then has it."""


def unlogged(folder: Folder, logged: Mapping[str, str], packs: Collection[str] | None = None) -> Iterator[Run]:
    """The stored trials that are not logged, or were run again since, those first that were finished first.

    Args:
        folder: what a sweep left behind, or fills.
        logged: as of `RunLog`; may grow meanwhile.
        packs: look only at these; all that are stored unless given.

    Raises:
        StoreError: a file is damaged, or can't be read.
    """
    stored = store.read(folder, ["trial_id", "pack_id", "finished_at"], packs=packs)
    stored = stored.assign(stamp=_stamps(stored)).sort_values(["finished_at", "trial_id"])
    pairs = zip(stored["trial_id"], stored["stamp"], strict=True)
    new = stored[[logged.get(trial_id) != stamp for trial_id, stamp in pairs]]
    waiting = new["pack_id"].unique().tolist()
    for begin in range(0, len(waiting), _PACKS_AT_ONCE):
        for run in _runs(folder, waiting[begin : begin + _PACKS_AT_ONCE]):
            if logged.get(run.trial_id) != run.stamp:
                yield run


def _runs(folder: Folder, packs: Collection[str]) -> Iterator[Run]:
    rows = with_extra_columns(store.read(folder, _COLUMNS, packs=packs))
    rows = rows.assign(stamp=_stamps(rows)).sort_values(["finished_at", "trial_id"])
    extra = [str(name) for name in rows if name not in {*_COLUMNS, "stamp"}]
    epochs: dict[str, list[Row]] = {}
    for epoch in _records(store.read_history(folder, packs=packs)[["trial_id", *_EPOCH_METRICS]]):
        epochs.setdefault(epoch["trial_id"], []).append(epoch)
    for row in _records(rows):
        yield _run(row, epochs.get(row["trial_id"], []), extra)


def _run(row: Row, epochs: list[Row], extra: list[str]) -> Run:
    # Rows that another program wrote may not tell when; tools want a time all the same.
    finished = row["finished_at"].timestamp() if "finished_at" in row else 0.0
    outcomes = _finite(row, _METRICS)
    steps = {math.ceil(epoch["epoch"]): _finite(epoch, _EPOCH_METRICS) for epoch in epochs}
    last = max(math.ceil(row.get("epochs", 0.0)), *steps, 0)
    hyperparameters = {name: row[name] for name in (*IDENTITY, *AXES, *HYPERPARAMETER_COLUMNS, *extra) if name in row}
    return Run(
        trial_id=row["trial_id"],
        stamp=row["stamp"],
        failed=row["status"] not in _WELL,
        started=finished - row.get("train_seconds", 0.0) - row.get("evaluate_seconds", 0.0),
        finished=finished,
        hyperparameters=hyperparameters,
        outcomes=outcomes,
        steps=dict(sorted({**steps, last: {**steps.get(last, {}), **outcomes}}.items())),
        notes={name: row[name] for name in _NOTES if name in row},
    )


def _records(rows: pd.DataFrame) -> list[Row]:
    """Each row without its missing values: whole numbers as such, long texts cut."""
    return [
        {str(name): _plain(str(name), value) for name, value in row.items() if not pd.isna(value)}
        for row in rows.to_dict("records")
    ]


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    return int(value) if name in _WHOLE else value


def _finite(row: Row, names: Collection[str]) -> dict[str, float]:
    return {name: float(row[name]) for name in names if name in row and math.isfinite(row[name])}


def _stamps(rows: pd.DataFrame) -> list[str]:
    """Microseconds since 1970, as text."""
    return rows["finished_at"].astype("datetime64[us, UTC]").astype("int64").astype(str).tolist()
