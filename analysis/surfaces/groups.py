"""Means of a grid's configurations group by group, all groups at once."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.cells import FAILED, Cells
from analysis.estimation.fitted import family_noise
from analysis.estimation.means import seed_mean

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Summary:
    """The trials of some configurations.

    Args:
        group: its number.
        mean: of the configurations' means, balanced over seeds; larger is better.
        error: its standard error.
        seed_sd: standard deviation of the mean over seeds; NaN with one seed.
        trials, failed: how many there are, and of them failed.
    """

    group: int
    mean: float
    error: float
    seed_sd: float
    trials: int
    failed: int


def summaries(family: Cells, group: Indices, outcome: str) -> Iterator[Summary]:
    """The groups that have configurations, in order.

    One configuration alone has the standard error of the family's noise model, which knows more seeds' luck
    than its own few runs; several have that of their mean over seeds. P(failed) has binomial errors.

    Args:
        group: (n,) number of each configuration's group; those below 0 are left out.
        outcome: the column that `family` holds.
    """
    noise, variances = family_noise(family, outcome)
    rows = np.flatnonzero(group >= 0)
    rows = rows[np.argsort(group[rows], kind="stable")]
    if not len(rows):
        return
    names, starts, counts = np.unique(group[rows], return_index=True, return_counts=True)
    values = family.outcome[rows]
    ran = np.isfinite(values)
    per_seed = _sums(np.where(ran, values, 0.0), starts) / np.where(trials := _sums(ran, starts), trials, np.nan)
    seeds = np.isfinite(per_seed).sum(axis=1)
    means = _sums(family.means[rows], starts) / counts
    sd = np.array(
        [float(np.nanstd(row, ddof=1)) if known > 1 else math.nan for row, known in zip(per_seed, seeds, strict=True)]
    )
    errors = np.sqrt(_sums(variances[rows], starts) / counts**2 + (noise.seed + noise.block) / seeds)
    failed = _sums(family.failed[rows].sum(axis=1), starts)
    for index, name in enumerate(names.tolist()):
        error = float(errors[index])
        if counts[index] > 1 and outcome != FAILED:
            error = seed_mean(values[starts[index] : starts[index] + counts[index]]).error
        yield Summary(name, float(means[index]), error, float(sd[index]), int(trials[index].sum()), int(failed[index]))


def _sums(values: NDArray[np.generic], starts: Indices) -> Floats:
    return np.add.reduceat(values, starts, axis=0, dtype=float)
