"""One family with its noise model and its surface shrunk towards its neighbours."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.balance import balance, row_means
from analysis.estimation.cells import FAILED, Cells
from analysis.estimation.grids import level_codes
from analysis.estimation.noise import Noise, failure_variances, fit_noise
from analysis.estimation.shrinkage import shrink_grid
from analysis.estimation.surrogate import Surrogate, fit_surrogate

Floats = NDArray[np.float64]

LEAST_CONFIGURATIONS = 5
"""With fewer points than this neighbours say nothing: means are taken as they are."""


@dataclass(frozen=True)
class Surface:
    """One column of a family: its noise, and its expected value by configuration.

    A run fails, and counts as the floor, with the configuration's own share of failures; otherwise it has the
    expected value of those that end well plus noise.

    Args:
        noise: components of the runs that ended well.
        runs: (n,) runs of each configuration.
        failing: (n,) chance that a run fails, for simulated runs.
        means: (n,) cell means, failures included.
        variances: (n,) error variances of `means` from residual noise and failures.
        successful: (n,) means of the runs that ended well, shrunk towards their neighbours.
        expected: (n,) the same with the share of failures that was seen at the floor.
        simulated: (n,) expected value of simulated runs; `expected` where no run of the family failed.
        error: (n,) posterior standard deviation of `expected`, what all configurations share left out.
    """

    noise: Noise
    runs: Floats
    failing: Floats
    means: Floats
    variances: Floats
    successful: Floats
    expected: Floats
    simulated: Floats
    error: Floats


@dataclass(frozen=True)
class Fitted:
    """A family's outcome, and the column on which its maxima are chosen."""

    cells: Cells
    outcome: Surface
    selection: Surface


def fit_family(family: Cells, *, seed: int, sampled: bool = False) -> Fitted:
    """Fit noise and surface of both columns; the same column is fitted once.

    Args:
        seed: of the surrogate's draw and restarts.
        sampled: whether configurations are scattered; else they are cells of a grid, where means are shrunk by
            the terms of their analysis of variance and not by a surrogate.
    """
    outcome = _surface(family, family.outcome, seed, sampled)
    same = np.array_equal(family.outcome, family.selection, equal_nan=True)
    return Fitted(family, outcome, outcome if same else _surface(family, family.selection, seed, sampled))


def family_noise(family: Cells, outcome: str) -> tuple[Noise, Floats]:
    """The noise model of a family, and (n,) the error variance of each cell mean beyond the seeds' common
    part.

    P(failed) has binomial errors instead, p = (failures + 1/2) / (runs + 1): an observed 0 is not certain.
    """
    runs = np.isfinite(family.outcome).sum(axis=1)
    if outcome != FAILED:
        noise = _noise(family, family.outcome)
        extra = failure_variances(family.outcome, family.failed, floor=family.floor)
        variances = (noise.residual + extra) / runs + noise.residual * family.balanced.inflation
        return noise, np.where(family.balanced.connected, variances, np.nan)
    p = (family.failed.sum(axis=1) + 0.5) / (runs + 1.0)
    return Noise(0.0, 0.0, float(np.mean(p * (1 - p))), 0, 0, 0, 1.0, 1), p * (1 - p) / runs


def _noise(family: Cells, column: Floats) -> Noise:
    """Fitted to the runs that ended well, unless too few of them did."""
    noise = fit_noise(np.where(family.failed, np.nan, column), family.blocks)
    return fit_noise(column, family.blocks) if noise.df_residual + noise.df_block < 1 else noise


def _surface(family: Cells, column: Floats, seed: int, sampled: bool) -> Surface:
    noise = _noise(family, column)
    level = balance(column, family.failed, family.blocks)
    # A configuration without any score on the column counts one run, so that nothing is divided by 0.
    runs = np.maximum(np.isfinite(column).sum(axis=1), 1).astype(float)
    failures = family.failed.sum(axis=1)
    lost, failing = failures / runs, failing_chances(failures, runs)
    extra = failure_variances(column, family.failed, floor=family.floor)
    fine = np.where(family.failed, np.nan, level.column)
    successes = np.isfinite(fine).sum(axis=1)
    well = successes > 0
    successful, error = np.full(len(runs), family.floor), np.zeros(len(runs))
    if well.any():
        means = row_means(fine)[well]
        spread = noise.residual * (1 / successes[well] + level.inflation[well])
        if not np.any(spread > 0) or len(means) < LEAST_CONFIGURATIONS:
            successful[well], error[well] = means, np.sqrt(spread)
        elif sampled or _is_sparse(family):
            successful[well], error[well] = _smoothed(family.points[well], means, spread, seed=seed)
        else:
            shrunken = shrink_grid(level_codes(family.settings)[well], means, spread)
            successful[well], error[well] = shrunken.expected, shrunken.error
    return Surface(
        noise=noise,
        runs=runs,
        failing=failing,
        means=row_means(level.column),
        variances=(noise.residual + extra) / runs + (noise.residual * level.inflation if noise.residual > 0 else 0.0),
        successful=successful,
        expected=lost * family.floor + (1 - lost) * successful,
        simulated=failing * family.floor + (1 - failing) * successful,
        error=np.sqrt(((1 - lost) * error) ** 2 + extra / runs),
    )


def failing_chances(failures: Floats, runs: Floats) -> Floats:
    """(n,) chance that a run of each configuration fails: (k + p) / (r + 1), p the family's share of failures.

    A configuration that never failed in five runs may fail in the sixth: simulated as if it never did, intervals of
    the best covered .35 to .65 where 3 to 5 % of the runs fail, with this .85 to 1. What is expected of a
    configuration keeps the share that was seen: shrunk too, near-optimal mass was .05 to .25 lower than the truth,
    as its best is read and not shrunk.

    Args:
        failures: (n,) k.
        runs: (n,) r.
    """
    pooled = failures.sum() / runs.sum()
    return np.asarray((failures + pooled) / (runs + 1))


def _is_sparse(family: Cells) -> bool:
    """Whether fewer than half of the cells of the grid have trials."""
    return 2 * family.num_configs < math.prod(family.settings[name].nunique() for name in family.settings)


def _smoothed(points: Floats, means: Floats, noise: Floats, *, seed: int) -> tuple[Floats, Floats]:
    """Posterior mean and standard deviation at every configuration of a scattered design.

    Where the process rests on a draw, each mean is shrunk towards its prediction by the share of the scatter
    around the predictions that noise does not explain.
    """
    surrogate = fit_surrogate(points, means, noise, seed=seed, restarts=1)
    predicted = surrogate.mean(points)
    if len(surrogate.drawn) == len(points):
        return predicted, np.sqrt(np.maximum(np.diag(surrogate.covariance(points)), 0.0))
    left_over = max(float(np.mean((means - predicted) ** 2 - noise)), 0.0)
    kept = left_over / (left_over + noise) if left_over > 0 else np.zeros(len(means))
    return predicted + kept * (means - predicted), np.sqrt(kept * noise)


def cell_surrogate(family: Cells, outcome: str, *, seed: int) -> Surrogate | None:
    """The process through all cell means, failures included; None with too few configurations."""
    if family.num_configs < LEAST_CONFIGURATIONS:
        return None
    _, variances = family_noise(family, outcome)
    return fit_surrogate(family.points, family.means, variances, seed=seed)
