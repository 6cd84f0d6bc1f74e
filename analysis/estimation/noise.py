"""Noise under common random numbers, and intervals that respect it.

An outcome is modelled as

    y(x, s) = f(x) + seed_s + (seed x batch size)_{s, b(x)} + residual

because all configurations of a seed share their initial weights, and those of a seed and batch size
share every batch. A comparison within a batch size has residual noise only; a mean has all three.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Blocks = NDArray[np.intp]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Noise:
    """Variance components of one run, and the degrees of freedom behind them.

    Args:
        seed: variance of what all runs of a seed share.
        block: variance of what the runs of a seed and a batch size share beyond that.
        residual: variance of a run's own noise.
        df_seed, df_block, df_residual: degrees of freedom; 0 where a component cannot be told apart and is 0.
        per_block: configurations per block, the harmonic mean.
        num_blocks: number of blocks.
    """

    seed: float
    block: float
    residual: float
    df_seed: float
    df_block: float
    df_residual: float
    per_block: float
    num_blocks: int

    @property
    def total(self) -> float:
        """Variance of one run of one configuration over seeds."""
        return self.seed + self.block + self.residual

    @property
    def mean_squares(self) -> tuple[tuple[float, float], ...]:
        """`total` as a sum of independent mean squares: (value, degrees of freedom) of each."""
        n, b = self.per_block, self.num_blocks
        return (
            (self.seed + self.block / b + self.residual / (n * b), self.df_seed),
            ((1 - 1 / b) * (self.block + self.residual / n), self.df_block),
            ((1 - 1 / n) * self.residual, self.df_residual),
        )

    @property
    def df_between(self) -> float:
        """Satterthwaite degrees of freedom of block + residual, which runs of different batch sizes differ by."""
        n = self.per_block
        parts = [
            (self.block + self.residual / n, self.df_block),
            ((1 - 1 / n) * self.residual, self.df_residual),
        ]
        return satterthwaite(parts)


def fit_noise(outcome: Floats, blocks: Blocks) -> Noise:
    """Variance components by the method of moments; on complete grids, those of the analysis of variance.

    Within each block configuration and seed effects are fitted by least squares, which also holds where
    trials are missing. With g_b the seed effects of block b and A_b their error covariance over the residual
    variance:

        residual     = sum of squares / degrees of freedom
        seed         = mean over pairs of blocks of  g_b . g_b' / (S - 1)
        seed + block = mean over blocks of  (|g_b|^2 - residual tr A_b) / (S - 1)

    Args:
        outcome: (n, S), NaN where there is no trial.
        blocks: (n,) block of each configuration.

    Returns:
        Components, clipped at 0. With one configuration per block, residual noise cannot be told from the
        block's and counts as that; with one block, the block's counts as the seed's. NaN with fewer than two
        seeds.

    Source:
        Searle, Casella & McCulloch, Variance Components, 1992, sections 4.2 and 5.3.
    """
    labels = np.unique(blocks)
    found = [block_effects(outcome[blocks == label]) for label in labels]
    fits = [fit for fit in found if fit is not None]
    counts = np.array([np.sum(blocks == label) for label in labels], dtype=float)
    per_block = float(len(counts) / np.sum(1.0 / counts))
    if not fits:
        return Noise(math.nan, math.nan, math.nan, 0, 0, 0, per_block, len(labels))
    df_residual = sum(fit.df for fit in fits)
    residual = sum(fit.squares for fit in fits) / df_residual if df_residual else 0.0
    seed, shared = _seed_variances(fits, residual)
    num_seeds = max(int(np.isfinite(fit.effects).sum()) for fit in fits)
    df_block = float((len(fits) - 1) * (num_seeds - 1))
    return Noise(seed, shared - seed, residual, num_seeds - 1.0, df_block, df_residual, per_block, len(fits))


@dataclass(frozen=True)
class BlockEffects:
    """Seed effects of a block, their errors, and what is left over.

    Args:
        effects: (S,) their sum is 0; NaN for absent seeds.
        covariance: (S, S) their error covariance over the residual variance; 0 for absent seeds.
        squares, df: residual sum of squares and its degrees of freedom.
        connected: whether configurations that share seeds link all seeds, so that all effects are known.
    """

    effects: Floats
    covariance: Floats
    squares: float
    df: int
    connected: bool


def block_effects(outcome: Floats) -> BlockEffects | None:
    """Least squares for configurations and seeds of one block; None with fewer than two seeds.

    Args:
        outcome: (n, S), NaN where there is no trial.
    """
    present = np.isfinite(outcome)
    seeds = present.any(axis=0)
    if seeds.sum() < 2:
        return None
    linked = seed_effects(outcome)
    m = present.astype(float)
    centred = m * (np.where(present, outcome, 0.0) - linked.own[:, None] - linked.effects)
    df = int(m.sum()) - int(present.any(axis=1).sum()) - int(linked.rank)
    squares = float(np.sum(centred**2)) if df > 0 else 0.0
    effects = np.where(seeds, linked.effects, np.nan)
    return BlockEffects(effects, linked.covariance, squares, max(df, 0), bool(linked.connected))


@dataclass(frozen=True)
class SeedEffects:
    """Least squares for y(x, s) = own(x) + effect(s), of one table or of many at once (leading axes `...`).

    Args:
        own: (..., n) mean of each configuration at the average seed; 0 where it has no trial.
        effects: (..., S) their sum is 0; 0 for absent seeds.
        covariance: (..., S, S) their error covariance over the residual variance, with equal weights.
        rank: (...,) number of effects that could be told apart.
        connected: (...,) whether configurations that share seeds link all seeds that are there.
    """

    own: Floats
    effects: Floats
    covariance: Floats
    rank: NDArray[np.intp]
    connected: NDArray[np.bool_]


def seed_effects(outcome: Floats, *, weights: Floats | None = None) -> SeedEffects:
    """Fit configurations and seeds.

    Args:
        outcome: (..., n, S), NaN where there is no trial.
        weights: (n,) of the configurations in the sum of squares; equal if None.
    """
    present = np.isfinite(outcome)
    y, m = np.where(present, outcome, 0.0), present.astype(float)
    weighted = m if weights is None else m * weights[:, None]
    runs = np.maximum(m.sum(axis=-1), 1.0)
    means = y.sum(axis=-1) / runs
    normal = -np.swapaxes(weighted, -1, -2) @ (m / runs[..., None])
    diagonal = np.arange(outcome.shape[-1])
    normal[..., diagonal, diagonal] += weighted.sum(axis=-2)
    inverse = np.linalg.pinv(normal, hermitian=True, rcond=1e-10)
    right = (weighted * (y - means[..., None])).sum(axis=-2)
    effects = (inverse @ right[..., None])[..., 0]
    rank = np.rint(np.trace(inverse @ normal, axis1=-2, axis2=-1)).astype(np.intp)
    own = means - (m @ effects[..., None])[..., 0] / runs
    return SeedEffects(own, effects, inverse, rank, rank == present.any(axis=-2).sum(axis=-1) - 1)


def _seed_variances(fits: list[BlockEffects], residual: float) -> tuple[float, float]:
    """Variance of the seed alone, and of seed and block together."""
    shared = []
    for fit in fits:
        df = int(np.isfinite(fit.effects).sum()) - 1
        shared.append((float(np.nansum(fit.effects**2)) - residual * float(np.trace(fit.covariance))) / df)
    both = max(float(np.mean(shared)), 0.0)
    if len(fits) == 1:
        return both, both
    products = []
    for i, one in enumerate(fits):
        for other in fits[:i]:
            common = np.isfinite(one.effects) & np.isfinite(other.effects)
            if common.sum() >= 2:
                products.append(float(one.effects[common] @ other.effects[common]) / (int(common.sum()) - 1))
    return min(max(float(np.mean(products)), 0.0), both) if products else 0.0, both


def satterthwaite(parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of independent mean squares; parts are (value, degrees of freedom)."""
    parts = [(value, df) for value, df in parts if value > 0]
    if any(df <= 0 for _, df in parts):
        return math.nan
    if not parts:
        return math.inf
    return sum(value for value, _ in parts) ** 2 / sum(value**2 / df for value, df in parts)


def t_quantile(df: float, *, confidence: float = CONFIDENCE) -> float:
    """The two-sided quantile of Student's t; NaN without degrees of freedom."""
    return float(stats.t.ppf(0.5 + confidence / 2, df)) if df > 0 else math.nan


def failure_variances(outcome: Floats, failed: NDArray[np.bool_], *, floor: float) -> Floats:
    """(n,) variance of one run that comes from the chance that it fails; 0 where none did.

    Noise is fitted to the runs that ended well, where it is about the same everywhere. Where k of r runs
    failed, p = (k + 1/2) / (r + 1) and the variance is p (1 - p) gap^2, gap = mean of all runs that ended
    well - floor.
    """
    runs, failures = np.isfinite(outcome).sum(axis=1), failed.sum(axis=1)
    fine = outcome[np.isfinite(outcome) & ~failed]
    gap = float(fine.mean()) - floor if len(fine) else 0.0
    p = (failures + 0.5) / (runs + 1.0)
    return np.where(failures > 0, p * (1 - p) * gap**2, 0.0)
