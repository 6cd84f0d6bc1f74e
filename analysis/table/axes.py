"""What the configurations of a table tell of its axes and its design."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd

from analysis.labels import level
from analysis.table import Axis, Design, TableError
from analysis.table.columns import AxisColumn
from analysis.table.exploratory import ADAPTIVE
from analysis.table.numbers import row

Axes = Mapping[str, tuple[Axis, ...]]

DESIGNS = ("grid", "sobol", "random", *sorted(ADAPTIVE))

_FULL = 0.5
"""A table is a grid where more than this share of all combinations of levels ran: random points with one continuous
axis and two categories fill exactly half."""

_LIST = 10
"""An axis of a scattered design with at most so many values, each of them drawn again, was drawn from a list."""

_EVEN = 0.05
"""Steps between the levels of a grid differ by no more than rounding, here this share."""


def axes_of(trials: pd.DataFrame, asked: Sequence[AxisColumn]) -> Axes:
    """The axes of every family, with all values there are as levels; one without any value is none of its.

    Raises:
        TableError: a family has values of an axis in some rows only; rows are in the order of the file.
    """
    found = {}
    for family, rows in trials.groupby("family", observed=True, sort=True):
        own = [axis for axis in asked if rows[axis.name].notna().any()]
        for axis in own:
            if rows[axis.name].isna().any():
                where = row(trials["family"].eq(family).to_numpy() & trials[axis.name].isna().to_numpy())
                raise TableError(f"axes: {axis.name}: expected a value in every row of {family}, got none{where}")
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
    groups = trials.groupby(["dataset", "family"], observed=True, sort=True)
    if all(_is_grid(rows, axes[str(family)]) for (_, family), rows in groups):
        return "grid", "Taken as a grid: more than half of all combinations of levels are there."
    return "random", "Taken as random points, uniform on each axis's scale: most combinations of values are not there."


def with_design(trials: pd.DataFrame, axes: Axes, design: Design) -> Axes:
    """Axes without levels where they are continuous: drawn at random, with other values than a list's."""
    if design == "grid":
        return axes
    rows = dict(list(trials.groupby("family", observed=True, sort=True)))
    return {family: tuple(_scattered(rows[family], axis, own) for axis in own) for family, own in axes.items()}


def constant_axes(axes: Axes) -> str:
    """In sentences, the axes that have one level, overall or in some family; mostly empty."""
    levels: dict[str, dict[str, Axis]] = {}
    for family, own in axes.items():
        for axis in own:
            levels.setdefault(axis.name, {})[family] = axis
    return " ".join(sentence for found in levels.values() for sentence in _constant(found))


def _constant(found: Mapping[str, Axis]) -> list[str]:
    still = {family: axis for family, axis in found.items() if not axis.varies}
    if len(still) == len(found) and len({axis.levels for axis in still.values()}) == 1:
        axis = next(iter(still.values()))
        return [f"Axis {axis.name} has one level: {level(axis.levels[0])}."]
    return [f"Axis {axis.name} has one level in {family}: {level(axis.levels[0])}." for family, axis in still.items()]


def _axis(asked: AxisColumn, column: "pd.Series[float]") -> Axis:
    levels = tuple(sorted(column.unique().tolist()))
    if any(isinstance(level, str) for level in levels):
        return Axis(asked.name, None, levels, math.nan, math.nan)
    scale = "linear" if asked.scale is None or asked.scale == "category" else asked.scale
    return Axis(asked.name, scale, levels, float(levels[0]), float(levels[-1]))


def _scattered(rows: pd.DataFrame, axis: Axis, own: Sequence[Axis]) -> Axis:
    configurations = len(rows[[one.name for one in own]].drop_duplicates())
    if axis.scale is None or len(axis.levels) <= min(_LIST, configurations // 2):
        return axis
    return Axis(axis.name, axis.scale, (), axis.low, axis.high)


def _is_grid(rows: pd.DataFrame, own: Sequence[Axis]) -> bool:
    """Whether most combinations of levels ran; of a single axis, whose values are all there are, even steps."""
    moving = [axis for axis in own if axis.varies]
    if len(moving) == 1 and len(moving[0].levels) > _LIST and moving[0].scale is not None:
        levels = np.array(moving[0].levels, dtype=float)
        steps = np.diff(levels if moving[0].scale == "linear" else np.log(levels))
        return bool(np.ptp(steps) <= _EVEN * steps.mean())
    names = [axis.name for axis in own]
    cells = math.prod(rows[name].nunique() for name in names)
    return not names or len(rows[names].drop_duplicates()) > _FULL * cells
