"""Maxima without the winner's luck: chosen on all seeds but one, read on the seed left out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.balance import row_means

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """What was chosen without each seed, and how it did on that seed.

    Args:
        weights: (n, S) shares of the configurations chosen without seed s; several where they tie.
        values: (S,) their outcome on seed s; NaN where nothing could be chosen.
    """

    weights: Floats
    values: Floats

    @property
    def mean(self) -> float:
        """Average over the seeds left out; NaN with fewer than two seeds."""
        kept = self.values[np.isfinite(self.values)]
        return float(kept.mean()) if len(kept) > 1 else float("nan")


def left_out_means(column: Floats) -> Floats:
    """(n, S) mean of each configuration over all seeds but s; NaN where it has no other."""
    present = np.isfinite(column)
    filled = np.where(present, column, 0.0)
    counts = present.sum(axis=1, keepdims=True) - present
    sums = filled.sum(axis=1, keepdims=True) - filled
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def choose_best(selection: Floats, outcome: Floats) -> Choice:
    """The cross-fitted maximum.

        values_s = outcome of argmax_x mean_{s' != s} selection(x, s') on seed s

    It estimates the value of the configuration that is chosen, which is at most the best there is.

    Args:
        selection: (n, S) the column to choose on, larger is better, NaN where there is no trial.
        outcome: (n, S) the column to read. A configuration without a trial on seed s can't be chosen for it.
    """
    scores = np.where(np.isfinite(outcome), left_out_means(selection), np.nan)
    possible = np.isfinite(scores).any(axis=0)
    top = np.max(np.where(np.isfinite(scores), scores, -np.inf), axis=0)
    # Sums in another order differ in the last digits: what ties up to rounding shares the choice.
    slack = 1e-12 * np.maximum(1.0, np.abs(np.where(possible, top, 0.0)))
    picked = np.where(np.isfinite(scores) & possible, scores >= top - slack, False)
    weights = picked / np.maximum(picked.sum(axis=0), 1)
    values = np.where(weights > 0, weights * outcome, 0.0).sum(axis=0)
    return Choice(weights, np.where(possible, values, np.nan))


def choose_worst(selection: Floats, outcome: Floats) -> Choice:
    """The cross-fitted minimum: the mirror image of `choose_best`."""
    choice = choose_best(-selection, -outcome)
    return Choice(choice.weights, -choice.values)


def normalised_regret(best: float, outcome: Floats, *, floor: float) -> float:
    """Expected shortfall of a configuration drawn from the reference measure.

        mean_x min(best - f(x), D) / D,    D = best - floor

    Args:
        best: the value that regret is measured from.
        outcome: (n, S) of the family, larger is better.
        floor: the outcome of a failed trial.

    Returns:
        0 (every configuration is best) to 1 (every one is at the floor), lower is better; NaN unless best >
        floor.
    """
    depth = best - floor
    if not depth > 1e-9 * max(1.0, abs(floor)):
        return float("nan")
    return float(np.mean(np.minimum(best - row_means(outcome), depth)) / depth)


def interquartile_mean(outcome: Floats) -> float:
    """Mean of the middle half of all trials, larger is better.

    Source:
        Agarwal et al., Deep RL at the Edge of the Statistical Precipice, NeurIPS 2021. arXiv:2108.13264.
        Trials at the quartiles enter with the share of them that lies inside.
    """
    values = np.sort(outcome[np.isfinite(outcome)])
    edges = np.arange(len(values) + 1) / len(values)
    inside = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0.0, None)
    return float(np.sum(inside * values) / np.sum(inside))
