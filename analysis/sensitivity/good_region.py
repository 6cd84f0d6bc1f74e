"""Which axes decide whether a configuration belongs to the good region."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.cells import Cells, unit_coordinate
from analysis.estimation.intervals import Estimate, missing
from analysis.estimation.noise import CONFIDENCE

Floats = NDArray[np.float64]

GOOD_SHARE = 0.1
BINS = 10
"""Of a continuous axis, equally long on its scale."""

NULL_DRAWS = 1000


def good_region_importance(family: Cells, *, seed: int) -> Iterator[tuple[str, Estimate]]:
    """How far the best tenth of the configurations concentrates on some values of each axis.

    With q the distribution of all configurations and p that of the best tenth, both over the levels of an axis, or
    over ten equal parts of a continuous one after its transform, g' = .1 and g = 1:

        importance = (g' / g)^2 sum q (p / q - 1)^2

    q is counted and not taken from the reference measure: values that were drawn less often are not less good.
    Configurations tied at the border of the best tenth share what is left of it. Any tenth concentrates somewhere, the
    more so the smaller it is and the more levels there are, so the method says what random ones give.

    Args:
        family: its cell means decide what is good.
        seed: of the random tenths.

    Yields:
        (axis, estimate): 0 where the good configurations are as common everywhere; no interval; NaN with fewer than
        ten configurations or a constant outcome.

    Source:
        Watanabe, Bansal & Hutter, PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary
        subspaces, IJCAI 2023, arXiv:2304.10255, equation 13. Their densities are kernel estimates, ours counts.
    """
    rng = np.random.default_rng(seed)
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
        parts = column.to_numpy()
        if not axis.levels:
            parts = np.clip(unit_coordinate(parts.astype(float), axis) * BINS, 0, BINS - 1).astype(np.intp)
        counts, codes = _counted(parts)
        good = np.bincount(codes, weights=good_weights(family.means), minlength=len(counts)).astype(float)
        value = float(_importance(good, counts))
        tenth = max(round(GOOD_SHARE * family.num_configs), 1)
        null = _importance(rng.multivariate_hypergeometric(counts, tenth, NULL_DRAWS).astype(float) / tenth, counts)
        usual = float(np.quantile(null, CONFIDENCE))
        words = f"PED-ANOVA of cell means; a random tenth gives {null.mean():.2g}, and up to {usual:.2g} in 95 %"
        told = "no interval" if value > usual else "no interval; no more than a random tenth may give"
        yield axis.name, Estimate(value, math.nan, math.nan, words, told)


def _counted(parts: NDArray[np.generic]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """How many configurations each part of an axis holds, and (n,) the part of each."""
    _, codes, counts = np.unique(parts, return_inverse=True, return_counts=True)
    return counts.astype(np.intp), codes.astype(np.intp)


def _importance(good: Floats, counts: NDArray[np.intp]) -> Floats:
    """(...,) from (..., parts) shares of the good configurations."""
    share = counts / counts.sum()
    return np.asarray(GOOD_SHARE**2 * np.sum((good - share) ** 2 / share, axis=-1))


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
