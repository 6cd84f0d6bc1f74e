"""A number with its interval, how it came about, and why it is missing where it is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.estimation.noise import CONFIDENCE, Noise, t_quantile

Floats = NDArray[np.float64]

_ONE_SEED, _UNKNOWN = "no interval: one seed", "no interval: unknown noise"


UNDERCOVERS: Mapping[str, str] = {
    "failure_rate": "undercovers: .89 to .93 where trials of a seed fail together",
    "worst_octave_drop": "undercovers: .89 at 10 seeds on grids",
    "cvar_10": "undercovers: .89 at 10 seeds in scattered designs",
}
"""Measure -> what is known of an interval that covers less often than 95 %, by simulation."""

UNDERCOVERS_WITH_FAILURES = dict.fromkeys(
    ("best", "default_gap", "tuning_gain", "joint_gain"),
    "undercovers: .72 to 1.00 where a few percent of the runs fail",
)
"""The same where some runs failed: a setting that never failed may fail more often than one can see."""


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval, and in words how it was found or why it is missing."""

    estimate: float
    low: float
    high: float
    method: str
    reason: str = ""

    def flipped(self, sign: float) -> "Estimate":
        """The same in the outcome's own direction: times -1 where a smaller outcome is better."""
        if sign > 0:
            return self
        return replace(self, estimate=-self.estimate, low=-self.high, high=-self.low)

    def without_interval(self, reason: str) -> "Estimate":
        """The number alone, and why."""
        return replace(self, low=math.nan, high=math.nan, reason=reason)

    def noting(self, note: str) -> "Estimate":
        """The same with a note behind the reason."""
        return replace(self, reason="; ".join(part for part in (self.reason, note) if part))

    def holding(self) -> "Estimate":
        """With the interval widened to hold the estimate, which is said."""
        if not self.estimate < self.low and not self.estimate > self.high:
            return self
        low, high = min(self.low, self.estimate), max(self.high, self.estimate)
        return replace(self, low=low, high=high, reason="interval widened to hold the estimate")


def missing(reason: str) -> Estimate:
    """No number, and why."""
    return Estimate(math.nan, math.nan, math.nan, "", reason)


def around(
    estimate: float,
    error: float,
    *,
    seeds: int,
    method: str,
    least: float = -math.inf,
    most: float = math.inf,
) -> Estimate:
    """Student's interval with as many degrees of freedom as there are seeds to spare.

    All runs of a seed share its luck, so S seeds are S observations however many configurations they cover.

    Args:
        error: standard error.
        seeds: S; below 2 there is no interval.
        least, most: ends of what is possible; number and interval are clipped to them.
    """
    if not math.isfinite(estimate):
        return missing("not enough trials")
    half = t_quantile(seeds - 1) * error if seeds > 1 else math.nan
    words = f"{method}; t with {seeds - 1} degrees of freedom"
    clipped = min(max(estimate, least), most)
    if seeds < 2 or math.isnan(half):
        return Estimate(clipped, math.nan, math.nan, method, _ONE_SEED if seeds < 2 else _UNKNOWN)
    low, high = (min(max(end, least), most) for end in (estimate - half, estimate + half))
    return Estimate(clipped, low, high, words)


def deviation(noise: Noise) -> Estimate:
    """Standard deviation of one run over seeds: sqrt(seed + block + residual).

    With total = sum of mean squares M_i on d_i degrees of freedom, and c(p, d) the chi-square quantile over d:

        [total - sqrt(sum ((1 - 1/c(.975, d_i)) M_i)^2),  total + sqrt(sum ((1/c(.025, d_i) - 1) M_i)^2)]

    (Satterthwaite's approximation covered .84 at a nominal .95 with three seeds that have a common effect.)

    Source:
        Graybill & Wang, Journal of the American Statistical Association 75, 1980.
    """
    parts = [(value, df) for value, df in noise.mean_squares if value > 0]
    if math.isnan(noise.total) or any(df <= 0 for _, df in parts):
        return missing("one seed")
    squares, df = (np.array(column) for column in (zip(*parts, strict=True) if parts else ([], [])))
    tail = 0.5 - CONFIDENCE / 2
    below = np.sum(((1 - df / stats.chi2.ppf(1 - tail, df)) * squares) ** 2)
    above = np.sum(((df / stats.chi2.ppf(tail, df) - 1) * squares) ** 2)
    low, high = max(noise.total - math.sqrt(below), 0.0), noise.total + math.sqrt(above)
    words = f"noise model; Graybill-Wang, {', '.join(f'{value:.0f}' for value in df)} df"
    return Estimate(math.sqrt(noise.total), math.sqrt(low), math.sqrt(high), words if parts else "no noise")


def rate(failed: NDArray[np.bool_], present: NDArray[np.bool_], *, sampled: bool) -> Estimate:
    """Share of failed trials, with Clopper and Pearson's interval for an effective number of trials.

    Trials count fewer where they fail together: their number is divided by the ratio of the variance of the
    seeds' failure rates to the binomial one. Where configurations are a sample, no more trials count than
    configurations.

    Args:
        failed, present: (n, S) whether a trial failed; whether there is one.
        sampled: whether configurations are a sample.
    """
    trials = int(present.sum())
    share = float((failed & present).sum() / trials)
    per_seed = np.array([failed[mask, s].mean() for s, mask in enumerate(present.T) if mask.any()])
    binomial = share * (1 - share) * len(per_seed) / trials
    clustering = float(np.var(per_seed, ddof=1)) / binomial if len(per_seed) > 1 and binomial > 0 else 1.0
    count = (min(trials, len(present)) if sampled else trials) / max(clustering, 1.0)
    tail, hits = 0.5 - CONFIDENCE / 2, share * count
    low = float(stats.beta.ppf(tail, hits, count - hits + 1)) if hits > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, count - hits)) if hits < count else 1.0
    return Estimate(share, low, high, f"Clopper-Pearson for {count:.0f} effective trials")
