"""How two outcomes of the same trials go together, configurations being what is sampled."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.estimation.intervals import Estimate, missing
from analysis.estimation.noise import t_quantile

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Method = Literal["spearman", "kendall", "partial"]

METHODS: tuple[Method, ...] = ("spearman", "kendall", "partial")

FEWEST_CONFIGURATIONS, RESAMPLES, MOST_CONFIGURATIONS = 10, 1000, 1000


def association(x: Floats, y: Floats, points: Floats, *, method: Method, seed: int) -> Estimate:
    """Correlation of two outcomes over trials, with an interval that knows of configurations and seeds.

    `spearman`: of the ranks. `kendall`: tau-b. `partial`: Spearman's given axes and seed, the correlation of what is
    left of the ranks after a linear regression on the axes, their squares, categories, and the seeds. (What all runs
    of a seed share would count as association, as much as the few seeds at hand happen to differ.) Each resample
    draws configurations with all their trials; ranks are those of all trials. The interval is Student's on Fisher's
    scale, with Satterthwaite's degrees of freedom:

        tanh(artanh(r) +- t sqrt(V_x + V_s)),    V_x = n / (n - k) var(artanh(r*)),
        V_s = (S - 1) / S sum_s (artanh(r_s) - mean)^2

    k regression terms of the axes, 1 without; r* of a resample; r_s without seed s. (Without V_s the interval covers
    .71 to .92 where seeds have a common effect.)

    Args:
        x, y: (n, S) a row a configuration; a trial that lacks either is left out.
        points: (n, d) the configurations on transformed axes.
        seed: of the resamples, and of the draw where there are more than 1,000 configurations.

    Returns:
        -1 to 1; NaN with fewer than 10 configurations or where one outcome is constant.

    Source:
        Davison & Hinkley, Bootstrap Methods and their Application, 1997, sections 2.4, 2.7.3 and 3.8; Kendall,
        Biometrika 33, 1945 (tau-b).
    """
    rng = np.random.default_rng(seed)
    there = np.isfinite(x) & np.isfinite(y)
    kept = np.flatnonzero(there.any(axis=1))
    if len(kept) > MOST_CONFIGURATIONS:
        kept = np.sort(rng.choice(kept, MOST_CONFIGURATIONS, replace=False))
    x, y, there, points = x[kept], y[kept], there[kept], points[kept]
    if len(kept) < FEWEST_CONFIGURATIONS:
        return missing(f"fewer than {FEWEST_CONFIGURATIONS} configurations")
    if np.ptp(x[there]) == 0 or np.ptp(y[there]) == 0:
        return missing("constant")
    config, run = np.nonzero(there)
    seeds = np.unique(run, return_inverse=True)[1].astype(np.intp)
    given = _terms(points)[config] if method == "partial" else np.ones((len(config), 1))
    terms = given.shape[1]
    if len(kept) < terms + 5:
        return missing("too few configurations for the axes")
    ranks = np.column_stack([stats.rankdata(x[there]), stats.rankdata(y[there])])
    # A seed of its own for each trial is part of its noise.
    if method == "partial" and seeds.max() + 1 < len(seeds):
        ranks, given = _within(ranks, seeds), np.column_stack([given[:, :1], _within(given[:, 1:], seeds)])
    if np.any(np.ptp(ranks, axis=0) < 1e-9):
        return missing("the same on all trials of a seed")

    def correlations(cluster: Indices, weights: Floats) -> Floats:
        if method != "kendall":
            return _correlations(ranks, given, cluster, weights)
        order = np.argsort(cluster, kind="stable")
        return _kendall(x[there][order], y[there][order], cluster[order], weights)

    found = _clustered(correlations, config, seeds, terms=terms, rng=rng)
    words = f"{method}, {len(config)} trials; {found.method}"
    constant = "explained by the axes" if method == "partial" else "constant"
    return replace(found, method=words) if math.isfinite(found.estimate) else missing(constant)


def _clustered(
    correlations: Callable[[Indices, Floats], Floats], config: Indices, seeds: Indices, *, terms: int,
    rng: np.random.Generator,
) -> Estimate:  # fmt: skip
    """The interval of `association`; `correlations` are those of trials weighted by their cluster."""
    size, count = int(config.max()) + 1, int(seeds.max()) + 1
    counts = rng.multinomial(size, np.full(size, 1 / size), size=RESAMPLES).astype(float)
    found = correlations(config, np.concatenate([np.ones((1, size)), counts]))
    estimate, words = float(found[0]), f"bootstrap of {size} configurations"
    if not abs(estimate) <= 1 - 1e-9:
        return Estimate(estimate, math.nan, math.nan, words, "no interval: the same order")
    spare = size - terms
    parts = [(size / spare * float(np.var(_fisher(found[1:]), ddof=1)), spare)]
    if count > 1:
        parts.append(((count - 1) * float(np.var(_fisher(correlations(seeds, 1 - np.eye(count))))), count - 1))
        words += f", jackknife of {count} seeds"
    variance = sum(part for part, _ in parts)
    df = variance**2 / sum(part**2 / own for part, own in parts) if variance > 0 else float(spare)
    half = t_quantile(df) * math.sqrt(variance)
    low, high = (math.tanh(math.atanh(estimate) + side * half) for side in (-1, 1))
    return Estimate(estimate, low, high, f"{words}; t with {df:.3g} degrees of freedom")


def _within(columns: Floats, seeds: Indices) -> Floats:
    """Columns without their mean over the trials of each seed."""
    sums = np.zeros((int(seeds.max()) + 1, columns.shape[1]))
    np.add.at(sums, seeds, columns)
    found: Floats = columns - (sums / np.bincount(seeds)[:, None])[seeds]
    return found


def _fisher(correlations: Floats) -> Floats:
    """artanh of those that are known."""
    return np.arctanh(np.clip(correlations[np.isfinite(correlations)], -1 + 1e-9, 1 - 1e-9))


def _terms(points: Floats) -> Floats:
    """(n, k) intercept, coordinates and their squares, without columns that repeat others."""
    columns = [np.ones(len(points))]
    for column in [*points.T, *(points**2).T]:
        basis = np.column_stack(columns)
        left = column - basis @ np.linalg.lstsq(basis, column, rcond=None)[0]
        if np.linalg.norm(left) > 1e-8 * max(1.0, float(np.linalg.norm(column))):
            columns.append(left / np.linalg.norm(left))
    return np.column_stack(columns)


def _correlations(ranks: Floats, given: Floats, cluster: Indices, weights: Floats) -> Floats:
    """(B,) correlations of two columns given others, under each row of weights of the clusters.

    S = Z'WZ - Z'WX (X'WX)^-1 X'WZ,    r = S_12 / sqrt(S_11 S_22)
    """
    z = (ranks - ranks.mean(axis=0)) / ranks.std(axis=0)
    xx, xz, zz = (_products(one, other, cluster, weights) for one, other in ((given, given), (given, z), (z, z)))
    left = zz - np.swapaxes(xz, 1, 2) @ np.linalg.pinv(xx, hermitian=True, rcond=1e-10) @ xz
    square = left[:, 0, 0] * left[:, 1, 1]
    possible = (left[:, 0, 0] > 1e-9 * zz[:, 0, 0]) & (left[:, 1, 1] > 1e-9 * zz[:, 1, 1])
    return np.where(possible, left[:, 0, 1] / np.sqrt(np.where(possible, square, 1.0)), np.nan)


def _products(one: Floats, other: Floats, cluster: Indices, weights: Floats) -> Floats:
    """(B, p, q) one' W other for each row of weights; they are summed by cluster first."""
    crossed = (one[:, :, None] * other[:, None, :]).reshape(len(one), -1)
    sums = np.column_stack([np.bincount(cluster, column, weights.shape[1]) for column in crossed.T])
    found: Floats = (weights @ sums).reshape(len(weights), one.shape[1], other.shape[1])
    return found


def _kendall(x: Floats, y: Floats, cluster: NDArray[np.intp], weights: Floats) -> Floats:
    """(B,) tau-b under each row of weights of the clusters.

    Pairs of trials of clusters a and b count w_a w_b times, so sums over pairs are quadratic forms of (n, n)
    tables that are made once.
    """
    size = weights.shape[1]
    tables = np.zeros((3, size, size))
    starts = np.searchsorted(cluster, np.arange(size))
    for index, (own_x, own_y) in enumerate(zip(x, y, strict=True)):
        signs = np.sign(x - own_x), np.sign(y - own_y)
        for table, column in zip(tables, (signs[0] * signs[1], signs[0] ** 2, signs[1] ** 2), strict=True):
            table[cluster[index]] += np.add.reduceat(column, starts)
    concordant, in_x, in_y = (np.sum((weights @ table) * weights, axis=1) for table in tables)
    found: Floats = concordant / np.sqrt(np.maximum(in_x * in_y, 1e-300))
    return found
