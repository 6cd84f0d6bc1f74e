"""What the configurations of a table tell of its axes and its design."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import pandas as pd

from analysis.table import Axis, Design, TableError
from analysis.table.columns import AxisColumn
from analysis.table.exploratory import ADAPTIVE

Axes = Mapping[str, tuple[Axis, ...]]

DESIGNS = ("grid", "sobol", "random", *sorted(ADAPTIVE))

_FULL = 0.5
"""A table is a grid where more than this share of all combinations of levels ran: random points with one continuous
axis and two categories fill exactly half."""

_LIST = 10
"""An axis of a scattered design with at most so many values was drawn from a list."""


def axes_of(trials: pd.DataFrame, asked: Sequence[AxisColumn]) -> Axes:
    """The axes of every family, with all values there are as levels; one without any value is none of its.

    Raises:
        TableError: a family has values of an axis in some rows only.
    """
    found = {}
    for family, rows in trials.groupby("family", observed=True, sort=True):
        own = [axis for axis in asked if rows[axis.name].notna().any()]
        for axis in own:
            if rows[axis.name].isna().any():
                count = int(rows[axis.name].isna().sum())
                raise TableError(f"axes: {axis.name}: expected a value in every row of {family}, {count} have none")
        found[str(family)] = tuple(_axis(axis, rows[axis.name]) for axis in own)
    return found


def design_of(trials: pd.DataFrame, axes: Axes) -> tuple[Design, str]:
    """How configurations were chosen, and in a sentence how one can tell.

    The column `design` wins where it holds nothing but known designs; of several that are not adaptive the least
    structured, random, holds for all.
    """
    if "design" in trials:
        named = set(trials["design"])
        fixed = sorted(named - ADAPTIVE) or sorted(named)
        return cast("Design", fixed[0] if len(fixed) == 1 else "random"), "The column design says the design."
    shares = [
        _filled(rows, [axis.name for axis in axes[str(family)]])
        for (_, family), rows in trials.groupby(["dataset", "family"], observed=True, sort=True)
    ]
    if min(shares) > _FULL:
        return "grid", "Taken as a grid: more than half of all combinations of levels are there."
    return "random", "Taken as random points, uniform on each axis's scale: most combinations of values are not there."


def with_design(axes: Axes, design: Design) -> Axes:
    """Axes without levels where they are continuous: drawn at random, with more than a list's values."""
    if design == "grid":
        return axes
    return {family: tuple(_scattered(axis) for axis in own) for family, own in axes.items()}


def _axis(asked: AxisColumn, column: "pd.Series[float]") -> Axis:
    levels = tuple(sorted(column.unique().tolist()))
    if any(isinstance(level, str) for level in levels):
        return Axis(asked.name, None, levels, math.nan, math.nan)
    return Axis(asked.name, asked.scale or "linear", levels, float(levels[0]), float(levels[-1]))


def _scattered(axis: Axis) -> Axis:
    if axis.scale is None or len(axis.levels) <= _LIST:
        return axis
    return Axis(axis.name, axis.scale, (), axis.low, axis.high)


def _filled(rows: pd.DataFrame, names: list[str]) -> float:
    """Share of all combinations of levels that ran."""
    cells = math.prod(rows[name].nunique() for name in names)
    return len(rows[names].drop_duplicates()) / cells if names else 1.0
