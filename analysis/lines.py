"""Values between configurations, as weights on the cells: a slice through the best, and the default."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.cells import Cells, axis_values, unit_coordinate, unit_points
from analysis.surrogate import Surrogate
from analysis.table import Axis

Floats = NDArray[np.float64]

_STEPS = 17
"""Points of a surrogate's slice over two octaves."""


@dataclass(frozen=True)
class Line:
    """Points of the space, each a linear function of the cells: offset + weights . (cells - offset)."""

    weights: Floats
    offset: float

    def values(self, column: Floats) -> Floats:
        """(m,) values at the points, from (n,) cell values."""
        return self.offset + self.weights @ (column - self.offset)


def octave_line(cells: Cells, axis: Axis, start: int, surrogate: Surrogate | None) -> Line:
    """The slice through a configuration within a factor 2 along one log axis, the configuration first.

    On grids (no surrogate) cells are interpolated linearly on the axis's scale between the levels there are.
    The slice ends where the sampled range ends.
    """
    values = cells.settings[axis.name].to_numpy(dtype=float)
    if surrogate is not None:
        low, high = max(values.min(), values[start] / 2), min(values.max(), values[start] * 2)
        at = axis_values(unit_coordinate(np.geomspace(low, high, _STEPS), axis), axis)
        settings = _repeated(cells.settings.iloc[[start]], {axis.name: np.append(values[start], at)})
        return _surrogate_line(surrogate, cells, settings)
    others = cells.settings.drop(columns=axis.name)
    members = np.flatnonzero((others == others.iloc[start]).all(axis=1).to_numpy())
    levels = np.log2(values[members])
    here = np.log2(values[start])
    ends = np.clip([here - 1, here + 1], levels.min(), levels.max())
    inside = levels[(levels > ends[0]) & (levels < ends[1])]
    at = np.concatenate([[here], ends, inside])
    weights = np.zeros((len(at), cells.num_configs))
    weights[:, members] = np.array([np.interp(at, levels, row) for row in np.eye(len(members))]).T
    return Line(weights, 0.0)


def default_point(cells: Cells) -> tuple[Mapping[str, float], str]:
    """Each axis's default, snapped to the nearest level or clipped to the range; or why there is none."""
    point: dict[str, float] = {}
    for axis in cells.axes:
        default = axis.default
        if default is None or axis.scale is None:
            return {}, f"no default for {axis.name}"
        if axis.scale != "linear" and default <= 0:
            return {}, f"the default of {axis.name}, {default:g}, is not on its {axis.scale} scale"
        levels = np.array(axis.levels, dtype=float)
        if not len(levels):
            point[axis.name] = min(max(default, axis.low), axis.high)
            continue
        distance = np.abs(unit_coordinate(levels, axis) - unit_coordinate(np.array([default]), axis))
        point[axis.name] = float(levels[int(np.argmin(distance))])
    return point, ""


def default_line(cells: Cells, point: Mapping[str, float], surrogate: Surrogate | None) -> Line | None:
    """The default as a line of one point; None where a grid holds no trial of it."""
    if surrogate is not None:
        return _surrogate_line(surrogate, cells, pd.DataFrame([point]))
    matches = np.ones(cells.num_configs, dtype=bool)
    for name, value in point.items():
        matches &= (cells.settings[name] == value).to_numpy()
    return Line(matches[None, :].astype(float), 0.0) if matches.any() else None


def _surrogate_line(surrogate: Surrogate, cells: Cells, settings: pd.DataFrame) -> Line:
    weights = np.zeros((len(settings), cells.num_configs))
    weights[:, surrogate.drawn] = surrogate.weights(unit_points(settings, cells.axes))
    return Line(weights, surrogate.offset)


def _repeated(row: pd.DataFrame, columns: Mapping[str, Floats]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    return row.loc[row.index.repeat(count)].reset_index(drop=True).assign(**columns)
