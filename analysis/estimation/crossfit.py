"""Maxima without the winner's luck: chosen on all seeds but one, read on the seed left out."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.balance import row_means
from analysis.estimation.weights import are_equal, average

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """What was chosen without each seed, and how it did on that seed.

    Args:
        shape: (..., n, S) of the tables it was chosen from.
        picked: numbers of the configurations that were chosen, with those of their table and seed; several
            configurations of a table and seed where they tie.
        values: (..., S) their outcome on seed s; NaN where nothing could be chosen or it did not run on s.
    """

    shape: tuple[int, ...]
    picked: tuple[NDArray[np.intp], ...]
    values: Floats

    @property
    def mean(self) -> float:
        """Average over the seeds left out; NaN with fewer than two seeds."""
        return float(seed_average(self.values))

    @property
    def weights(self) -> Floats:
        """(..., n, S) shares of the configurations chosen without seed s."""
        found = np.zeros(self.shape)
        group, share = _shares(self.picked, self.shape)
        found[self.picked] = share[group]
        return found

    @property
    def first(self) -> NDArray[np.intp]:
        """(..., S) number of the first configuration chosen without seed s; 0 where there is none."""
        group, _ = _shares(self.picked, self.shape)
        found = np.full(self.values.size, self.shape[-2])
        np.minimum.at(found, group, self.picked[-2])
        return np.where(found < self.shape[-2], found, 0).reshape(self.values.shape)

    def read(self, outcome: Floats) -> Floats:
        """(..., S) another outcome of what was chosen: (..., n, S), on the same or as an expected value."""
        return np.where(np.isfinite(self.values), _read(self.picked, outcome, self.shape), np.nan)


def seed_average(values: Floats) -> Floats:
    """(...,) average of (..., S) over the seeds that have a value; NaN where fewer than two have."""
    present = np.isfinite(values)
    count = present.sum(axis=-1)
    sums = np.where(present, values, 0.0).sum(axis=-1)
    return np.where(count > 1, sums / np.maximum(count, 1), np.nan)


def left_out_means(column: Floats) -> Floats:
    """(..., n, S) mean of each configuration over all seeds but s; NaN where it has no other."""
    present = np.isfinite(column)
    if present.all() and column.shape[-1] > 1:
        others: Floats = (column.sum(axis=-1, keepdims=True) - column) / (column.shape[-1] - 1)
        return others
    filled = np.where(present, column, 0.0)
    counts = present.sum(axis=-1, keepdims=True) - present
    sums = filled.sum(axis=-1, keepdims=True) - filled
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def choose_best(selection: Floats, outcome: Floats) -> Choice:
    """The cross-fitted maximum, of one table or of many at once.

        values_s = outcome of argmax_x mean_{s' != s} selection(x, s') on seed s

    It estimates the value of the configuration that is chosen, which is at most the best there is.

    Args:
        selection: (..., n, S) the column to choose on, larger is better, NaN where there is no trial.
        outcome: (..., n, S) the column to read. Where what is chosen without seed s did not run on it, there is
            no value for s: the best of those that did would be another maximum.
    """
    return choose_highest(left_out_means(selection), outcome)


def choose_highest(scores: Floats, outcome: Floats) -> Choice:
    """The same from scores that leave out the seed: (..., n, S), NaN where nothing can be chosen.

    Only configurations with two outcomes or more can be chosen: one that is scored on one seed is read on another.
    """
    present = np.isfinite(outcome)
    whole = present.all() and present.shape[-1] > 1
    usable = np.isfinite(scores) & (whole or present.sum(axis=-1, keepdims=True) > 1)
    if not usable.all():
        scores = np.where(usable, scores, -np.inf)
    top = scores.max(axis=-2, keepdims=True)
    possible = np.isfinite(top)
    # Sums in another order differ in the last digits: what ties up to rounding shares the choice.
    slack = 1e-12 * np.maximum(1.0, np.abs(np.where(possible, top, 0.0)))
    highest = scores >= np.where(possible, top - slack, np.inf)
    if not whole:
        highest &= present
        possible = highest.any(axis=-2, keepdims=True)
    picked = np.nonzero(highest)
    values = np.where(possible[..., 0, :], _read(picked, outcome, scores.shape), np.nan)
    return Choice(scores.shape, picked, values)


def highest_mean(selection: Floats) -> NDArray[np.intp]:
    """(...,) number of the configuration that is chosen on all seeds of (..., n, S).

    Those with one score only where none has two; 0 where there is none at all.
    """
    scores, runs = row_means(selection), np.isfinite(selection).sum(axis=-1)
    enough = runs >= np.clip(runs.max(axis=-1, keepdims=True), 1, 2)
    return np.asarray(np.argmax(np.where(enough, scores, -np.inf), axis=-1), dtype=np.intp)


def _shares(picked: tuple[NDArray[np.intp], ...], shape: tuple[int, ...]) -> tuple[NDArray[np.intp], Floats]:
    """The table and seed of each pick, and the share of a pick in each table and seed."""
    tables = (*shape[:-2], shape[-1])
    group = np.ravel_multi_index((*picked[:-2], picked[-1]), tables)
    return group, 1.0 / np.maximum(np.bincount(group, minlength=math.prod(tables)), 1)


def _read(picked: tuple[NDArray[np.intp], ...], outcome: Floats, shape: tuple[int, ...]) -> Floats:
    group, share = _shares(picked, shape)
    sums = np.bincount(group, np.broadcast_to(outcome, shape)[picked], minlength=len(share))
    return (sums * share).reshape((*shape[:-2], shape[-1]))


def choose_worst(selection: Floats, outcome: Floats) -> Choice:
    """The cross-fitted minimum: the mirror image of `choose_best`."""
    return choose_highest(-left_out_means(selection), outcome)


def normalised_regret(best: float, outcome: Floats, *, floor: float, weights: Floats | None = None) -> float:
    """Expected shortfall of a configuration drawn from the reference measure: see `mean_regret`.

    Args:
        outcome: (n, S) of the family, larger is better.
        weights: (n,) of the configurations; equal if None.
    """
    return float(mean_regret(np.array(best), row_means(outcome), floor=floor, weights=weights))


def mean_regret(best: Floats, means: Floats, *, floor: float, weights: Floats | None = None) -> Floats:
    """Expected shortfall of a configuration drawn from the reference measure, of one table or of many at once.

        mean_x min(best - f(x), D) / D,    D = best - floor

    Args:
        best: (...,) the value that regret is measured from.
        means: (..., n) of the configurations, larger is better.
        floor: the outcome of a failed trial.
        weights: (n,) of the configurations; equal if None.

    Returns:
        0 (every configuration is best) to 1 (every one is at the floor), lower is better; NaN unless best >
        floor.
    """
    depth = best - floor
    deep = depth > 1e-9 * max(1.0, abs(floor))
    short = average(np.minimum(best[..., None] - means, depth[..., None]), weights)
    return np.where(deep, short / np.where(deep, depth, 1.0), np.nan)


def interquartile_mean(outcome: Floats, *, weights: Floats | None = None) -> float:
    """Mean of the middle half of all trials, larger is better.

    Args:
        outcome: (n, S), NaN where there is no trial.
        weights: (n,) of a trial of each configuration; equal if None.

    Source:
        Agarwal et al., Deep RL at the Edge of the Statistical Precipice, NeurIPS 2021. arXiv:2108.13264.
        Trials at the quartiles enter with the share of them that lies inside.
    """
    present = np.isfinite(outcome)
    values = np.sort(outcome[present])
    edges = np.arange(len(values) + 1) / len(values)
    if weights is not None and not are_equal(weights):
        each = np.broadcast_to(weights[:, None], outcome.shape)[present]
        each = each[np.argsort(outcome[present], kind="stable")]
        edges = np.concatenate([[0.0], np.cumsum(each) / each.sum()])
    inside = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0.0, None)
    return float(np.sum(inside * values) / np.sum(inside))
