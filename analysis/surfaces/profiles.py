"""One-axis profiles: an outcome along one axis, the others averaged under the reference measure."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.estimation.cells import BLOCK_AXIS, FAILED, Cells, all_cells
from analysis.estimation.fitted import LEAST_CONFIGURATIONS, family_noise
from analysis.estimation.intervals import Estimate, missing, rate
from analysis.estimation.means import Mean, mean_interval
from analysis.estimation.noise import satterthwaite
from analysis.estimation.surrogate import fit_surrogate
from analysis.surfaces.smooth import at_values, averages, evaluation_points, is_complete, parts, reference_points
from analysis.table import Axis, Table

COLUMNS = ("dataset", "outcome", "family", "axis", "value", "estimate", "low", "high", "n", "method", "reason")


def profiles(table: Table, outcome: str, *, seed: int) -> pd.DataFrame:
    """Every family's profile along each of its axes.

    On complete grids the mean of all trials at a level, with Student's interval of the seeds' means (Clopper and
    Pearson's for `failed`). In scattered designs, and on grids with holes, where levels of one axis do not meet the
    same levels of the others, a Gaussian process averaged over the other axes under the reference measure; error^2
    is the sum of its posterior variance, with n - 1 degrees of freedom, and of what the runs of a seed share there,
    with S - 1 (Satterthwaite's of both). In a notebook:

        found = profiles(table, "linear_top1", seed=0)
        found[found["axis"] == "temperature"].set_index("value")[["estimate", "low", "high"]]

    Args:
        outcome: a numeric outcome column, or `failed`.
        seed: of the surrogate's restarts.

    Returns:
        A row a point: dataset, outcome, family, axis, value, estimate, low, high, n (trials behind it), method,
        reason. low and high are NaN with one seed; all are with fewer than 5 scattered configurations. The method
        of a family whose settings a search chose ends in `exploratory`.
    """
    rows = [
        {
            **row,
            "dataset": dataset,
            "outcome": outcome,
            "family": family.family,
            "axis": axis.name,
            "method": row["method"] + mark if row["method"] else "",
        }
        for part, mark in parts(table)
        for dataset in part.datasets
        for family in all_cells(part, dataset, outcome)
        for axis, points in _profiles(part, family, outcome, seed)
        for row in points
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _profiles(table: Table, family: Cells, outcome: str, seed: int) -> Iterator[tuple[Axis, Iterator[dict[str, Any]]]]:
    if table.design == "grid" and is_complete(family):
        yield from ((axis, _levels(family, axis, outcome)) for axis in family.axes)
    elif family.num_configs >= LEAST_CONFIGURATIONS:
        yield from _smooth(family, outcome, seed)
    else:
        few = missing(f"{family.num_configs} configurations are too few")
        yield from ((axis, iter([_row(np.nan, few, _trials(family))])) for axis in family.axes)


def _levels(family: Cells, axis: Axis, outcome: str) -> Iterator[dict[str, Any]]:
    values = family.settings[axis.name].to_numpy()
    for level in axis.levels:
        inside = values == level
        if not inside.any():
            continue
        present = np.isfinite(family.outcome[inside])
        if outcome == FAILED:
            found = rate(family.failed[inside], present, sampled=False)
        else:
            found = mean_interval(family.outcome[inside]).flipped(family.sign)
        yield _row(level, found, int(present.sum()))


def _smooth(family: Cells, outcome: str, seed: int) -> Iterator[tuple[Axis, Iterator[dict[str, Any]]]]:
    noise, variances = family_noise(family, outcome)
    fit = fit_surrogate(family.points, family.means, variances, seed=seed)
    least, most = (-1.0, 0.0) if outcome == FAILED else (-np.inf, np.inf)
    points = reference_points(family.axes, seed=seed)
    spare = family.num_seeds - 1.0

    def along(axis: Axis) -> Iterator[dict[str, Any]]:
        blocks = 1 if axis.name == BLOCK_AXIS else noise.num_blocks
        common = float(np.nan_to_num((noise.seed + noise.block / blocks) / family.num_seeds))
        values = evaluation_points(family, axis)
        means, variance = averages(fit, at_values(points, family.axes, axis, values))
        for value, mean, own in zip(values, means.tolist(), variance.tolist(), strict=True):
            df = satterthwaite([(own, family.num_configs - 1.0), (common, spare)])
            error, reason = (math.sqrt(own + common), "") if spare else (math.nan, "no interval: one seed")
            found = Mean(mean, error, df, reason).interval("gaussian process", least=least, most=most)
            yield _row(value, found.flipped(family.sign), _trials(family))

    return ((axis, along(axis)) for axis in family.axes)


def _trials(family: Cells) -> int:
    return int(np.isfinite(family.outcome).sum())


def _row(value: float | int | str, found: Estimate, trials: int) -> dict[str, Any]:
    return {
        "value": value, "estimate": found.estimate, "low": found.low, "high": found.high, "n": trials,
        "method": found.method, "reason": found.reason,
    }  # fmt: skip
