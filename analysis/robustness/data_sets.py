"""One setting for all data sets, or one for each: what tuning per data set is worth."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.crossfit import choose_highest, left_out_means, seed_average
from analysis.estimation.grids import Codes, same

Floats = NDArray[np.float64]

ENOUGH = 0.95
"""The share of what tuning all axes gives that must be kept by tuning fewer."""


@dataclass(frozen=True)
class Range:
    """5th and 95th percentile of a data set's performances, over all families and configurations."""

    low: float
    high: float

    def normalised(self, values: Floats) -> Floats:
        """G = (p - p5) / (p95 - p5); 0 where the two are equal."""
        if not self.high > self.low:
            return np.where(np.isfinite(values), 0.0, np.nan)
        return np.asarray((values - self.low) / (self.high - self.low))


def performance_range(means: Floats) -> Range:
    """The range of a data set's cell means, of all families."""
    low, high = np.nanquantile(means, [0.05, 0.95])
    return Range(float(low), float(high))


def phi(values: Floats, selection: Floats) -> Floats:
    """What a setting for each data set gains over the best one for all, of one table or of many at once.

        phi = mean_e max_x G(e, x) - max_x mean_e G(e, x)

    Both maxima are chosen on all seeds but one and read on that one, the second among configurations that ran on
    every data set. For instance, of two data sets on which 25 configurations had 3 seeds each:

        phi(outcome, outcome)        # outcome: (2, 25, 3)

    Args:
        values: (..., data sets, n, S) G, larger is better, NaN where there is no trial.
        selection: likewise, the column on which maxima are chosen.

    Returns:
        (...,) 0 where one setting is best on all data sets; NaN with fewer than two seeds.

    Source:
        Adkins, Bowling & White, A Method for Evaluating Hyperparameter Sensitivity in Reinforcement Learning,
        NeurIPS 2024.
    """
    scores = left_out_means(selection)
    each = seed_average(choose_highest(scores, values).values).mean(axis=-1)
    every = choose_highest(scores.mean(axis=-3), values.mean(axis=-3))
    return np.asarray(each - seed_average(every.values))


def phi_plug_in(means: Floats) -> float:
    """The same from maxima of means, which noise raises.

    Args:
        means: (data sets, n), NaN where a configuration did not run.

    Returns:
        NaN where no configuration ran on every data set.
    """
    complete = np.isfinite(means).all(axis=0)
    if not complete.any():
        return float("nan")
    return float(np.nanmax(means, axis=1).mean() - means[:, complete].mean(axis=0).max())


def effective_dimension(values: Floats, selection: Floats, codes: Codes) -> float:
    """Smallest number of axes whose tuning per data set keeps 95 % of what tuning all of them gives.

    Args:
        values, selection: (data sets, n, S) G and the column to choose on; only configurations that ran on every
            data set enter.
        codes: (n, axes) level numbers of the configurations.

    Returns:
        0 to the number of axes; NaN with fewer than two seeds or where tuning all axes gives nothing above 0.

    Source:
        Adkins, Bowling & White, NeurIPS 2024.
    """
    complete = np.isfinite(values).any(axis=-1).all(axis=0)
    values, scores, codes = values[:, complete], left_out_means(selection[:, complete]), codes[complete]
    number = codes.shape[1]
    if not complete.any() or not (everything := tuned_value(values, scores, codes[:, :0])) > 0:
        return float("nan")
    for size in range(number):
        kept = (tuned_value(values, scores, codes[:, rest]) for rest in _rests(number, size))
        if max(kept) >= ENOUGH * everything - 1e-12:
            return float(size)
    return float(number)


def tuned_value(values: Floats, scores: Floats, fixed: Codes) -> float:
    """Mean over data sets where some axes are the same on all of them and the others are tuned on each.

    Without seed s, the setting of the fixed axes is chosen by the mean over data sets of the best that the others
    reach beside it; then the others on each data set. Read on seed s.

    Args:
        values, scores: (data sets, n, S); scores leave out the seed.
        fixed: (n, fixed axes) level numbers.
    """
    group = same(fixed)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(int(group.max()) + 1))
    able = np.isfinite(scores) & (np.isfinite(values).sum(axis=-1, keepdims=True) > 1)
    known = np.where(able, scores, -np.inf)
    reached = np.maximum.reduceat(known[:, order], starts, axis=1).mean(axis=0)
    setting = np.argmax(reached, axis=0)
    inside = np.where(group[:, None] == setting, known, np.nan)
    return float(seed_average(choose_highest(inside, values).values).mean())


def _rests(number: int, size: int) -> list[list[int]]:
    """What is left of the axes where `size` of them are tuned."""
    tuned = itertools.combinations(range(number), size)
    return [[axis for axis in range(number) if axis not in free] for free in tuned]
