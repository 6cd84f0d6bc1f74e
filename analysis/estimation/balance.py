"""Means of configurations that were not run on the same seeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.noise import block_effects, seed_effects

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Balance:
    """Outcomes from which means of any seeds can be compared within a block.

    Args:
        column: (n, S) outcomes; where trials are missing, without what the runs of a seed share within a block.
        inflation: (n,) what this adds to the error variance of a mean, over the residual variance; 0 where
            nothing is missing.
        shares: (n, S) the seeds at which a mean stands: those of its block, in equal shares.
        connected: (n,) whether the seed effects of the block can be told from its configurations.
    """

    column: Floats
    inflation: Floats
    shares: Floats
    connected: Bools


def balance(column: Floats, failed: Bools, blocks: NDArray[np.intp]) -> Balance:
    """Take the seed effects of incomplete blocks out of their trials.

    With g_s the effects of a block by least squares, which sum to 0 over its seeds, A their error covariance
    over the residual variance, and a(x) the share of each seed in the mean of x:

        balanced(x, s) = y(x, s) - g_s,    Var(m(x) - m(x')) / residual
            = 1/r + 1/r' + (a - a')' A (a - a')  <=  (1/r + 2 a' A a) + (1/r' + 2 a'' A a'')

    A complete block is left as it is: its means do not change. A failed trial stays at the floor.

    Args:
        column: (n, S), NaN where there is no trial.
        failed: (n, S) trials that count as the floor and say nothing about their seed.
        blocks: (n,) block of each configuration.

    Source:
        Searle, Linear Models, 1971, section 7.1 (the two-way classification without interaction).
    """
    inflation = np.zeros(len(column))
    shares, connected = np.zeros(column.shape), np.ones(len(column), dtype=bool)
    fine = np.where(failed, np.nan, column)
    for label in np.unique(blocks):
        members = np.flatnonzero(blocks == label)
        seeds = np.isfinite(column[members]).any(axis=0)
        shares[members] = seeds / max(int(seeds.sum()), 1)
        if np.isfinite(fine[members][:, seeds]).all():
            continue
        effects = block_effects(fine[members])
        every = block_effects(column[members]) if failed[members].any() else effects
        connected[members] = every is None or every.connected
        if effects is None or not effects.connected:
            continue
        ran = np.isfinite(fine[members])
        part = ran / np.maximum(ran.sum(axis=1, keepdims=True), 1)
        inflation[members] = 2 * np.einsum("xs,st,xt->x", part, effects.covariance, part)
    return Balance(levelled(column, failed, blocks), inflation, shares, connected)


def levelled(column: Floats, failed: Bools, blocks: NDArray[np.intp]) -> Floats:
    """The column of `balance`, of one table or of many at once: (..., n, S), leading axes any."""
    fine = np.where(failed, np.nan, column)
    if np.isfinite(fine).all():
        return column
    balanced = column.copy()
    for label in np.unique(blocks):
        members = np.flatnonzero(blocks == label)
        present = np.isfinite(fine[..., members, :])
        seeds = np.asarray(np.isfinite(column[..., members, :]).any(axis=-2))
        whole = np.asarray((present | ~seeds[..., None, :]).all(axis=(-1, -2)))
        if whole.all():
            continue
        linked = seed_effects(fine[..., members, :])
        several = np.asarray(present.any(axis=-2).sum(axis=-1) > 1)
        told: Bools = np.logical_and(~whole & linked.connected, several)
        balanced[..., members, :] -= np.where(present & told[..., None, None], linked.effects[..., None, :], 0.0)
    return balanced


def row_means(column: Floats) -> Floats:
    """(..., n) mean of what is there in each row of (..., n, S); NaN where nothing is."""
    present = np.isfinite(column)
    if present.all():
        whole: Floats = column.mean(axis=-1)
        return whole
    counts = present.sum(axis=-1)
    sums = np.where(present, column, 0.0).sum(axis=-1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
