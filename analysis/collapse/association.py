"""How two outcomes of the same trials go together, configurations being what is sampled."""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.estimation.intervals import Estimate, missing
from analysis.estimation.noise import t_quantile

Floats = NDArray[np.float64]
Method = Literal["spearman", "kendall", "partial"]

METHODS: tuple[Method, ...] = ("spearman", "kendall", "partial")

FEWEST_CONFIGURATIONS, RESAMPLES, MOST_CONFIGURATIONS = 10, 1000, 1000


def association(x: Floats, y: Floats, points: Floats, *, method: Method, seed: int) -> Estimate:
    """Correlation of two outcomes over trials, with an interval from resampling configurations.

    `spearman`: of the ranks. `kendall`: tau-b. `partial`: Spearman's given the axes, the correlation of what is
    left of the ranks after a linear regression on the axes, their squares, and categories. Each resample draws
    configurations with all their trials; ranks are those of all trials. The interval is Student's on Fisher's
    scale:

        tanh(artanh(r) +- t(n - k) sqrt(n / (n - k)) sd(artanh(r*))),    k regression terms, 1 without axes

    Args:
        x, y: (n, S) a row a configuration; a trial that lacks either is left out.
        points: (n, d) the configurations on transformed axes.
        seed: of the resamples, and of the draw where there are more than 1,000 configurations.

    Returns:
        -1 to 1; NaN with fewer than 10 configurations or where one outcome is constant.

    Source:
        Davison & Hinkley, Bootstrap Methods and their Application, 1997, sections 2.4 and 3.8; Kendall,
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
    cluster = np.nonzero(there)[0]
    counts = rng.multinomial(len(kept), np.full(len(kept), 1 / len(kept)), size=RESAMPLES).astype(float)
    weights = np.concatenate([np.ones((1, len(kept))), counts])
    given = _terms(points)[cluster] if method == "partial" else np.ones((len(cluster), 1))
    terms = given.shape[1]
    if len(kept) < terms + 5:
        return missing("too few configurations for the axes")
    if method == "kendall":
        found = _kendall(x[there], y[there], cluster, weights)
    else:
        ranks = np.column_stack([stats.rankdata(x[there]), stats.rankdata(y[there])])
        found = _correlations(ranks, given, weights[:, cluster])
    words = f"{method}, {len(cluster)} trials; cluster bootstrap of {len(kept)} configurations"
    estimate, resampled = float(found[0]), found[1:][np.isfinite(found[1:])]
    if not math.isfinite(estimate):
        return missing("explained by the axes" if method == "partial" else "constant")
    if abs(estimate) > 1 - 1e-9:
        return Estimate(estimate, math.nan, math.nan, words, "no interval: the same order")
    spare = len(kept) - terms
    scatter = float(np.std(np.arctanh(np.clip(resampled, -1 + 1e-9, 1 - 1e-9)), ddof=1))
    half = t_quantile(spare) * math.sqrt(len(kept) / spare) * scatter
    low, high = (math.tanh(math.atanh(estimate) + side * half) for side in (-1, 1))
    return Estimate(estimate, low, high, words)


def _terms(points: Floats) -> Floats:
    """(n, k) intercept, coordinates and their squares, without columns that repeat others."""
    columns = [np.ones(len(points))]
    for column in [*points.T, *(points**2).T]:
        basis = np.column_stack(columns)
        left = column - basis @ np.linalg.lstsq(basis, column, rcond=None)[0]
        if np.linalg.norm(left) > 1e-8 * max(1.0, float(np.linalg.norm(column))):
            columns.append(left / np.linalg.norm(left))
    return np.column_stack(columns)


def _correlations(ranks: Floats, given: Floats, weights: Floats) -> Floats:
    """(B,) correlations of two columns given others, under each row of trial weights.

    S = Z'WZ - Z'WX (X'WX)^-1 X'WZ,    r = S_12 / sqrt(S_11 S_22)
    """
    z = (ranks - ranks.mean(axis=0)) / ranks.std(axis=0)
    xx, xz, zz = (_products(one, other, weights) for one, other in ((given, given), (given, z), (z, z)))
    left = zz - np.swapaxes(xz, 1, 2) @ np.linalg.pinv(xx, hermitian=True, rcond=1e-10) @ xz
    square = left[:, 0, 0] * left[:, 1, 1]
    possible = (left[:, 0, 0] > 1e-9 * zz[:, 0, 0]) & (left[:, 1, 1] > 1e-9 * zz[:, 1, 1])
    return np.where(possible, left[:, 0, 1] / np.sqrt(np.where(possible, square, 1.0)), np.nan)


def _products(one: Floats, other: Floats, weights: Floats) -> Floats:
    """(B, p, q) one' W other for each row of weights."""
    crossed = (one[:, :, None] * other[:, None, :]).reshape(len(one), -1)
    found: Floats = (weights @ crossed).reshape(len(weights), one.shape[1], other.shape[1])
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
