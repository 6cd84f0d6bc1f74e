"""Where configurations were sampled: a surrogate is not shown beyond them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, QhullError

from analysis.estimation.cells import Cells, unit_coordinate
from analysis.table import Axis

_SLACK = 1e-9
"""Points on the border are inside whichever way they are rounded."""


def inside_hull(
    family: Cells, x_axis: Axis, y_axis: Axis | None, xs: Sequence[float | int | str], ys: Sequence[float | int | str]
) -> NDArray[np.bool_]:
    """(len(ys), len(xs)) which points of a plane lie in the convex hull of the sampled configurations.

    The hull is that of the two axes on their scales. Categories, and a single axis, have no corners to cut:
    everywhere. Nowhere where all configurations lie on one line.

    Args:
        xs, ys: values of the axes, within the sampled range.
    """
    if y_axis is None or x_axis.scale is None or y_axis.scale is None:
        return np.ones((len(ys), len(xs)), dtype=bool)
    axes = (x_axis, y_axis)
    sampled = np.column_stack([unit_coordinate(family.settings[a.name].to_numpy(dtype=float), a) for a in axes])
    columns = [unit_coordinate(np.array(v, dtype=float), a) for v, a in zip((xs, ys), axes, strict=True)]
    points = np.stack(np.meshgrid(*columns), axis=-1)
    try:
        found = Delaunay(sampled).find_simplex(points.reshape(-1, 2), tol=_SLACK)
    except QhullError:
        return np.zeros((len(ys), len(xs)), dtype=bool)
    return np.asarray(found >= 0).reshape(len(ys), len(xs))
