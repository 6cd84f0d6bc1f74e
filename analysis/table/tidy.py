"""Anybody's table of trials, a row a trial, as a Table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.labels import counted
from analysis.table import VALIDATION, Axis, Direction, Table, TableError
from analysis.table.axes import DESIGNS, axes_of, constant_axes, design_of, with_design
from analysis.table.columns import (
    AxisColumn,
    axis_values,
    labels,
    parse_axes,
    replicates,
    require,
    require_one_of,
    require_unique,
)
from analysis.table.files import read_table
from analysis.table.numbers import numbers
from analysis.table.outcomes import check_outcomes, floor_words, floors, tolerances_of
from analysis.table.statuses import statuses

RESERVED = ("dataset", "family", "seed", "status", "design", "failed", "trial_id")

_ALSO_KEPT = (VALIDATION, "z_effective_rank", "z_wasserstein")


def from_file(path: str | Path, *, axes: str, outcome: str, **columns: Any) -> Table:
    """Read a Parquet or CSV file; `columns` are the other arguments of `from_frame`. For instance:

        from_file("runs.csv", group="method", axes="lr:log,kernel", outcome="accuracy", replicate="seed")

    Raises:
        TableError: one line with the file, the place, the rule and the value.
    """
    named = [item.strip().removesuffix(":category") for item in axes.split(",")]
    words = {name for name in named if ":" not in name} | {columns.get(role) for role in ("group", "dataset")}
    frame = read_table(path, words=words, verbatim={columns.get("status")})
    try:
        return from_frame(frame, axes=axes, outcome=outcome, **{"name": Path(path).stem, **columns})
    except TableError as error:
        raise TableError(f"{path}: {error}") from None


def from_frame(
    frame: pd.DataFrame, *, axes: str, outcome: str, group: str | None = None, replicate: str | None = None,
    dataset: str | None = None, status: str | None = None, floor: float | None = None, reference: str | None = None,
    direction: Direction = "maximize", tolerances: Sequence[float] | None = None, normalised: bool = False,
    name: str = "table",
) -> Table:  # fmt: skip
    """A table of trials, a row each, in whatever order. In a notebook:

        table = from_frame(runs, group="method", axes="lr:log,batch_size:log2,kernel", outcome="accuracy",
                           replicate="seed", status="diverged")

    A column `design` with grid, sobol, random, tpe or gp says how configurations were chosen; without one they are
    a grid where more than half of all combinations of levels are there, else a random sample that is uniform on
    each axis's scale.

    Args:
        axes: `column[:scale],...` with linear, log, log2 or category; without a scale numbers are linear and words
            categories. An axis without any value in a family is none of its.
        outcome: the column to analyse. A missing or infinite one counts as a failure.
        group: the column of families; None for one family, `all`.
        replicate: the column of seeds: equal values share their luck; None where each configuration ran once.
        dataset: the column of data sets; None for one, `data`.
        status: a column of flags (true, yes or 1 for a failure), or of words: `statuses.WORDS` has those known.
        floor: what a failure counts as; None for the worst outcome of its data set that ended well.
        reference: the family that others are compared with.
        tolerances: how far below the best still counts as good, in the outcome's unit; None for .005, .01 and
            .02, as shares of the distance from best to floor where outcomes leave [0, 1].
        normalised: the outcome is scaled to [0, 1] on each of at least two data sets already.
        name: of the report.

    Raises:
        TableError: a mistake, in one line: the place, the rule and the value.
    """
    require_unique(frame.columns)
    if frame.empty:
        raise TableError("expected at least one row, got none")
    asked = parse_axes(axes, [str(column) for column in frame.columns])
    _check_roles(frame, asked, {"outcome": outcome, "group": group, "replicate": replicate, "dataset": dataset,
                                "status": status})  # fmt: skip
    trials = _trials(frame, asked, outcome, group=group, replicate=replicate, dataset=dataset, status=status)
    check_outcomes(trials, outcome, normalised=normalised)
    counts_as = floors(trials, outcome, direction, floor)
    failed = ~trials["status"].isin(["ok", "stopped"])
    trials.loc[failed, [name for name in (outcome, *_ALSO_KEPT) if name in trials]] = np.nan
    found = axes_of(trials, asked)
    trials, repeated = _distinct(trials, [axis.name for axis in asked], outcome, replicate)
    design, told = design_of(trials, found)
    if reference is not None:
        require_one_of("reference", reference, list(found))
    within, words = tolerances_of(trials, outcome, counts_as, direction, tolerances)
    return Table(
        name=name,
        trials=trials,
        baseline=trials.iloc[:0],
        axes=with_design(trials, found, design),
        shared=tuple(axis.name for axis in asked if all(axis.name in map(_name, own) for own in found.values())),
        outcome=outcome,
        selection=VALIDATION if VALIDATION in trials and outcome.endswith("_top1") else outcome,
        direction=direction,
        floor=next(iter(counts_as.values())),
        reference=reference,
        tolerances=within,
        equivalence=within[len(within) // 2],
        design=design,
        num_planned=len(trials),
        floors=counts_as,
        normalised=normalised,
        notes=tuple(filter(None, (told, constant_axes(found), floor_words(counts_as, floor), words, repeated))),
    )


def _name(axis: Axis) -> str:
    return axis.name


def _check_roles(frame: pd.DataFrame, asked: Sequence[AxisColumn], roles: Mapping[str, str | None]) -> None:
    """Every column is there, and has one role."""
    named = {role: column for role, column in roles.items() if column is not None}
    for role, column in named.items():
        require(role, column, frame.columns)
    for axis in asked:
        require("axes", axis.name, frame.columns)
        for role, column in named.items():
            if axis.name == column:
                raise TableError(f"axes: {axis.name!r} is the {role} already")
    for place, column in [*(("axes", axis.name) for axis in asked), ("outcome", str(roles["outcome"]))]:
        if column in RESERVED:
            raise TableError(f"{place}: {column!r} is a name of the analysis; rename the column")


def _trials(
    frame: pd.DataFrame, asked: Sequence[AxisColumn], outcome: str, *, group: str | None, replicate: str | None,
    dataset: str | None, status: str | None,
) -> pd.DataFrame:  # fmt: skip
    """The checked columns under the names of the analysis, rows as they come."""
    values = numbers(frame[outcome], place="outcome")
    columns: dict[str, Any] = {
        "dataset": _one_label("data", len(frame)) if dataset is None else labels("dataset", frame[dataset]),
        "family": _one_label("all", len(frame)) if group is None else labels("group", frame[group]),
        "seed": np.zeros(len(frame), dtype=np.int64) if replicate is None else replicates(frame[replicate]),
        "status": pd.Categorical(statuses(None if status is None else frame[status], values)),
    }
    if "design" in frame and frame["design"].isin(DESIGNS).all():
        columns["design"] = labels("design", frame["design"])
    columns |= {axis.name: axis_values(frame[axis.name], axis.scale).to_numpy() for axis in asked}
    others = [name for name in _ALSO_KEPT if name in frame and name not in columns and name != outcome]
    columns |= {name: numbers(frame[name], place="outcome") for name in others}
    return pd.DataFrame(columns | {outcome: values})


def _one_label(name: str, count: int) -> "pd.Categorical[str]":
    return pd.Categorical([name]).repeat(count)


def _distinct(
    trials: pd.DataFrame, axes: list[str], outcome: str, replicate: str | None
) -> tuple[pd.DataFrame, str]:  # fmt: skip
    """Rows in order, each configuration once a seed; and how many rows said the same again.

    Raises:
        TableError: two rows of the same configuration and seed have different outcomes.
    """
    keys = ["dataset", "family", *axes, "seed"]
    ties = [str(name) for name in trials if name not in keys]
    trials = trials.sort_values([*keys, *ties], kind="stable", ignore_index=True)
    again = trials.duplicated(keys)
    differ = again & ~trials.duplicated([*keys, "status", outcome])
    if differ.any():
        place = int(np.argmax(differ.to_numpy()))
        first, second = trials.iloc[place - 1], trials.iloc[place]
        setting = ", ".join(f"{name}={second[name]}" for name in axes if pd.notna(second[name]))
        seed = "" if replicate is None else f" with {replicate} {second['seed']}"
        hint = "; name the column that tells runs apart as the replicate" if replicate is None else ""
        ends = " and ".join(_ending(row, outcome) for row in (first, second))
        raise TableError(f"{second['family']}: {setting}{seed}: expected one outcome, got {ends}{hint}")
    count = int(again.sum())
    note = f"{counted(count, 'row')} that repeated another {'was' if count == 1 else 'were'} dropped." if count else ""
    return trials[~again].reset_index(drop=True), note


def _ending(row: "pd.Series[Any]", outcome: str) -> str:
    return f"{row[outcome]:g}" if row["status"] == "ok" else str(row["status"])
