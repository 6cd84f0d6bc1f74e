"""One-axis profiles: an outcome along one axis, the others averaged under the reference measure."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.cells import FAILED, Cells, all_cells, unit_points
from analysis.fitted import LEAST_CONFIGURATIONS, family_noise
from analysis.intervals import Estimate, around, rate
from analysis.surfaces import average, cell_summary, evaluation_points, neighbours
from analysis.surrogate import fit_surrogate
from analysis.table import Axis, Table

COLUMNS = ("dataset", "outcome", "family", "axis", "value", "estimate", "low", "high", "n")


def profiles(table: Table, outcome: str, *, seed: int = 0) -> pd.DataFrame:
    """Every family's profile along each of its axes.

    On grids the mean of all trials at a level; in scattered designs a Gaussian process averaged over the
    sampled values of the other axes. Intervals: the noise model's standard error, what all runs of a seed
    share included, and Student's t with S - 1 degrees of freedom; Clopper and Pearson's for `failed` on
    grids.

    Args:
        outcome: a numeric outcome column, or `failed`.
        seed: of the surrogate's restarts.

    Returns:
        A row a point: dataset, outcome, family, axis, value, estimate, low, high, n (trials behind it). low
        and high are NaN with one seed.
    """
    rows = [
        {"dataset": dataset, "outcome": outcome, "family": family.family, "axis": axis.name, **row}
        for dataset in table.datasets
        for family in all_cells(table, dataset, outcome)
        for axis, points in _profiles(table, family, outcome, seed)
        for row in points
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _profiles(table: Table, family: Cells, outcome: str, seed: int) -> Iterator[tuple[Axis, Iterator[dict[str, Any]]]]:
    for axis in family.axes:
        if table.design == "grid":
            yield axis, _levels(family, axis, outcome)
        elif family.num_configs >= LEAST_CONFIGURATIONS:
            yield axis, _smooth(family, axis, outcome, seed)


def _levels(family: Cells, axis: Axis, outcome: str) -> Iterator[dict[str, Any]]:
    noise, variances = family_noise(family, outcome)
    for level in axis.levels:
        inside = (family.settings[axis.name] == level).to_numpy()
        if not inside.any():
            continue
        cell = cell_summary(family, inside, noise, variances)
        present = np.isfinite(family.outcome[inside])
        if outcome == FAILED:
            found = rate(family.failed[inside], present, sampled=False)
        else:
            seeds = int(present.any(axis=0).sum())
            found = around(cell["estimate"], cell["standard_error"], seeds=seeds, method="cell mean")
        yield _row(level, found, cell["n"])


def _smooth(family: Cells, axis: Axis, outcome: str, seed: int) -> Iterator[dict[str, Any]]:
    noise, variances = family_noise(family, outcome)
    means = family.means
    fit = fit_surrogate(family.points, means, variances, seed=seed)
    common = float(np.nan_to_num((noise.seed + noise.block) / family.num_seeds))
    least, most = (0.0, 1.0) if outcome == FAILED else (-np.inf, np.inf)
    others = neighbours(family, seed=seed)
    for value in evaluation_points(family, axis):
        at = unit_points(others.assign(**{axis.name: value}), family.axes)
        mean, variance = average(fit, at)
        found = around(
            family.sign * mean, float(np.sqrt(variance + common)), seeds=family.num_seeds,
            method="gaussian process", least=least, most=most,
        )  # fmt: skip
        yield _row(value, found, int(np.isfinite(family.outcome).sum()))


def _row(value: float | int | str, found: Estimate, trials: int) -> dict[str, Any]:
    return {"value": value, "estimate": found.estimate, "low": found.low, "high": found.high, "n": trials}
