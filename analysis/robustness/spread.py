"""How outcomes are spread over a family's configurations, noise taken out."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.crossfit import interquartile_mean
from analysis.estimation.intervals import Estimate
from analysis.estimation.means import crossed_mean, seed_mean

Floats = NDArray[np.float64]

WORST_SHARE = 0.1
"""The share of configurations over which `cvar` averages."""


def without_noise(means: Floats, error: float) -> Floats:
    """Cell means pulled to their average until they vary as the surface under them does.

        m + sqrt(max(0, 1 - error / V)) (m(x) - m),    V = variance of the means over configurations

    Means vary by the surface and by noise; means shrunk one by one vary less than the surface.

    Args:
        means: (..., n), of one table or of many at once.
        error: error variance of a mean, averaged over configurations.

    Source:
        Louis, Journal of the American Statistical Association 79, 1984.
    """
    centre = means.mean(axis=-1, keepdims=True)
    apart = means - centre
    variance = np.sum(apart**2, axis=-1, keepdims=True) / max(means.shape[-1] - 1, 1)
    kept = np.sqrt(np.clip(1.0 - error / np.where(variance > 0, variance, np.inf), 0.0, 1.0))
    return np.asarray(centre + kept * apart)


def interquartile_range(values: Floats) -> Floats:
    """(...,) distance between the quartiles of (..., n) configurations, linear between order statistics."""
    low, high = np.quantile(values, [0.25, 0.75], axis=-1)
    return np.asarray(high - low)


def cvar(values: Floats, *, share: float = WORST_SHARE) -> Floats:
    """(...,) mean of the worst `share` of (..., n) configurations, larger values being better.

    The configuration at the edge enters with the part of it that lies inside. (The mean of the tail, where
    `worst_case` is its end.)

    Source:
        Rockafellar & Uryasev, Journal of Risk 2, 2000.
    """
    count = values.shape[-1]
    whole = math.ceil(share * count - 1e-9)
    tail = np.sort(np.partition(values, whole - 1, axis=-1)[..., :whole], axis=-1)
    inside = np.ones(whole)
    inside[-1] = share * count - (whole - 1)
    return np.asarray(tail @ inside / (share * count))


def interquartile(outcome: Floats, *, sampled: bool, least: float = -math.inf, most: float = math.inf) -> Estimate:
    """Interquartile mean of all trials with its interval; one seed is enough for the number alone.

    With w(x, s) the outcomes cut off at their quartiles, a trimmed mean varies as 2 mean w does, whose error is
    that of its seeds (and, where configurations are a sample, of theirs).

    Args:
        outcome: (n, S), larger is better, NaN where there is no trial.
        sampled: whether configurations are a sample.
        least, most: ends of what is possible.

    Source:
        Tukey & McLaughlin, Sankhya A 25, 1963; Agarwal et al., NeurIPS 2021. arXiv:2108.13264.
    """
    low, high = np.nanquantile(outcome, [0.25, 0.75])
    cut = (crossed_mean if sampled else seed_mean)(np.clip(outcome, low, high))
    value = interquartile_mean(outcome)
    if not math.isfinite(cut.error):
        return Estimate(value, math.nan, math.nan, "middle half of all trials", cut.reason)
    found = replace(cut, estimate=value, error=2 * cut.error)
    return found.interval("middle half of all trials; winsorised means", least=least, most=most)
