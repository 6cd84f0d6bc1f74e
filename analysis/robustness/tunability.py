"""What tuning gains over the default: one axis alone, and pairs of axes together."""

import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.cells import Cells
from analysis.estimation.grids import level_codes

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def tuned_slices(cells: Cells, default: int) -> dict[str, Indices]:
    """An axis, or a pair `a*b` -> the configurations of a grid that are at the default on all other axes.

    Args:
        default: number of the default configuration.
    """
    codes, names = level_codes(cells.settings), [axis.name for axis in cells.axes]
    at_default = codes == codes[default]
    found = {}
    for size in (1, 2):
        for free in itertools.combinations(range(len(names)), size):
            others = np.delete(at_default, free, axis=1).all(axis=1)
            found["*".join(names[axis] for axis in free)] = np.flatnonzero(others)
    return found


def joint_gains(gains: Mapping[str, Floats]) -> dict[str, Floats]:
    """Pair -> what tuning both of its axes gains beyond the better of the two alone.

        max_{a, b} f - max(max_a f, max_b f),    all other axes at the default

    Args:
        gains: of the axes and the pairs `a*b`, from the default, (...,) each.

    Source:
        Probst, Boulesteix & Bischl, Journal of Machine Learning Research 20, 2019, section 3.3.
    """
    pairs = [name.split("*") for name in gains if "*" in name]
    return {f"{a}*{b}": gains[f"{a}*{b}"] - np.maximum(gains[a], gains[b]) for a, b in pairs}
