"""Anybody's table of trials, a row a trial, as a Table."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.labels import counted
from analysis.table import VALIDATION, Axis, Direction, Table, TableError, worst_finite
from analysis.table.axes import DESIGNS, axes_of, design_of, with_design
from analysis.table.columns import (
    AxisColumn,
    axis_values,
    labels,
    outcome_values,
    parse_axes,
    replicates,
    require,
    require_one_of,
    statuses,
)
from analysis.table.files import read_table

SHARES = (0.005, 0.01, 0.02)
"""Tolerances of an outcome in [0, 1]; of another, as shares of the distance from the best to the floor."""

RESERVED = ("dataset", "family", "seed", "status", "design", "failed", "trial_id")

_ALSO_KEPT = (VALIDATION, "z_effective_rank", "z_wasserstein")


def from_file(path: str | Path, *, axes: str, outcome: str, **columns: Any) -> Table:
    """Read a Parquet or CSV file; `columns` are the other arguments of `from_frame`. For instance:

        from_file("runs.csv", group="method", axes="lr:log,kernel", outcome="accuracy", replicate="seed")

    Raises:
        TableError: one line with the file, the place, the rule and the value.
    """
    named = [item.strip() for item in axes.split(",") if ":" not in item]
    words = {*named, *(str(columns[role]) for role in ("group", "dataset", "status") if columns.get(role))}
    frame = read_table(path, words=words)
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
        axes: `column[:scale],...` with linear, log or log2; without a scale linear, or categories for words. An
            axis without any value in a family is none of its.
        outcome: the column to analyse. A missing or infinite one counts as a failure.
        group: the column of families; None for one family, `all`.
        replicate: the column of seeds: equal values share their luck; None where each configuration ran once.
        dataset: the column of data sets; None for one, `data`.
        status: a column of booleans, True for a failure, or of words: ok, stopped, anything else failed.
        floor: what a failure counts as; None for the worst finite value of its data set.
        reference: the family that others are compared with.
        tolerances: how far below the best still counts as good, in the outcome's unit; None for .005, .01 and
            .02, as shares of the distance from best to floor where outcomes leave [0, 1].
        normalised: the outcome is scaled to each data set already.
        name: of the report.

    Raises:
        TableError: a mistake, in one line: the place, the rule and the value.
    """
    if frame.empty:
        raise TableError("expected at least one row, got none")
    asked = parse_axes(axes, [str(column) for column in frame.columns])
    _check_roles(frame, asked, {"outcome": outcome, "group": group, "replicate": replicate, "dataset": dataset,
                                "status": status})  # fmt: skip
    trials = _trials(frame, asked, outcome, group=group, replicate=replicate, dataset=dataset, status=status)
    floors = _floors(trials, outcome, direction, floor)
    failed = ~trials["status"].isin(["ok", "stopped"])
    trials.loc[failed, [name for name in (outcome, *_ALSO_KEPT) if name in trials]] = np.nan
    found = axes_of(trials, asked)
    trials, repeated = _distinct(trials, [axis.name for axis in asked], outcome, replicate)
    design, told = design_of(trials, found)
    if reference is not None:
        require_one_of("reference", reference, list(found))
    within, words = _tolerances(trials, outcome, floors, direction, tolerances)
    return Table(
        name=name,
        trials=trials,
        baseline=trials.iloc[:0],
        axes=with_design(trials, found, design),
        shared=tuple(axis.name for axis in asked if all(axis.name in map(_name, own) for own in found.values())),
        outcome=outcome,
        selection=VALIDATION if VALIDATION in trials and outcome.endswith("_top1") else outcome,
        direction=direction,
        floor=next(iter(floors.values())),
        reference=reference,
        tolerances=within,
        equivalence=within[len(within) // 2],
        design=design,
        num_planned=len(trials),
        floors=floors,
        normalised=normalised,
        notes=tuple(note for note in (told, _floor_words(floors, floor), words, repeated) if note),
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
    values = outcome_values(frame[outcome])
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
    columns |= {name: outcome_values(frame[name]) for name in others}
    return pd.DataFrame(columns | {outcome: values})


def _one_label(name: str, count: int) -> "pd.Categorical[str]":
    return pd.Categorical([name]).repeat(count)


def _floors(trials: pd.DataFrame, outcome: str, direction: Direction, floor: float | None) -> dict[str, float]:
    """By data set: as declared, else the worst finite value there is, NaN where there is none."""
    if floor is not None and not math.isfinite(floor):
        raise TableError(f"floor: expected a finite number, got {floor:g}")
    groups = trials.groupby("dataset", observed=True, sort=True)[outcome]
    return {
        str(name): worst_finite(values, direction=direction) if floor is None else float(floor)
        for name, values in groups
    }


def _floor_words(floors: Mapping[str, float], floor: float | None) -> str:
    if floor is not None:
        return f"A failure counts as {floor:g}, as declared."
    values = ", ".join(f"{value:g} on {name}" if len(floors) > 1 else f"{value:g}" for name, value in floors.items())
    return f"A failure counts as the worst finite value of its data set: {values}."


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


def _tolerances(
    trials: pd.DataFrame, outcome: str, floors: Mapping[str, float], direction: Direction,
    declared: Sequence[float] | None,
) -> tuple[tuple[float, ...], str]:  # fmt: skip
    """Sorted, in the outcome's unit, and in a sentence where they come from."""
    if declared is not None:
        wrong = [value for value in declared if not (math.isfinite(value) and value > 0)]
        if wrong or not declared:
            raise TableError(f"tolerances: expected numbers above 0, got {wrong[0] if wrong else 'none'}")
        return tuple(sorted({float(value) for value in declared})), ""
    finite = trials[np.isfinite(trials[outcome])]
    if finite.empty or finite[outcome].between(0, 1).all():
        return SHARES, ""
    best = finite.groupby("dataset", observed=True)[outcome].agg("max" if direction == "maximize" else "min")
    spans = [abs(value - floors[str(name)]) for name, value in best.items()]
    span = min((span for span in spans if span > 0), default=1.0)
    found = tuple(float(f"{share * span:.3g}") for share in SHARES)
    smallest = "the smallest distance of a data set" if len(spans) > 1 else "the distance"
    return found, f"Tolerances are .5, 1 and 2 % of {smallest} from the best outcome to the floor, {span:.3g}."
