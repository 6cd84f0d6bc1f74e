"""How outcomes are spread over a family's configurations, noise taken out."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.crossfit import interquartile_mean
from analysis.estimation.intervals import Estimate
from analysis.estimation.means import crossed_mean, seed_mean
from analysis.estimation.weights import are_equal, average, effective_size, quantiles

Floats = NDArray[np.float64]

WORST_SHARE = 0.1
"""The share of configurations over which `cvar` averages."""


def without_noise(means: Floats, error: float, *, weights: Floats | None = None) -> Floats:
    """Cell means pulled to their average until they vary as the surface under them does.

        m + sqrt(max(0, 1 - error / V)) (m(x) - m),    V = variance of the means over configurations

    Means vary by the surface and by noise; means shrunk one by one vary less than the surface.

    Args:
        means: (..., n), of one table or of many at once.
        error: error variance of a mean, averaged over configurations.
        weights: (n,) of the configurations; equal if None.

    Source:
        Louis, Journal of the American Statistical Association 79, 1984.
    """
    centre = average(means, weights)[..., None]
    apart = means - centre
    variance = np.sum(apart**2, axis=-1, keepdims=True) / max(means.shape[-1] - 1, 1)
    if weights is not None and not are_equal(weights):
        variance = average(apart**2, weights)[..., None] / (1 - 1 / effective_size(weights))
    kept = np.sqrt(np.clip(1.0 - error / np.where(variance > 0, variance, np.inf), 0.0, 1.0))
    return np.asarray(centre + kept * apart)


def interquartile_range(values: Floats, *, weights: Floats | None = None) -> Floats:
    """(...,) distance between the quartiles of (..., n) configurations, linear between order statistics."""
    low, high = quantiles(values, [0.25, 0.75], weights)
    return np.asarray(high - low)


def cvar(values: Floats, *, share: float = WORST_SHARE, weights: Floats | None = None) -> Floats:
    """(...,) mean of the worst `share` of (..., n) configurations with (n,) weights, larger values being better.

    The configuration at the edge enters with the part of it that lies inside. (The mean of the tail, where
    `worst_case` is its end.)

    Source:
        Rockafellar & Uryasev, Journal of Risk 2, 2000.
    """
    count = values.shape[-1]
    if weights is not None and not are_equal(weights):
        order = np.argsort(values, axis=-1, kind="stable")
        each = (weights / weights.sum())[order]
        inside = np.clip(share - (np.cumsum(each, axis=-1) - each), 0.0, each)
        return np.asarray(np.sum(inside * np.take_along_axis(values, order, axis=-1), axis=-1) / share)
    whole = math.ceil(share * count - 1e-9)
    tail = np.sort(np.partition(values, whole - 1, axis=-1)[..., :whole], axis=-1)
    inside = np.ones(whole)
    inside[-1] = share * count - (whole - 1)
    return np.asarray(tail @ inside / (share * count))


def interquartile(
    outcome: Floats,
    *,
    sampled: bool,
    weights: Floats | None = None,
    least: float = -math.inf,
    most: float = math.inf,
) -> Estimate:
    """Interquartile mean of all trials with its interval; one seed is enough for the number alone.

    With w(x, s) the outcomes cut off at their quartiles, a trimmed mean varies as 2 mean w does, whose error is
    that of its seeds (and, where configurations are a sample, of theirs).

    Args:
        outcome: (n, S), larger is better, NaN where there is no trial.
        sampled: whether configurations are a sample.
        weights: (n,) of the configurations; equal if None.
        least, most: ends of what is possible.

    Source:
        Tukey & McLaughlin, Sankhya A 25, 1963; Agarwal et al., NeurIPS 2021. arXiv:2108.13264.
    """
    present = np.isfinite(outcome)
    each = None if weights is None else np.broadcast_to(weights[:, None], outcome.shape)[present]
    low, high = quantiles(outcome[present], [0.25, 0.75], each)
    cut = (crossed_mean if sampled else seed_mean)(np.clip(outcome, low, high), weights=weights)
    value = interquartile_mean(outcome, weights=weights)
    if not math.isfinite(cut.error):
        return Estimate(value, math.nan, math.nan, "middle half of all trials", cut.reason)
    found = replace(cut, estimate=value, error=2 * cut.error)
    return found.interval("middle half of all trials; winsorised means", least=least, most=most)
