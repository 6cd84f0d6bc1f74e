"""What a random search finds: the best of n configurations drawn from the reference measure."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from analysis.estimation.intervals import Estimate
from analysis.estimation.noise import CONFIDENCE
from analysis.estimation.weights import are_equal, effective_size

Floats = NDArray[np.float64]

SHRUNKEN, RAW = "shrunken means", "means of one seed, not shrunken: biased upwards"
"""What stands for a configuration's expected outcome, where its noise is known and where it is not."""


def expected_best(values: Floats, counts: Sequence[int]) -> Floats:
    """Expected best of n configurations of a random design, without bias from the ones that were drawn.

        sum_{i >= n} C(i - 1, n - 1) / C(B, n) v_(i),    v_(1) <= ... <= v_(B)

    the average of the best over all subsets of n. For instance, of 64 random trials:

        expected_best(outcomes, [1, 2, 4, 8])

    Args:
        values: (B,) outcomes of configurations drawn from the reference measure, larger is better.
        counts: n, at least 1.

    Returns:
        In the order of `counts`; NaN where n > B.

    Source:
        Dodge et al., EMNLP 2019. arXiv:1909.03004 (with replacement); Lourie, Cho & He, ICML 2024,
        arXiv:2311.09480.
    """
    ordered, total = np.sort(values), len(values)
    place = np.arange(1, total + 1)
    found = np.full(len(counts), np.nan)
    for index, n in enumerate(counts):
        if n <= total:
            i = place[n - 1 :]
            logs = _log_choose(i - 1, n - 1) - _log_choose(np.array(total), n)
            found[index] = float(np.exp(logs) @ ordered[n - 1 :])
    return found


def expected_best_of_grid(values: Floats, counts: Sequence[int], *, weights: Floats | None = None) -> Floats:
    """Expected best of n draws from a grid, with replacement as in a search that knows no grid.

        sum_i v_(i) (W_i^n - W_{i-1}^n),    W_i the share of the reference measure up to v_(i)

    Args:
        values: (cells,) larger is better.
        counts: n.
        weights: (cells,) the reference measure; equal if None.
    """
    order = np.argsort(values, kind="stable")
    share = np.ones(len(values)) if weights is None or are_equal(weights) else weights[order]
    upto = np.concatenate([[0.0], np.cumsum(share) / share.sum()])
    return np.array([float(np.diff(upto**n) @ values[order]) for n in counts])


def expected_best_bands(
    values: Floats, counts: Sequence[int], *, least: float, most: float, weights: Floats | None = None,
    confidence: float = CONFIDENCE,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Simultaneous bands of `expected_best` from those of the distribution of outcomes.

        E[best of n] = most - integral F^n,    F within sqrt(ln(2 / (1 - confidence)) / (2 B)) of the empirical one

    All n at once, for a design whose configurations are drawn independently from the reference measure.

    Args:
        values: (B,) outcomes.
        counts: n.
        least, most: ends of what is possible, finite.
        weights: (B,) of the configurations, B being their effective number then; equal if None.

    Returns:
        low, high in the order of `counts`.

    Source:
        Dvoretzky, Kiefer & Wolfowitz 1956 with the constant of Massart, Annals of Probability 18, 1990.
    """
    total = len(values)
    size, share = float(total), np.arange(total + 1) / total
    if weights is not None and not are_equal(weights):
        size, upto = effective_size(weights), np.cumsum(weights[np.argsort(values, kind="stable")])
        share = np.concatenate([[0.0], upto / upto[-1]])
    margin = math.sqrt(math.log(2 / (1 - confidence)) / (2 * size))
    lengths = np.diff(np.concatenate([[least], np.sort(values), [most]]))
    upper, lower = np.minimum(share + margin, 1.0), np.maximum(share - margin, 0.0)
    bands = [[most - float(bound**n @ lengths) for n in counts] for bound in (upper, lower)]
    return np.array(bands[0]), np.array(bands[1])


def search_counts(limit: int) -> list[int]:
    """Powers of two up to a number of configurations, at most 1024."""
    return [2**power for power in range(11) if 2**power <= limit]


def expected_best_rows(
    values: Floats, counts: Sequence[int], *, sampled: bool, least: float, most: float, seeds: Estimate,
    weights: Floats | None = None, method: str = SHRUNKEN,
) -> list[Estimate]:  # fmt: skip
    """Expected best with the band that its design allows, n by n.

    The band is about which configurations were drawn; all of them share the luck of their seeds, by which it is
    widened.

    Args:
        values: (n,) means, larger is better.
        sampled: whether configurations were drawn from the reference measure; else they are cells of a grid.
        least, most: ends of what is possible; without them there is no band.
        seeds: mean of all trials, with the interval of its seeds (`means.mean_interval`).
        weights: (n,) of the configurations; equal if None. Draws are with replacement where they are not.
        method: what the values are.
    """
    if not sampled:
        found = expected_best_of_grid(values, counts, weights=weights)
        return [Estimate(value, math.nan, math.nan, method, _NO_BAND) for value in found.tolist()]
    equal = are_equal(weights)
    found = expected_best(values, counts) if equal else expected_best_of_grid(values, counts, weights=weights)
    if not math.isfinite(least) or not math.isfinite(most):
        return [Estimate(value, math.nan, math.nan, method, _UNBOUNDED) for value in found.tolist()]
    low, high = expected_best_bands(values, counts, least=least, most=most, weights=weights)
    words = f"{method}; Dvoretzky-Kiefer-Wolfowitz band, outcomes from {least + 0.0:g} to {most + 0.0:g}"
    shift = (seeds.high - seeds.low) / 2
    words += "; widened by the seeds' interval" if math.isfinite(shift) else "; given this seed"
    low, high = np.clip([low - np.nan_to_num(shift), high + np.nan_to_num(shift)], least, most)
    bands = zip(found.tolist(), low.tolist(), high.tolist(), strict=True)
    return [Estimate(value, below, above, words).holding() for value, below, above in bands]


_NO_BAND = "no interval: a grid is no sample"
_UNBOUNDED = "no interval: the outcome has no known bounds"


def _log_choose(n: NDArray[np.intp], k: int) -> Floats:
    return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0))
