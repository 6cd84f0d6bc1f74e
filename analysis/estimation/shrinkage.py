"""Cell means of a grid shrunk by the terms of their analysis of variance."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.grids import Codes

Floats = NDArray[np.float64]

_ROUNDS, _ESTIMATED, _PRECISION = 200, 30, 1e-10


@dataclass(frozen=True)
class Shrunken:
    """The surface under the noise.

    Args:
        expected: (n,) best linear unbiased prediction of each configuration.
        error: (n,) its standard error.
    """

    expected: Floats
    error: Floats


def shrink_grid(codes: Codes, means: Floats, variances: Floats) -> Shrunken:
    """Shrink main effects, pairs and what is left of a grid's cell means, each by its own share of noise.

    A surface is a sum of terms T: the grand mean, one per axis, one per pair of axes, one for the rest. On a
    complete grid with equal variances e, SS_T the sum of squares of a term of d_T degrees of freedom:

        lambda_T = max(0, 1 - e d_T / SS_T),    expected = mean + sum_T lambda_T term_T
        error^2 = e sum_T lambda_T d_T / n

    Cells without trials and unequal variances are handled by the same formulas on working values
    z = f + (e / e_x) (m - f), e the least variance, repeated until f, the prediction, stays: its fixed point
    is the prediction for tau_T = e lambda_T / (1 - lambda_T) and variances e_x. A configuration's error then
    joins its own variance to what the others tell of it.

    Args:
        codes: (n, axes) number of each configuration's level on each axis, all different.
        means: (n,) cell means.
        variances: (n,) their error variances, known and not all 0.

    Source:
        Robinson, That BLUP is a good thing, Statistical Science 6, 1991; lambda_T after James & Stein, 1961.
    """
    shape = tuple((codes.max(axis=0) + 1).tolist())
    size = int(np.prod(shape))
    cells = np.ravel_multi_index(tuple(codes.T), shape)
    least = float(variances[variances > 0].min())
    pull, seen = np.zeros(size), np.zeros(size)
    # Variances of 0 would hold their cells fast for ever: they count as the least there is.
    pull[cells], seen[cells] = least / np.maximum(variances, least), means
    noise = float(variances.mean()) * len(means) / size
    f = np.full(size, float(means.mean()))
    complete = bool((pull == 1.0).all())
    scale = float(np.std(means))
    kept: list[float] = []
    for turn in range(_ROUNDS):
        before, z = f, f + pull * (seen - f)
        terms = list(_terms(z.reshape(shape)))
        # Held after a while, so that the repetition settles.
        kept = [_kept(term, df, noise, least, size) for term, df in terms] if turn < _ESTIMATED else kept
        f = (
            z.mean()
            + sum((share * term for share, (term, _) in zip(kept, terms, strict=True)), np.zeros(shape)).ravel()
        )
        if complete or np.max(np.abs(f - before)) <= _PRECISION * scale:
            break
    leverage = (1.0 + sum(share * df for share, (_, df) in zip(kept, terms, strict=True))) / size
    others = least * leverage / (1 - leverage) if leverage < 1 - 1e-12 else np.inf
    error = np.sqrt(1.0 / (1.0 / np.maximum(variances, least) + 1.0 / others))
    return Shrunken(f[cells], error)


def _terms(surface: Floats) -> Iterator[tuple[Floats, int]]:
    """Orthogonal terms of a complete array beyond its mean, to be broadcast, with their degrees of freedom."""
    axes = [axis for axis, size in enumerate(surface.shape) if size > 1]
    left = surface - surface.mean()
    spare = surface.size - 1
    for axis in axes:
        term = _mean_over_others(left, (axis,))
        left = left - term
        spare -= surface.shape[axis] - 1
        yield term, surface.shape[axis] - 1
    for pair in itertools.combinations(axes, 2):
        term = _mean_over_others(left, pair)
        df = (surface.shape[pair[0]] - 1) * (surface.shape[pair[1]] - 1)
        left = left - term
        spare -= df
        yield term, df
    if spare > 0:
        yield left, spare


def _mean_over_others(surface: Floats, kept: tuple[int, ...]) -> Floats:
    mean: Floats = surface.mean(axis=tuple(set(range(surface.ndim)) - set(kept)), keepdims=True)
    return mean


def _kept(term: Floats, df: int, noise: float, least: float, size: int) -> float:
    """lambda_T: the term's mean square beyond that of noise, over itself and the least noise of a cell."""
    beyond = max(0.0, size * float(np.mean(term**2)) / df - noise)
    return beyond / (beyond + least)
