"""What was run: the study, its trials by status, their cost and the versions that made them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.labels import MISSING, counted, level, listed, quantity, short, shortened, words
from analysis.report.results import has_failed
from analysis.table import Axis, Table
from analysis.table.names import legible
from search_spaces import Study

PROFILE_WORDS = {"mean": "mean of settings", "best": "best setting"}

_MOST_ERRORS, _LONGEST_ERROR = 8, 200
"""Texts that the page shows, and characters of each: the column `error` of the trials has all."""

COLLAPSE = ("none", "dimensional", "complete")
"""Categories of the `collapse` column, from harmless to useless."""


@dataclass(frozen=True)
class Grid:
    """A table of the page: its columns' titles, and rows of text; the first column names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def facts(study: Study, stored: pd.DataFrame, *, num_planned: int) -> list[tuple[str, str]]:
    """Pairs of a term and what was the case."""
    ok, failed = int((stored["status"] == "ok").sum()), int(has_failed(stored).sum())
    left = f"; {num_planned - len(stored):,} still to run" if len(stored) < num_planned else ""
    counts = f"{num_planned:,} planned, {len(stored):,} stored, {ok:,} ok, {failed:,} failed{left}"
    return [
        ("Study", study.name),
        ("Data", listed([legible(name) for name in study.data.datasets])),
        ("Model", _model(study)),
        ("Training", _training(study)),
        ("Design", _design(study)),
        ("Seeds", f"{len(study.seeds)} ({', '.join(str(seed) for seed in study.seeds)})"),
        ("Trials", counts),
        ("Training time", f"{_duration(stored['train_seconds'].sum())} over all workers"),
        ("Device", _versions(stored, "device")),
        ("Versions", _program_versions(stored)),
    ]


def status_counts(stored: pd.DataFrame, planned: pd.DataFrame | None = None) -> Grid:
    """Trials by family and status, and what was planned where there is a plan; only statuses that occur are shown."""
    statuses = [status for status in ("ok", *sorted(set(stored["status"]) - {"ok"})) if status]
    rows = []
    for family in (stored if planned is None else planned)["family"].drop_duplicates():
        mine = stored[stored["family"] == family]
        counts = [int((mine["status"] == status).sum()) for status in statuses]
        if planned is not None:
            count = int((planned["family"] == family).sum())
            counts = [count, *counts, count - len(mine)]
        rows.append([legible(family), *(f"{number:,}" for number in counts)])
    columns = [words(status) for status in statuses]
    return Grid(["family", *(columns if planned is None else ["planned", *columns, "not run yet"])], rows)


def errors(table: Table) -> Grid:
    """What failed trials said, by status, the most frequent first; no rows where nobody tells."""
    failed = table.trials[has_failed(table.trials)]
    if "error" not in failed or failed["error"].isna().all():
        return Grid([], [])
    said = failed.dropna(subset="error")
    said = said.assign(error=[short(text.strip().partition("\n")[0], longest=_LONGEST_ERROR) for text in said["error"]])
    groups = sorted(said.groupby(["status", "error"], observed=True), key=lambda group: (-len(group[1]), group[0]))
    rows = [
        [words(str(status)), f"{len(trials):,}", shortened(list(trials["family"].unique())), str(text)]
        for (status, text), trials in groups[:_MOST_ERRORS]
    ]
    return Grid(["status", "trials", "families", "error"], rows)


def table_facts(table: Table) -> list[tuple[str, str]]:
    """The same of a table that no study of ours made, as far as it tells."""
    trials, seeds = table.trials, table.trials["seed"].nunique()
    ok, failed = int((trials["status"] == "ok").sum()), int(has_failed(trials).sum())
    configurations = [
        len(trials.loc[trials["family"] == family, [axis.name for axis in axes]].drop_duplicates())
        for family, axes in table.axes.items()
    ]
    return [
        ("Table", table.name),
        ("Data", listed(list(table.datasets))),
        ("Families", f"{len(table.axes)}"),
        ("Configurations", f"{sum(configurations):,}"),
        ("Seeds", f"{seeds}"),
        ("Trials", f"{len(trials):,} rows, {ok:,} ok, {failed:,} failed"),
        ("Outcome", f"{table.outcome}, to {table.direction}"),
        ("Tolerances", ", ".join(f"{tolerance:g}" for tolerance in table.tolerances)),
        ("Read as", " ".join(table.notes)),
    ]


def compared(table: Table, comparisons: pd.DataFrame) -> Grid:
    """Families against the reference: differences with intervals, and verdicts."""
    shown = quantity(table.outcome)
    rows = []
    for row in comparisons[comparisons["measure"] == "difference"].to_dict("records"):
        known = not math.isnan(row["difference"])
        interval = f"{shown.number(row['low'])} to {shown.number(row['high'])}" if known else MISSING
        profile = PROFILE_WORDS[row["profile"]]
        rows.append([row["family"], profile, row["verdict"], shown.number(row["difference"]), interval, row["reason"]])
    return Grid(["family", "compared", "verdict", "difference", "95 % interval", "note"], rows)


def axis_ranges(table: Table) -> Grid:
    """The range of every varying axis: what the numbers are true for."""
    rows = [[family, *_range(axis)] for family, axes in table.axes.items() for axis in axes]
    return Grid(["family", "axis", "scale", "from", "to", "levels"], rows)


def _range(axis: Axis) -> list[str]:
    if axis.scale is None:
        return [words(axis.name), MISSING, MISSING, MISSING, ", ".join(str(value) for value in axis.levels)]
    return [
        words(axis.name),
        axis.scale,
        level(axis.low),
        level(axis.high),
        f"{len(axis.levels)}" if axis.levels else "continuous",
    ]


def _model(study: Study) -> str:
    widths = " \u2192 ".join(str(width) for width in study.model.projector)
    normalised = " with batch normalisation" if study.model.projector_batch_norm else ""
    return f"{study.model.encoder} encoder; projector {widths}{normalised}"


def _training(study: Study) -> str:
    training = study.training
    lengths = {"epoch": training.epochs, "update": training.updates, "image": training.images}
    length = next(counted(count, unit) for unit, count in lengths.items() if count is not None)
    rate = f"learning rate {training.learning_rate:g}, {training.schedule} schedule"
    momentum = f" with momentum {training.momentum:g}" if training.optimizer == "sgd" else ""
    return f"{length} of {words(training.optimizer)}{momentum}, {rate}"


def _design(study: Study) -> str:
    if study.design.kind == "grid":
        return "complete grid"
    return f"{study.design.configurations} {study.design.kind} points per family, seed {study.design.seed}"


def _versions(stored: pd.DataFrame, column: str) -> str:
    """The different values of a column, with the number of trials where there are several."""
    counts = stored[column].dropna().value_counts().sort_index()
    if len(counts) == 1:
        return legible(str(counts.index[0]))
    return ", ".join(f"{legible(str(value))} ({counted(count, 'trial')})" for value, count in counts.items()) or MISSING


def _program_versions(stored: pd.DataFrame) -> str:
    names = {"code_version": "robustness", "protocol_version": "protocol", "torch_version": "torch"}
    return "; ".join(f"{name} {_versions(stored, column)}" for column, name in names.items())


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
