"""A surrogate along axes: where it is evaluated, and its averages over the other axes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import qmc

from analysis.estimation.cells import Cells, axis_values, unit_coordinate, unit_points
from analysis.estimation.surrogate import Surrogate
from analysis.table import Axis, Table
from analysis.table.exploratory import only_exploratory, split

Floats = NDArray[np.float64]

RESOLUTION = 41
"""Points at which a surface is evaluated along a continuous axis."""

_REFERENCE_POINTS = 128


def parts(table: Table) -> Iterator[tuple[Table, str]]:
    """The table to be shown in two parts: what estimates may rest on, and the families that a search explored.

    Yields:
        A table, and what is to be added to the method of its numbers; the second only where there are any.
    """
    kept, aside = split(table)
    yield kept, ""
    searched = only_exploratory(table)
    if searched:
        pairs = pd.MultiIndex.from_frame(aside.trials[["dataset", "family"]])
        trials = aside.trials[pairs.isin(searched)].reset_index(drop=True)
        yield replace(aside, trials=trials, design="tpe"), "; exploratory"


def is_complete(family: Cells) -> bool:
    """Whether every combination of levels of a grid has trials."""
    return family.num_configs == math.prod(len(axis.levels) for axis in family.axes)


def evaluation_points(family: Cells, axis: Axis) -> list[Any]:
    """The levels of a list; 41 points over the sampled range of a continuous axis, even on its scale."""
    if axis.levels:
        return list(axis.levels)
    sampled = unit_coordinate(family.settings[axis.name].to_numpy(dtype=float), axis)
    return list(axis_values(np.linspace(sampled.min(), sampled.max(), RESOLUTION), axis))


def reference_points(axes: Sequence[Axis], *, seed: int) -> Floats:
    """(k, d) points over which other axes are averaged: all combinations of levels where they are few, else 128
    quasi-random points of the reference measure.

    The sampled configurations would do too, but which they happen to be is luck that no interval knew of.
    """
    if all(axis.levels for axis in axes) and math.prod(len(axis.levels) for axis in axes) <= 2 * _REFERENCE_POINTS:
        every = pd.MultiIndex.from_product([axis.levels for axis in axes], names=[axis.name for axis in axes])
        return unit_points(every.to_frame(index=False), axes)
    unit = qmc.Sobol(max(len(axes), 1), rng=np.random.default_rng(seed)).random(_REFERENCE_POINTS)
    settings = {axis.name: _quantiles(column, axis) for axis, column in zip(axes, unit.T, strict=False)}
    return unit_points(pd.DataFrame(settings, index=range(_REFERENCE_POINTS)), axes)


def _quantiles(shares: Floats, axis: Axis) -> Any:
    """Values of an axis at these shares of the reference measure."""
    if not axis.levels:
        return axis_values(shares, axis)
    return np.array(axis.levels, dtype=object)[(shares * len(axis.levels)).astype(int)]


def at_values(points: Floats, axes: Sequence[Axis], axis: Axis | None, values: Sequence[Any]) -> Floats:
    """(..., d) points, once with each value of an axis: the new dimension comes before the points' last but one.

    Args:
        points: (..., k, d) in the unit cube.
        axes: those of its columns, in order.
        axis: the one that is set; None leaves the points as they are.
        values: of that axis.

    Returns:
        (..., len(values), k, d).
    """
    placed = np.repeat(points[..., None, :, :], len(values), axis=-3)
    if axis is None:
        return placed
    set_to = unit_points(pd.DataFrame({axis.name: list(values)}), (axis,))
    before = sum(1 if one.scale is not None else len(one.levels) for one in axes[: list(axes).index(axis)])
    placed[..., before : before + set_to.shape[1]] = set_to[:, None, :]
    return placed


def averages(fit: Surrogate, at: Floats) -> tuple[Floats, Floats]:
    """Means of a surrogate over groups of points, and the posterior variances of these means.

    With c the covariances of an average with the configurations, K their own, v that of an average with itself:

        mean = offset + c . K^-1 (means - offset),    variance = v - c . K^-1 c

    Args:
        at: (m, k, d) m groups of k points, which differ from each other in the same way in every group.

    Returns:
        (m,) and (m,).
    """
    groups, count, width = at.shape
    if fit.scale == 0:
        return np.full(groups, fit.offset), np.full(groups, float(fit.covariance(at[0]).mean()))
    cross = fit.kernel(at.reshape(-1, width), fit.points).reshape(groups, count, -1).mean(axis=1)
    weights = fit.solved(cross)
    mean = fit.offset + weights @ (fit.means - fit.offset)
    own = float(fit.kernel(at[0], at[0]).mean())
    return mean, np.maximum(fit.scale**2 * (own - np.sum(weights * cross, axis=1)), 0.0)
