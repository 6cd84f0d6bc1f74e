"""Shares of variance on a complete grid, with intervals that follow from the noise model."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.intervals import Estimate, missing
from analysis.estimation.noise import CONFIDENCE
from analysis.sensitivity.anova import Factorial, Squares, Term, terms
from analysis.sensitivity.decomposition import index_weights

Floats = NDArray[np.float64]

DRAWS = 2000
_METHOD = "analysis of variance"
_SIMULATED = f"{_METHOD}; {DRAWS} draws from the noise model"
_CONSTANT, _NO_SIGNAL, _ONE_SEED = "constant outcome", "no variance beyond noise", "one seed"


@dataclass(frozen=True)
class Noise:
    """(count,) draws of the mean squares of the two errors, given their sums of squares."""

    residual: Floats
    block: Floats


def grid_indices(grid: Factorial, *, seed: int) -> Iterator[tuple[str, str, Estimate]]:
    """Sobol indices and Shapley effects of every axis under equal weights of its levels.

    `index_weights` of V_u, the variance of the surface that belongs to the set u of axes (`Factorial.corrected`).
    `S1` and `ST` are those of the cell means as they are, noise included, and have no interval. The interval of
    the others is of draws of the V_u given the trials: with Q the sum of squares of a part on k degrees of
    freedom, M_e its error, Z a normal and X a chi-square variable on k - 1,

        n S V_u = (sqrt(Q - M_e X) + sqrt(M_e) Z)^2

    which is how Q comes about, solved for V_u.

    Args:
        seed: of the draws.

    Yields:
        (measure, axis, estimate); clipped to [0, 1]; NaN, with the reason, where nothing varies or one seed is there.

    Source:
        Weerahandi, Generalized confidence intervals, Journal of the American Statistical Association 88, 1993.
    """
    rng = np.random.default_rng(seed)
    noise = _noise(grid, rng)
    for measure, axis, weights in index_weights(grid.members):
        name = grid.names[axis]
        if measure == "shapley":
            yield measure, name, _corrected(grid, weights, noise, rng)
            continue
        yield measure, name, _plain(grid, weights)
        yield f"{measure}_corrected", name, _corrected(grid, weights, noise, rng)


def variance_shares(grid: Factorial, *, seed: int) -> Iterator[tuple[str, Estimate]]:
    """omega2 of every term of the analysis of variance, clipped to [0, 1], with intervals by the same draws.

    What it estimates: the sum of squares that is expected of a term beyond its error, over all that are expected.

    Yields:
        (term, estimate), the terms of `anova`.
    """
    rng = np.random.default_rng(seed)
    noise = _noise(grid, rng)
    *rows, left = terms(grid)
    parts = np.array([_part(term, noise, rng) for term in rows]).reshape(len(rows), DRAWS)
    unexplained = grid.trials * noise.residual
    whole = parts.sum(axis=0) + unexplained
    for term, part in zip([*rows, left], [*parts, unexplained], strict=True):
        if math.isnan(term.omega2):
            yield term.name, missing(_ONE_SEED if grid.residual.df == 0 else _CONSTANT)
        else:
            yield term.name, _interval(term.omega2, np.divide(part, whole, out=np.zeros(DRAWS), where=whole > 0))


def _plain(grid: Factorial, weights: Floats) -> Estimate:
    """An index of the cell means as they are."""
    whole = float(grid.variances.sum())
    if not whole > 0:
        return missing(_CONSTANT)
    value = float(weights @ grid.variances) / whole
    return Estimate(value, math.nan, math.nan, f"{_METHOD} of the cell means", "no interval: noise not taken out")


def _corrected(grid: Factorial, weights: Floats, noise: Noise, rng: np.random.Generator) -> Estimate:
    """An index of the surface, sum w_u V_u / sum V_u, with noise taken out of every V_u."""
    if not grid.variances.sum() > 0:
        return missing(_CONSTANT)
    if math.isnan(grid.residual.mean) and math.isnan(grid.block.mean):
        return missing(_ONE_SEED)
    variances = grid.corrected
    if not variances.sum() > 0:
        return missing(_NO_SIGNAL)
    part, whole = np.zeros(DRAWS), np.zeros(DRAWS)
    # Sets of the same weight are drawn as one: many small parts, each of them at least 0, would add up.
    for against_block in (False, True):
        for weight in np.unique(weights):
            group = (weights == weight) & (grid.is_block == against_block) & (grid.dfs > 0)
            if group.any():
                squares = Squares(float(grid.variances[group].sum()) * grid.trials, float(grid.dfs[group].sum()))
                drawn = _effect(squares, noise.block if against_block else noise.residual, rng)
                part, whole = part + weight * drawn, whole + drawn
    share = np.divide(part, whole, out=np.zeros(DRAWS), where=whole > 0)
    return _interval(float(weights @ variances / variances.sum()), share)


def _noise(grid: Factorial, rng: np.random.Generator) -> Noise:
    residual = _mean_squares(grid.residual, rng)
    block = _mean_squares(grid.block, rng)
    return Noise(residual, np.maximum(block, residual))


def _mean_squares(squares: Squares, rng: np.random.Generator) -> Floats:
    if not squares.df > 0:
        return np.zeros(DRAWS)
    drawn: Floats = squares.value / rng.chisquare(squares.df, DRAWS)
    return drawn


def _effect(squares: Squares, error: Floats, rng: np.random.Generator) -> Floats:
    """(count,) draws of the sum of squares that a fixed effect would have without noise."""
    spread = rng.chisquare(squares.df - 1, DRAWS) if squares.df > 1 else np.zeros(DRAWS)
    along = squares.value - error * spread
    length = np.sqrt(np.maximum(along, 0.0)) + np.sqrt(error) * rng.normal(size=DRAWS)
    return np.where(along > 0, np.maximum(length, 0.0) ** 2, 0.0)


def _part(term: Term, noise: Noise, rng: np.random.Generator) -> Floats:
    """(count,) draws of what is expected of a term's sum of squares beyond its error."""
    if not term.is_random:
        return _effect(term.squares, noise.residual if term.error == "residual" else noise.block, rng)
    drawn: Floats = term.squares.df * np.maximum(_mean_squares(term.squares, rng) - noise.residual, 0.0)
    return drawn


def _interval(estimate: float, drawn: Floats) -> Estimate:
    tail = 0.5 - CONFIDENCE / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]).tolist()
    return Estimate(min(max(estimate, 0.0), 1.0), low, high, _SIMULATED).holding()
