"""Families of one data set and what their robustness differs by, with errors from simulated data sets."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.balance import balance, levelled, row_means
from analysis.estimation.crossfit import choose_best, mean_regret
from analysis.estimation.fitted import LEAST_CONFIGURATIONS, Fitted
from analysis.estimation.grids import level_codes
from analysis.estimation.shrinkage import shrink_grid
from analysis.estimation.surrogate import fit_surrogate
from analysis.estimation.weights import redrawn
from analysis.robustness.bootstrap import common_noise, family_slices
from analysis.robustness.contender import above, not_measured
from analysis.robustness.near_optimal import mass

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Smoother = Callable[[Floats, Floats], tuple[Floats, Floats]]
_Weighted = tuple[Floats, Floats, Floats, Floats]
"""Expected values, their errors, means and weights of a family's configurations."""

REPLICATES = 200
"""Simulated data sets; a quarter of them where there are many trials, whose errors are known well from few."""

MANY_TRIALS = 50_000


@dataclass(frozen=True)
class Key:
    """A measure, and whether it is taken from a family's own best or from the best of all families."""

    measure: str
    reference: str
    tolerance: float = math.nan


@dataclass(frozen=True)
class Rivals:
    """The families of a data set that can be measured.

    Args:
        families: with known noise, the field of which the best of all is taken.
        keys: what is measured.
        values: (keys, families) as in the table of robustness measures.
        errors: (replicates, keys, families) of the same in simulated data sets: found minus true.
        best: of all families.
        own_bests: (families,)
    """

    families: Sequence[Fitted]
    keys: Sequence[Key]
    values: Floats
    errors: Floats
    best: float
    own_bests: Floats

    def column(self, family: Fitted) -> int:
        """Where a family stands."""
        return [one.cells.family for one in self.families].index(family.cells.family)

    def reason(self, key: Key, family: Fitted) -> str:
        """Why a family has no such measure; empty where it has one."""
        cells = family.cells
        if key.reference == "common":
            outcome = np.concatenate([one.cells.outcome for one in self.families])
            return not_measured(self.best, outcome, cells.floor, shared=True)
        if not np.isfinite(cells.selection).any():
            return f"no {cells.chosen_on}"
        if cells.num_configs == 1:
            return "one configuration"
        return not_measured(float(self.own_bests[self.column(family)]), cells.outcome, cells.floor, shared=False)


def measured(tolerances: Sequence[float]) -> list[Key]:
    """What families are compared by."""
    references = ("own", "common")
    regrets = [Key("normalised_regret", reference) for reference in references]
    return regrets + [Key("near_optimal_mass", reference, delta) for reference in references for delta in tolerances]


def rivals(families: Sequence[Fitted], *, tolerances: Sequence[float], sampled: bool, seed: int) -> Rivals:
    """Measure families side by side, and again in data sets drawn from their common noise model.

    A data set is every family's shrunken surface plus what all runs of a seed share, what those of a seed,
    family and batch size share, residual noise and failures. It is shrunk and measured as the data were, so
    that errors of two families that come from the same seeds cancel in their difference.

    Args:
        families: of one data set, with known noise.
        tolerances: of V(delta).
        sampled: whether configurations are a sample; then those that are averaged are drawn anew.
        seed: of the draws.
    """
    keys = measured(tolerances)
    noise, blocks = common_noise(families)
    spans, floor = list(family_slices(families)), families[0].cells.floor
    outcome, selection, failed, failing, successful, residual = (
        np.concatenate(parts)
        for parts in zip(
            *(
                (
                    one.cells.outcome, one.cells.selection, one.cells.failed, one.outcome.failing,
                    one.outcome.successful, np.full(one.cells.num_configs, one.outcome.noise.residual),
                )
                for one in families
            ),
            strict=True,
        )
    )  # fmt: skip
    smoothers = [_smoother(one, sampled=sampled, seed=seed) for one in families]
    read = _Reading(families, keys, blocks, spans, floor)
    surfaces = [(one.outcome.expected, one.outcome.error, one.outcome.means, one.cells.weights) for one in families]
    own_bests, best = read.bests(selection, outcome, failed)
    values = read.measures(surfaces, (own_bests, best))
    tops = np.array([float(one.outcome.simulated.max()) for one in families])
    true = [
        (one.outcome.simulated, np.zeros_like(one.outcome.error), one.outcome.simulated, one.cells.weights)
        for one in families
    ]
    truth = read.measures(true, (tops, float(tops.max())))
    count = REPLICATES if outcome.size <= MANY_TRIALS else max(REPLICATES // 4, 1)
    rng = np.random.default_rng([seed, crc32(families[0].cells.dataset.encode())])
    present, errors = np.isfinite(outcome), np.empty((count, *values.shape))
    for replicate in range(count):
        y = rng.normal(size=outcome.shape) * np.sqrt(residual)[:, None] + successful[:, None]
        y += rng.normal(0.0, math.sqrt(noise.seed), outcome.shape[1])
        y += rng.normal(0.0, math.sqrt(noise.block), (int(blocks.max()) + 1, outcome.shape[1]))[blocks]
        lost = present & (rng.uniform(size=y.shape) < failing[:, None])
        y = np.where(present, np.where(lost, floor, y), np.nan)
        drawn = [
            _redrawn((*_surface(one, smooth, y[span], lost[span]), one.cells.weights), sampled, rng)
            for one, smooth, span in zip(families, smoothers, spans, strict=True)
        ]
        errors[replicate] = read.measures(drawn, read.bests(y, y, lost)) - truth
    return Rivals(families, keys, values, errors, best, own_bests)


@dataclass(frozen=True)
class _Reading:
    """How measures are read off the surfaces of all families."""

    families: Sequence[Fitted]
    keys: Sequence[Key]
    blocks: NDArray[np.intp]
    spans: Sequence[slice]
    floor: float

    def bests(self, selection: Floats, outcome: Floats, failed: Bools) -> tuple[Floats, float]:
        """Cross-fitted: each family's own, and that of all."""
        own = np.array([
            choose_best(
                levelled(selection[span], failed[span], one.cells.blocks),
                levelled(outcome[span], failed[span], one.cells.blocks),
            ).mean
            for one, span in zip(self.families, self.spans, strict=True)
        ])  # fmt: skip
        level = [levelled(column, failed, self.blocks) for column in (selection, outcome)]
        return own, choose_best(*level).mean

    def measures(self, surfaces: Sequence[_Weighted], bests: tuple[Floats, float]) -> Floats:
        """(keys, families); NaN where the best is at the floor."""
        found = np.empty((len(self.keys), len(surfaces)))
        for column, (expected, error, means, weights) in enumerate(surfaces):
            for row, key in enumerate(self.keys):
                best = bests[0][column] if key.reference == "own" else bests[1]
                if not above(best, self.floor):
                    found[row, column] = math.nan
                elif key.measure == "normalised_regret":
                    found[row, column] = float(mean_regret(np.array(best), means, floor=self.floor, weights=weights))
                else:
                    found[row, column] = mass(expected, error, best, tolerance=key.tolerance, weights=weights)
        return found


def _surface(family: Fitted, smooth: Smoother, outcome: Floats, failed: Bools) -> tuple[Floats, Floats, Floats]:
    """Expected values, their errors and the means of a simulated family, found as those of the data were."""
    cells, residual = family.cells, family.outcome.noise.residual
    level = balance(outcome, failed, cells.blocks)
    fine = np.where(failed, np.nan, level.column)
    successes = np.isfinite(fine).sum(axis=1)
    failing = 1 - successes / np.maximum(np.isfinite(outcome).sum(axis=1), 1)
    rough = np.where(successes > 0, row_means(fine), cells.floor)
    expected, error = smooth(rough, residual * (1 / np.maximum(successes, 1) + level.inflation))
    return failing * cells.floor + (1 - failing) * expected, (1 - failing) * error, row_means(level.column)


def _smoother(family: Fitted, *, sampled: bool, seed: int) -> Smoother:
    """Shrinking as in `fit_family`; a surrogate keeps the covariance that it was fitted with."""
    cells, surface = family.cells, family.outcome
    if cells.num_configs < LEAST_CONFIGURATIONS or not surface.noise.residual > 0:
        return lambda means, variances: (means, np.sqrt(variances))
    if not sampled:
        codes = level_codes(cells.settings)

        def by_terms(means: Floats, variances: Floats) -> tuple[Floats, Floats]:
            shrunken = shrink_grid(codes, means, variances)
            return shrunken.expected, shrunken.error

        return by_terms
    fit = fit_surrogate(cells.points, surface.means, surface.variances, seed=seed, restarts=1)
    weights, error = fit.weights(cells.points), np.full(cells.num_configs, 0.0)
    error = np.sqrt([max(float(fit.covariance(point[None])[0, 0]), 0.0) for point in cells.points])
    return lambda means, variances: (fit.offset + weights @ (means[fit.drawn] - fit.offset), error)


def _redrawn(surface: _Weighted, sampled: bool, rng: np.random.Generator) -> _Weighted:
    """Configurations that are a sample, drawn anew by their weights, as many as tell as much."""
    if not sampled:
        return surface
    expected, error, means, weights = surface
    rows = redrawn(weights, 1, rng)[0]
    return expected[rows], error[rows], means[rows], np.full(len(rows), 1.0 / len(rows))
