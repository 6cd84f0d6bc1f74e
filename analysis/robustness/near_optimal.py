"""How much of a family's space is near its best: V(delta) and what it costs to search there."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.estimation.noise import CONFIDENCE, Noise
from analysis.estimation.weights import average, effective_size

Floats = NDArray[np.float64]

SEARCH_QUANTILE = 0.9
"""The certainty with which `search_cost` trials hold a good one."""


@dataclass(frozen=True)
class Shortfall:
    """How far each configuration is below the best: simultaneous bounds of max_x' f(x') - f(x).

    Args:
        low: (n,) 0 where the configuration may be the best itself.
        high: (n,) at least `low`; NaN where the noise is unknown.
        df: degrees of freedom within and between batch sizes.
    """

    low: Floats
    high: Floats
    df: tuple[float, float]


def shortfall(
    means: Floats, blocks: NDArray[np.intp], error: Floats, noise: Noise, *, shares: Floats, confidence: float
) -> Shortfall:
    """Bound every configuration's distance from the best of all, whichever that is.

    All differences are bounded at once by Tukey's studentised range, so the best need not be known:

        low(x)  = max_x' [ m(x') - m(x) - w ]+,    high(x) = max_x' [ m(x') - m(x) + w ]+
        w = q(n, df) sqrt(Var(m(x') - m(x)) / 2)

    Two configurations of one batch size differ by residual noise alone; those of different batch sizes also
    by the noise that the runs of a seed and batch size share, with its own degrees of freedom, and, where
    these were not run on the same seeds, by the seeds' common noise. With a(x) the shares of the seeds:

        Var(m(x') - m(x)) = error(x) + error(x') + block (|a|^2 + |a'|^2) + seed |a - a'|^2

    Args:
        means: (n,) cell means, larger is better.
        blocks: (n,) batch size, or family and batch size.
        error: (n,) error variance of each mean from residual noise; NaN where it is unknown.
        noise: for the variance between blocks and the degrees of freedom.
        shares: (n, S) shares of the seeds in a mean; those of one block have the same.
        confidence: probability that all bounds hold.

    Source:
        Hsu, Multiple Comparisons, 1996, section 5.1 (Tukey-Kramer; conservative by Hayter, Annals of
        Statistics 1984).
    """
    # With one noisy block the others hold failures alone: nothing but the residual moves a difference.
    between = noise.df_between if math.isfinite(noise.df_between) else noise.df_residual
    df = (noise.df_residual, between)
    if np.ptp(shares, axis=0).any():
        df = (noise.df_residual, min(between, noise.df_seed))
    within, between = (_range_quantile(confidence, len(means), value) for value in df)
    kinds, first, kind = np.unique(np.column_stack([blocks, error]), axis=0, return_index=True, return_inverse=True)
    kind, share = kind.ravel(), shares[first]
    squares, (block, variance) = np.sum(share**2, axis=1), kinds.T
    best, second, top = _two_best(means, kind, len(kinds))
    low, high, high_of_top = np.empty((3, len(kinds)))
    for here in range(len(kinds)):
        same = block == block[here]
        apart = noise.block * (squares + squares[here]) + noise.seed * np.sum((share - share[here]) ** 2, axis=1)
        spread = variance + variance[here] + np.where(same, 0.0, apart)
        width = _width(np.where(same, within, between), spread)
        low[here] = np.nanmax(np.append(best - width, -np.inf))
        high[here] = np.max(best + width)
        # The best of a kind is no rival of itself.
        rivals = np.where(np.arange(len(kinds)) == here, second, best)
        reach = rivals + width
        high_of_top[here] = np.max(reach[np.isfinite(rivals)], initial=means[top[here]])
    upper = high[kind]
    upper[top] = high_of_top
    return Shortfall(np.maximum(low[kind] - means, 0.0), np.maximum(upper - means, 0.0), df)


def _two_best(means: Floats, kind: NDArray[np.intp], count: int) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """The best mean of each kind, the second best (-inf where there is none), and where the best is."""
    order = np.lexsort((-means, kind))
    starts = np.searchsorted(kind[order], np.arange(count))
    top = order[starts]
    after = np.minimum(starts + 1, len(order) - 1)
    has_second = (after > starts) & (kind[order[after]] == np.arange(count))
    return means[top], np.where(has_second, means[order[after]], -np.inf), top


def _width(quantile: Floats, spread: Floats) -> Floats:
    """Half-width; 0 without noise, NaN where noise is unknown or has no degrees of freedom."""
    return quantile * np.sqrt(spread / 2)


def _range_quantile(confidence: float, count: int, df: float) -> float:
    """Tukey's quantile. Degrees of freedom are rounded down, above 10 to steps of a tenth, which widens."""
    if not df >= 1 or count < 2:
        return math.nan
    steps = math.floor(math.log(min(df, 1e5) / 10) / math.log(1.1)) if df > 10 else 0
    return _studentised_range(confidence, count, math.floor(10 * 1.1**steps if df > 10 else df))


@lru_cache(maxsize=512)
def _studentised_range(confidence: float, count: int, df: int) -> float:
    return float(stats.studentized_range.ppf(confidence, count, df))


def mass(expected: Floats, error: Floats, best: float, *, tolerance: float, weights: Floats | None = None) -> float:
    """V(delta) = pi{x: f(x) >= f* - delta}: the share of the space within a tolerance of the best.

    Estimated by the mean over configurations of P(f(x) >= best - tolerance), f(x) normal around the cell mean
    that was shrunk towards its neighbours. (A maximum of means as best, and raw means, gave .08 where .21 is
    true.)

    Args:
        expected, error: (n,) posterior mean and standard deviation of f(x).
        best: cross-fitted f*.
        tolerance: how far below still counts; in the outcome's unit.
        weights: (n,) of the configurations; equal if None.

    Returns:
        0 to 1, higher is more robust; NaN where an error is unknown.
    """
    if not np.isfinite(error).all():
        return math.nan
    margin = expected - (best - tolerance)
    certain = np.where(margin >= -1e-12 * max(1.0, abs(best)), 1.0, 0.0)
    z = np.divide(margin, error, out=np.zeros_like(margin), where=error > 0)
    # Four standard errors count as certain: a share of 1e-17 would only look like a measurement.
    likely = np.where(np.abs(z) > 4, z > 0, stats.norm.cdf(z))
    return float(average(np.where(error > 0, likely, certain), weights))


def mass_bounds(
    bounds: Shortfall, kept: slice, *, tolerance: float, sampled: bool, weights: Floats | None = None
) -> tuple[float, float]:
    """Shares surely within the tolerance, and not surely outside it.

    Args:
        bounds: of all configurations that compete.
        kept: the family's own among them.
        sampled: whether configurations are a sample; then Clopper and Pearson's bounds of both shares, at
            97.5 %, for the effective number of configurations.
        weights: (n,) of the configurations of `kept`; equal if None.
    """
    low, high = bounds.low[kept], bounds.high[kept]
    if not np.isfinite(high).all():
        return math.nan, math.nan
    slack = 1e-12
    surely, possibly = (
        float(average(np.where(bound <= tolerance + slack, 1.0, 0.0), weights)) for bound in (high, low)
    )
    if not sampled:
        return surely, possibly
    count = len(low) if weights is None else effective_size(weights)
    # Whole numbers of equal weights, as rounding would move the bounds of 0 and of all.
    surely, possibly = (round(share * count, 9) for share in (surely, possibly))
    tail = (1 - CONFIDENCE) / 4
    least = float(stats.beta.ppf(tail, surely, count - surely + 1)) if surely else 0.0
    most = float(stats.beta.ppf(1 - tail, possibly + 1, count - possibly)) if possibly < count else 1.0
    return least, most


def search_cost(share: float) -> float:
    """Random trials until one is good enough with probability .9: max(1, ceil(ln(.1) / ln(1 - V))).

    Args:
        share: V(delta).

    Returns:
        At least 1, lower is more robust; infinite where V is 0.
    """
    if math.isnan(share):
        return math.nan
    if share <= 0:
        return math.inf
    if share >= 1:
        return 1.0
    return float(max(1, math.ceil(math.log(1 - SEARCH_QUANTILE) / math.log1p(-share))))
