"""Which axes decide whether a configuration belongs to the good region."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.cells import Cells, unit_coordinate
from analysis.estimation.intervals import Estimate, missing

Floats = NDArray[np.float64]

GOOD_SHARE = 0.1
BINS = 10
"""Of a continuous axis, equally likely under the reference measure."""


def good_region_importance(family: Cells) -> Iterator[tuple[str, Estimate]]:
    """How far the best tenth of the configurations concentrates on some values of each axis.

    With q the reference measure and p the distribution of the best tenth, both over the levels of an axis, or over
    ten equal parts of a continuous one after its transform, g' = .1 and g = 1:

        importance = (g' / g)^2 sum q (p / q - 1)^2

    Configurations tied at the border of the best tenth share what is left of it.

    Args:
        family: its cell means decide what is good.

    Yields:
        (axis, estimate): 0 where the good configurations are as common everywhere, at most g'^2 (levels - 1); no
        interval; NaN with fewer than ten configurations or a constant outcome.

    Source:
        Watanabe, Bansal & Hutter, PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary
        subspaces, IJCAI 2023, arXiv:2304.10255, equation 13. Their densities are kernel estimates, ours counts.
    """
    reason = ""
    if family.num_configs < 1 / GOOD_SHARE:
        reason = f"fewer than {1 / GOOD_SHARE:.0f} configurations"
    elif not np.ptp(family.means) > 0:
        reason = "constant outcome"
    for axis in family.axes:
        if reason:
            yield axis.name, missing(reason)
            continue
        column = family.settings[axis.name]
        if axis.levels:
            present, codes = np.unique(column.to_numpy(), return_inverse=True)
            count = max(len(present), len(axis.levels))
        else:
            parts = unit_coordinate(column.to_numpy(dtype=float), axis) * BINS
            codes, count = np.clip(parts, 0, BINS - 1).astype(np.intp), BINS
        share = np.bincount(codes, weights=good_weights(family.means), minlength=count)
        value = GOOD_SHARE**2 * float(np.mean((share * count - 1) ** 2))
        yield axis.name, Estimate(value, math.nan, math.nan, "PED-ANOVA of cell means", "no interval")


def good_weights(means: Floats) -> Floats:
    """(n,) share of each configuration in the best tenth, summing to 1.

    Args:
        means: (n,) larger is better.
    """
    wanted = GOOD_SHARE * len(means)
    order = np.sort(means)[::-1]
    border = order[math.ceil(wanted) - 1]
    above, tied = means > border, means == border
    return np.where(above, 1.0, np.where(tied, (wanted - above.sum()) / tied.sum(), 0.0)) / wanted
