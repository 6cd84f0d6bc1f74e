"""How far along an axis one can go from the best before it shows."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def basin_width(
    at: Floats, values: Floats, here: NDArray[np.intp], least: Floats, *, slack: float = 1e-12
) -> tuple[Floats, Bools]:
    """Length of the connected piece of a slice around a point on which values are at least `least`.

    Between points values run straight, so that an end lies where they cross.

    Args:
        at: (..., m) places of the points, rising.
        values: (..., m) values there, larger is better.
        here: (...,) number of the point inside.
        least: (...,) f* - delta.
        slack: how far below still counts as equal.

    Returns:
        Widths in the unit of `at`, 0 where the point itself is below; and where the piece touches an end of the
        slice, so that it may be wider.
    """
    above, number = values >= least[..., None] - slack, np.arange(values.shape[-1])
    left = np.where(~above & (number < here[..., None]), number, -1).max(axis=-1)
    right = np.where(~above & (number > here[..., None]), number, len(number)).min(axis=-1)
    low = _crossing(at, values, left, left + 1, least)
    high = _crossing(at, values, right, right - 1, least)
    inside = np.take_along_axis(above, here[..., None], axis=-1)[..., 0]
    touches = inside & ((left < 0) | (right == len(number)))
    return np.where(inside, high - low, 0.0), np.asarray(touches)


def _crossing(at: Floats, values: Floats, outer: NDArray[np.intp], inner: NDArray[np.intp], least: Floats) -> Floats:
    """Where values cross `least` between two neighbouring points; the inner one where there is no outer one."""

    def of(column: Floats, number: NDArray[np.intp]) -> Floats:
        return np.take_along_axis(column, np.clip(number, 0, column.shape[-1] - 1)[..., None], axis=-1)[..., 0]

    rise = of(values, inner) - of(values, outer)
    share = np.clip(np.where(rise > 0, (of(values, inner) - least) / np.where(rise > 0, rise, 1.0), 0.0), 0.0, 1.0)
    return of(at, inner) + share * (of(at, outer) - of(at, inner))
