"""Sobol indices and Shapley effects of a surface that is known through a model of it, under the reference measure."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.ensemble import RandomForestRegressor

from analysis.estimation.cells import unit_points
from analysis.estimation.intervals import Estimate, missing
from analysis.estimation.noise import CONFIDENCE, t_quantile
from analysis.estimation.surrogate import Surrogate
from analysis.sensitivity.decomposition import all_subsets, index_weights, subset_variances
from analysis.table import Axis

Floats = NDArray[np.float64]

MOST_NODES = 16384
"""Of the product of all axes' nodes, where lists of levels leave a choice."""

MOST_NODES_OF_AN_AXIS = 64
DRAWS, GROUPS = 100, 10
TREES, LEAF = 200, 2
CONSTANT = "constant outcome"
_NEAR_0 = 1e-6
_NAMES = {"S1": "S1_corrected", "ST": "ST_corrected", "shapley": "shapley"}


@dataclass(frozen=True)
class Nodes:
    """A product rule for the reference measure: what a surface's integrals are computed from.

    Args:
        axes: (d,) positions of the axes that have more than one node among those it was made for.
        weights: of the nodes of each of these axes, (L_i,) summing to 1.
        points: (L_1 ... L_d, columns) points of the unit cube, the last axis running fastest.
    """

    axes: tuple[int, ...]
    weights: tuple[Floats, ...]
    points: Floats

    def variances(self, values: Floats) -> Floats:
        """(count, 2^d) `subset_variances` of (count, m) values of surfaces at the points."""
        return subset_variances(values.reshape(len(values), *(len(w) for w in self.weights)), self.weights)

    def along(self, axis: int, values: Floats) -> Floats:
        """(count, m) values at the points for (count, L) values at the nodes of one axis, given by its position."""
        place = self.axes.index(axis)
        codes = np.indices([len(w) for w in self.weights])[place].ravel()
        return np.asarray(values[:, codes])


@dataclass(frozen=True)
class BlockNoise:
    """What the runs of a seed and batch size share, averaged over seeds.

    Args:
        axis: position of the batch size.
        variance: of a level's mean.
        df: degrees of freedom behind it.
        levels: number of batch sizes.
    """

    axis: int
    variance: float
    df: float
    levels: int

    @property
    def expected(self) -> float:
        """What it adds to the variance over the levels."""
        return self.variance * (1 - 1 / self.levels)

    def drawn(self, count: int, nodes: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """(count, nodes) draws of the levels' noise, and (count,) what each draw is expected to add."""
        variances = self.variance * self.df / rng.chisquare(self.df, count)
        return rng.normal(size=(count, nodes)) * np.sqrt(variances)[:, None], variances * (1 - 1 / self.levels)


def quadrature(axes: Sequence[Axis], length_scales: Floats) -> Nodes:
    """All levels of a list; Gauss-Legendre nodes on the scale of a continuous axis, more of them where it is rough.

    Args:
        axes: the varying axes.
        length_scales: (columns,) of the surface, in the unit of the columns of the points.
    """
    # With many continuous axes those that hardly matter stay at their middle.
    continuous = sum(not axis.levels for axis in axes)
    least = 4 if continuous <= 4 else 2 if continuous <= 8 else 1
    counts = np.array([len(axis.levels) or least for axis in axes])
    starts = np.cumsum([0, *(len(axis.levels) if axis.scale is None else 1 for axis in axes)])[:-1]
    roughness = np.array([0.0 if axis.levels else 1.0 for axis in axes]) / np.asarray(length_scales)[starts]
    while roughness.any():
        widest = int(np.argmax(roughness / counts))
        if math.prod(counts.tolist()) // counts[widest] * (counts[widest] + 1) > MOST_NODES:
            break
        counts[widest] += 1
        if counts[widest] == MOST_NODES_OF_AN_AXIS:
            roughness[widest] = 0.0
    rules = [_rule(axis, int(count)) for axis, count in zip(axes, counts, strict=True)]
    index = np.indices(tuple(counts)).reshape(len(axes), -1)
    points = np.column_stack([columns[row] for (columns, _), row in zip(rules, index, strict=True)])
    kept = tuple(np.flatnonzero(counts > 1).tolist())
    return Nodes(kept, tuple(rules[axis][1] for axis in kept), points)


def _rule(axis: Axis, count: int) -> tuple[Floats, Floats]:
    """(count, columns) nodes of one axis in the unit cube, and their (count,) weights."""
    if axis.levels:
        points = unit_points(pd.DataFrame({axis.name: list(axis.levels)}), [axis])
        return points, np.full(count, 1.0 / count)
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes[:, None] + 1) / 2, weights / 2


def surrogate_indices(
    surrogate: Surrogate, axes: Sequence[Axis], *, seed: int, block: BlockNoise | None = None
) -> Iterator[tuple[str, int, Estimate]]:
    """Indices of a Gaussian process: their mean over posterior draws, and a 95 % interval.

    The posterior takes for granted that the process is as rough everywhere, and its kernel as known. So the spread of
    the draws is raised by that of a jackknife: their standard deviation becomes sqrt(posterior variance + jackknife
    variance), with the indices of the posterior mean of processes fitted anew without each tenth of the
    configurations, and its quantiles are stretched as those of Student's t with 9 degrees of freedom are. (Draws
    alone covered .7 at a nominal .95 on real tables, with the kernel kept in the jackknife .85.)

    What the runs of a seed and batch size share moves the levels of the batch size in every draw, with a variance
    drawn from its own posterior; its expectation, that of the draw and that of the data, is taken off V_b, VT_b and V.

    Args:
        surrogate: fitted to points of these axes.
        axes: the varying axes.
        seed: of the draws and of the jackknife's groups.
        block: noise of the levels of the batch size; None without it.

    Yields:
        (measure, position of the axis, estimate): S1_corrected, ST_corrected, shapley; NaN where nothing varies.

    Source:
        Le Gratiet, Cannamela & Iooss, A Bayesian approach for global sensitivity analysis of (multifidelity) computer
        codes, SIAM/ASA Journal on Uncertainty Quantification 2, 2014; Efron & Tibshirani, An Introduction to the
        Bootstrap, 1993, equation 11.5 (jackknife).
    """
    rng = np.random.default_rng(seed)
    nodes = quadrature(axes, surrogate.length_scales)
    surfaces, spare = surrogate.draws(nodes.points, count=DRAWS, rng=rng), np.zeros(DRAWS)
    if block is not None and block.axis in nodes.axes:
        moved, spare = block.drawn(DRAWS, len(nodes.weights[nodes.axes.index(block.axis)]), rng)
        surfaces = surfaces + nodes.along(block.axis, moved)
    drawn = nodes.variances(surfaces)
    groups = rng.permutation(len(surrogate.points)) % GROUPS
    without = nodes.variances(surrogate.left_out_means(nodes.points, groups))
    words = f"Gaussian process; {DRAWS} posterior draws, spread raised by a jackknife"
    place, known = (block.axis, block.expected) if block is not None else (-1, 0.0)
    pairs = zip(
        _indices(nodes, len(axes), drawn, place, known + spare),
        _indices(nodes, len(axes), without, place, np.full(GROUPS, known)),
        strict=True,
    )
    for (measure, axis, values), (_, _, again) in pairs:
        yield measure, axis, _raised(values, again, words)


def forest_indices(
    points: Floats, means: Floats, axes: Sequence[Axis], length_scales: Floats, *, seed: int
) -> Iterator[tuple[str, int, Estimate]]:
    """The same of a random forest: a second opinion from a model that assumes no smoothness, without intervals.

    Args:
        points: (n, columns) of the unit cube.
        means: (n,) cell means.
        length_scales: (columns,) of the surrogate: both are integrated at the same nodes.
        seed: of the trees.

    Yields:
        (measure, position of the axis, estimate): S1_forest, ST_forest.

    Source:
        Breiman, Random forests, Machine Learning 45, 2001.
    """
    nodes = quadrature(axes, length_scales)
    forest = RandomForestRegressor(TREES, min_samples_leaf=LEAF, random_state=seed).fit(points, means)
    variances = nodes.variances(forest.predict(nodes.points)[None])
    for measure, axis, values in _indices(nodes, len(axes), variances, -1, np.zeros(1)):
        if measure != "shapley":
            value, reason = float(values[0]), "no interval: a second opinion"
            found = Estimate(value, math.nan, math.nan, f"random forest of {TREES} trees", reason)
            yield measure.replace("corrected", "forest"), axis, found if math.isfinite(value) else missing(CONSTANT)


def _indices(
    nodes: Nodes, count: int, variances: Floats, place: int, noise: Floats
) -> Iterator[tuple[str, int, Floats]]:
    """(count,) values of each index for (count, 2^d) variances; NaN for a constant surface.

    Args:
        place: position of an axis from whose own variance (count,) `noise` is taken off; one without nodes for none.
    """
    members = all_subsets(len(nodes.axes))
    if place in nodes.axes:
        alone = 1 << nodes.axes.index(place)
        variances = variances.copy()
        variances[:, alone] = np.maximum(variances[:, alone] - noise, 0.0)
    whole = variances.sum(axis=1)
    scale = np.where(whole > 0, whole, np.nan)
    for measure, place, weights in index_weights(members):
        yield _NAMES[measure], nodes.axes[place], variances @ weights / scale
    for axis in sorted(set(range(count)) - set(nodes.axes)):
        for name in _NAMES.values():
            yield name, axis, np.zeros(len(whole))


def _raised(drawn: Floats, without: Floats, words: str) -> Estimate:
    """Mean and quantiles of draws whose spread is raised by the jackknife's, on the scale of log(index / (1 - index)).

    The nearer to 0 or 1 an index is estimated, the more certain it looks; on that scale much less so.
    """
    if not np.isfinite(drawn).all():
        return missing(CONSTANT)
    mean, variance = float(drawn.mean()), float(drawn.var())
    jackknife = (GROUPS - 1) / GROUPS * float(np.sum((without - without.mean()) ** 2))
    factor = math.sqrt(1 + jackknife / variance) if variance > 0 and math.isfinite(jackknife) else 1.0
    factor *= t_quantile(GROUPS - 1) / t_quantile(math.inf)
    tail = 0.5 - CONFIDENCE / 2
    centre, *ends = logit(np.clip([mean, *np.quantile(drawn, [tail, 1 - tail])], _NEAR_0, 1 - _NEAR_0))
    low, high = expit(centre + factor * (np.array(ends) - centre)).tolist()
    return Estimate(mean, low if low > _NEAR_0 else 0.0, high, words).holding()
