"""Values between configurations, as weights on the cells: a slice through the best, and the default."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.estimation.cells import Cells, unit_coordinate, unit_points
from analysis.estimation.grids import level_codes, same
from analysis.estimation.surrogate import Surrogate
from analysis.table import Axis

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_STEPS = 24
"""Points of a surrogate's slice beside the configuration itself."""


@dataclass(frozen=True)
class Line:
    """Points of the space, each a linear function of a few cells: offset + weights . (cells - offset).

    Args:
        members: (..., k) numbers of the configurations it rests on.
        weights: (..., m, k).
        at: (..., m) where the points are along their axis: in octaves where it is logarithmic, else in its unit.
        here: (...) number of the point that is the configuration itself.
        offset: what a point is where no cell tells anything.
    """

    members: Indices
    weights: Floats
    at: Floats
    here: Indices
    offset: float = 0.0

    def values(self, column: Floats) -> Floats:
        """(..., m) values at the points, from (..., n) cell values."""
        members = np.broadcast_to(self.members, (*column.shape[:-1], self.members.shape[-1]))
        cells = np.take_along_axis(column, members, axis=-1)
        return self.offset + (self.weights @ (cells - self.offset)[..., None])[..., 0]


Slices = Callable[[Indices], Line]
"""From numbers of configurations, of any shape, to the slices through them."""

_Rule = Callable[[Floats, NDArray[np.bool_], int], tuple[Floats, int]]
"""From the levels of an axis, which of them a line holds, and the one to start from: points, and which it is."""


def octave_slices(cells: Cells, axis: Axis, surrogate: Surrogate | None) -> Slices:
    """Slices within a factor 2 along one log axis; they end where the sampled range ends.

    On grids (no surrogate) cells are interpolated linearly on the axis's scale between the levels there are.
    """
    if surrogate is None:
        return _on_grid(cells, axis, _within_octaves)
    return _on_surrogate(cells, axis, surrogate, reach=1.0)


def whole_slices(cells: Cells, axis: Axis, surrogate: Surrogate | None) -> Slices:
    """Slices along one numeric axis from end to end of the sampled range, points in the axis's order."""
    if surrogate is None:
        return _on_grid(cells, axis, lambda levels, present, here: (np.clip(levels, *_ends(levels[present])), here))
    return _on_surrogate(cells, axis, surrogate, reach=np.inf)


def change_error(cells: Cells, axis: Axis, surrogate: Surrogate, line: Line, start: int, place: int) -> float:
    """Posterior standard deviation of what the surface changes by from a configuration to a point of its slice.

    Args:
        start: number of the configuration.
        place: number of the point of its slice, a line of (m,) points.
    """
    there = line.at[place] if axis.scale == "linear" else np.exp2(line.at[place])
    ends = cells.settings.iloc[[start, start]].copy()
    ends[axis.name] = [ends[axis.name].iloc[0], there]
    covariance = surrogate.covariance(unit_points(ends, cells.axes))
    return float(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0)))


def positions(values: "pd.Series[float]", axis: Axis) -> Floats:
    """Values of a numeric axis in octaves where it is logarithmic, else as they are."""
    numbers = np.asarray(values, dtype=np.float64)
    return numbers if axis.scale == "linear" else np.log2(numbers)


def _on_grid(cells: Cells, axis: Axis, points: _Rule) -> Slices:
    levels, code = np.unique(positions(cells.settings[axis.name], axis), return_inverse=True)
    line = same(level_codes(cells.settings.drop(columns=axis.name)))
    members = np.full((int(line.max()) + 1, len(levels)), -1, dtype=np.intp)
    members[line, code] = np.arange(cells.num_configs)
    # Slices through the same level of lines that hold the same levels have the same weights.
    present, pattern = np.unique(members >= 0, axis=0, return_inverse=True)
    rules, rule = np.unique(np.column_stack([pattern.ravel()[line], code]), axis=0, return_inverse=True)
    ends = [points(levels, present[kind], start) for kind, start in rules]
    at, here = np.array([end for end, _ in ends]), np.array([place for _, place in ends], dtype=np.intp)
    weights = np.array([_interpolation(levels, present[kind], row) for (kind, _), row in zip(rules, at, strict=True)])
    members, rule = np.maximum(members, 0), rule.ravel()

    def through(starts: Indices) -> Line:
        kind = rule[starts]
        return Line(members[line[starts]], weights[kind], at[kind], here[kind])

    return through


def _within_octaves(levels: Floats, present: NDArray[np.bool_], start: int) -> tuple[Floats, int]:
    """The start, the two ends of its octaves, and the levels inside them, the rest filled with the start."""
    here, known = levels[start], levels[present]
    ends = np.clip([here - 1, here + 1], *_ends(known))
    inside = known[(known > ends[0]) & (known < ends[1])]
    at = np.full(len(levels) + 3, here)
    at[1 : 3 + len(inside)] = np.concatenate([ends, inside])
    return at, 0


def _interpolation(levels: Floats, present: NDArray[np.bool_], at: Floats) -> Floats:
    """(m, levels) weights of the levels that a line holds at some points."""
    known = levels[present]
    weights = np.zeros((len(at), len(levels)))
    weights[:, present] = np.array([np.interp(at, known, row) for row in np.eye(len(known))]).T
    return weights


def _ends(values: Floats) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _on_surrogate(cells: Cells, axis: Axis, surrogate: Surrogate, *, reach: float) -> Slices:
    """Evenly spaced points up to `reach` either side of a start, the start among them."""
    values = positions(cells.settings[axis.name], axis)

    def through(starts: Indices) -> Line:
        unique, place = np.unique(starts, return_inverse=True)
        start = values[unique]
        low, high = (np.clip(end, *_ends(values)) for end in (start - reach, start + reach))
        at = np.sort(np.column_stack([start, np.linspace(low, high, _STEPS, axis=1)]), axis=1)
        here = np.argmax(at == start[:, None], axis=1)
        along = at.ravel() if axis.scale == "linear" else np.exp2(at.ravel())
        settings = cells.settings.iloc[np.repeat(unique, at.shape[1])].assign(**{axis.name: along})
        weights = surrogate.weights(unit_points(settings, cells.axes)).reshape(*at.shape, -1)
        members = np.broadcast_to(surrogate.drawn, (*starts.shape, len(surrogate.drawn)))
        each = place.reshape(starts.shape)
        return Line(members, weights[each], at[each], here[each], surrogate.offset)

    return through


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
        weights = surrogate.weights(unit_points(pd.DataFrame([point]), cells.axes))
        return Line(surrogate.drawn, weights, np.zeros(1), np.zeros((), dtype=np.intp), surrogate.offset)
    matches = np.ones(cells.num_configs, dtype=bool)
    for name, value in point.items():
        matches &= (cells.settings[name] == value).to_numpy()
    if not matches.any():
        return None
    return Line(np.flatnonzero(matches)[:1], np.ones((1, 1)), np.zeros(1), np.zeros((), dtype=np.intp))
