"""The reference measure on the configurations at hand: every level of an axis has the same share of it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.table import Axis

Floats = NDArray[np.float64]

ROUNDS, PRECISION = 1000, 1e-6
"""Levels are evened out so often at most, and until their shares are equal within this share of themselves."""


def level_weights(settings: pd.DataFrame, axes: Sequence[Axis]) -> Floats:
    """Weights under which the levels of every listed axis have equal shares, as equal otherwise as can be.

    Iterative proportional fitting: axis by axis the weights of each level are scaled to its share. Continuous axes
    need none, as their values were drawn from the reference measure. For instance, of a grid with holes:

        level_weights(cells.settings, cells.axes) @ cells.means        # mean under the reference measure

    Args:
        settings: (n, axes) configurations, all different.
        axes: the axes; those without levels are continuous.

    Returns:
        (n,) at least 0, their sum is 1; 1 / n each where levels are balanced. Where no weights even out all levels,
        or only ones that vanish, those after `ROUNDS` rounds.

    Source:
        Deming & Stephan, Annals of Mathematical Statistics 11, 1940.
    """
    count = len(settings)
    codes = [np.unique(settings[axis.name].to_numpy(), return_inverse=True)[1].ravel() for axis in axes if axis.levels]
    weights = np.full(count, 1.0 / count)
    if all(np.ptp(np.bincount(code)) == 0 for code in codes):
        return weights
    for _ in range(ROUNDS):
        off = 0.0
        for code in codes:
            shares = np.bincount(code, weights)
            scale = 1.0 / (len(shares) * np.maximum(shares, np.finfo(float).tiny))
            off = max(off, float(np.abs(scale - 1).max()))
            weights = weights * scale[code]
        if off <= PRECISION:
            break
    return np.asarray(weights / weights.sum())


def imbalance(settings: pd.DataFrame, axes: Sequence[Axis], weights: Floats) -> float:
    """By how much a level's share is off, at most, over the share that it should have."""
    off = [0.0]
    for axis in axes:
        if axis.levels:
            shares = np.bincount(np.unique(settings[axis.name].to_numpy(), return_inverse=True)[1].ravel(), weights)
            off.append(float(np.abs(len(shares) * shares - 1).max()))
    return max(off)


def are_equal(weights: Floats | None) -> bool:
    """Whether weights are those of a plain mean."""
    return weights is None or bool(np.ptp(weights) == 0)


def effective_size(weights: Floats) -> float:
    """The number of equal weights that tell as much: (sum w)^2 / sum w^2, Kish, Survey Sampling, 1965."""
    return float(len(weights) if are_equal(weights) else weights.sum() ** 2 / (weights @ weights))


def redrawn(weights: Floats, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """(count, k) configurations drawn anew by their weights, sorted; k, as many as tell as much, count the same."""
    number = len(weights)
    if are_equal(weights):
        return np.sort(rng.integers(number, size=(count, number)), axis=-1)
    return np.sort(rng.choice(number, size=(count, max(round(effective_size(weights)), 1)), p=weights), axis=-1)


def average(values: Floats, weights: Floats | None) -> Floats:
    """(...,) weighted mean of (..., n) values."""
    if weights is None or are_equal(weights):
        return np.asarray(values.mean(axis=-1))
    return np.asarray(values @ (weights / weights.sum()))


def quantiles(values: Floats, shares: Sequence[float], weights: Floats | None) -> Floats:
    """(shares, ...) quantiles of (..., n) values, linear between order statistics.

    The k-th of the sorted values is at (W_k - w_k / 2 - w_1 / 2) / (1 - w_1 / 2 - w_n / 2), W the cumulative
    weights: at (k - 1) / (n - 1) where they are equal.
    """
    if weights is None or are_equal(weights) or values.shape[-1] == 1:
        return np.asarray(np.quantile(values, shares, axis=-1))
    order = np.argsort(values, axis=-1, kind="stable")
    ordered, share = np.take_along_axis(values, order, axis=-1), (weights / weights.sum())[order]
    middle = np.cumsum(share, axis=-1) - share / 2
    at = (middle - middle[..., :1]) / (middle[..., -1:] - middle[..., :1])
    found = []
    for wanted in shares:
        upper = np.clip((at < wanted).sum(axis=-1, keepdims=True), 1, values.shape[-1] - 1)
        (x, y), (above, below) = (
            tuple(np.take_along_axis(column, place, axis=-1)[..., 0] for place in (upper, upper - 1))
            for column in (at, ordered)
        )
        step = np.where(x > y, x - y, 1.0)
        found.append(below + np.clip((wanted - y) / step, 0.0, 1.0) * (above - below))
    return np.array(found)
