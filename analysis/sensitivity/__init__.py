"""How much of a family's outcome each axis decides."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.estimation.cells import BLOCK_AXIS, Cells, cells
from analysis.estimation.fitted import family_noise
from analysis.estimation.intervals import Estimate, missing
from analysis.estimation.noise import Noise
from analysis.estimation.surrogate import MAX_POINTS, fit_surrogate, held_out_r2
from analysis.sensitivity.anova import factorial
from analysis.sensitivity.good_region import good_region_importance
from analysis.sensitivity.gp_indices import BlockNoise, forest_indices, surrogate_indices
from analysis.sensitivity.grid_indices import grid_indices, variance_shares
from analysis.table import Axis, Table
from analysis.table.exploratory import only_exploratory, split

COLUMNS = (
    "dataset", "outcome", "family", "axis", "measure", "estimate", "low", "high", "method", "n_configs", "n_seeds",
    "n_failed", "reason",
)  # fmt: skip

TRUSTED_R2 = 0.3
"""Of a surrogate that explains less of held-out cell means no index is given."""

LEAST_CONFIGURATIONS = 10
_SHOWN = ("S1_corrected", "ST_corrected")
Found = Iterator[tuple[str, str, Estimate]]


def indices(table: Table, *, seed: int) -> pd.DataFrame:
    """Sensitivity of the outcome to every axis, for every family and data set.

    S1_corrected, ST_corrected: first- and total-order Sobol indices under the reference measure, noise taken out: on
    complete grids by analysis of variance (`S1` and `ST` beside them are those of the cell means as they are), in
    scattered designs by draws of a Gaussian process (beside them `held_out_r2` and the opinion of a random forest,
    S1_forest, ST_forest). shapley: what each axis adds on average. good_region_importance: see there.
    omega2, on grids: shares of the variance of all trials, for axes, pairs (`a*b`), `higher order`, `seed`,
    `seed*batch_size`, `unexplained`. In a notebook:

        found = indices(table, seed=0)
        found[found["measure"] == "ST_corrected"].pivot(index="family", columns="axis", values="estimate")

    Args:
        seed: of all draws and of the surrogate's restarts.

    Returns:
        A row a number (columns `COLUMNS`), shares; NaN with a reason where there is too little data, where the
        surrogate explains too little, or where a search chose the configurations.
    """
    able, _ = split(table)
    searched = only_exploratory(table)
    rows: list[dict[str, Any]] = []
    for dataset in table.datasets:
        of_dataset = table.trials.loc[table.trials["dataset"] == dataset, "family"]
        for name in sorted(set(of_dataset) & set(table.axes)):
            family = cells(able, dataset, name, table.outcome)
            refused = "adaptive design" if (dataset, name) in searched else "no trials"
            if family is None:
                found: Found = _refused(table.axes[name], refused)
            else:
                found = _family(able, family, seed)
            rows += [_row(table, dataset, name, family, *one) for one in found]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _family(table: Table, family: Cells, seed: int) -> Found:
    axes = table.axes[family.family]
    still = [axis for axis in axes if axis.name not in family.settings or family.settings[axis.name].nunique() < 2]
    names = {axis.name for axis in still}
    moving = [axis for axis in axes if axis.name not in names]
    for axis in still:
        for measure in _SHOWN:
            yield measure, axis.name, Estimate(0.0, math.nan, math.nan, "", "one level")
    if family.failed[np.isfinite(family.outcome) | family.failed].all():
        yield from _refused(moving, "all failed")
        return
    if not moving:
        return
    grid = factorial(family) if table.design == "grid" else None
    if grid is not None:
        yield from grid_indices(grid, seed=seed)
        yield from (("omega2", term, found) for term, found in variance_shares(grid, seed=seed))
    else:
        yield from (one for one in _scattered(family, seed) if one[1] not in names)
    for name, found in good_region_importance(family, seed=seed):
        if name not in names:
            yield "good_region_importance", name, found


def _scattered(family: Cells, seed: int) -> Found:
    """Indices of a surrogate, where it is worth something."""
    axes = family.axes
    if family.num_configs < LEAST_CONFIGURATIONS:
        yield from _refused(axes, f"fewer than {LEAST_CONFIGURATIONS} configurations")
        return
    noise, variances = family_noise(family, family.outcome_name)
    if not np.ptp(family.means) > 0:
        yield from _refused(axes, "constant outcome")
        return
    r2 = held_out_r2(family.points, family.means, variances, seed=seed)
    yield "held_out_r2", "", Estimate(r2, math.nan, math.nan, "Gaussian process; 5 folds", "no interval")
    if not r2 >= TRUSTED_R2:
        yield from _refused(axes, f"held-out R2 of {r2:.2f} is below {TRUSTED_R2:g}")
        return
    fit = fit_surrogate(family.points, family.means, variances, seed=seed)
    drawn = f"; {MAX_POINTS} of {family.num_configs} configurations drawn" if family.num_configs > MAX_POINTS else ""
    found = [
        *surrogate_indices(fit, axes, seed=seed, block=_block(family, noise)),
        *forest_indices(fit.points, fit.means, axes, fit.length_scales, seed=seed),
    ]
    for measure, place, value in found:
        method = f"{value.method}; held-out R2 {r2:.2f}{drawn}" if value.method else ""
        shown = Estimate(value.estimate, value.low, value.high, method, value.reason)
        yield measure, axes[place].name, shown


def _block(family: Cells, noise: Noise) -> BlockNoise | None:
    """Noise of the levels of the batch size, where it is an axis of levels."""
    places = [place for place, axis in enumerate(family.axes) if axis.name == BLOCK_AXIS and axis.levels]
    if not places or not noise.block > 0 or not noise.df_block > 0:
        return None
    return BlockNoise(places[0], noise.block / family.num_seeds, noise.df_block, len(np.unique(family.blocks)))


def _refused(axes: "tuple[Axis, ...] | list[Axis]", reason: str) -> Found:
    for axis in axes:
        for measure in _SHOWN:
            yield measure, axis.name, missing(reason)


def _row(
    table: Table, dataset: str, name: str, family: Cells | None, measure: str, axis: str, found: Estimate
) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "outcome": table.outcome,
        "family": name,
        "axis": axis,
        "measure": measure,
        "estimate": found.estimate,
        "low": found.low,
        "high": found.high,
        "method": found.method,
        "n_configs": family.num_configs if family else 0,
        "n_seeds": family.num_seeds if family else 0,
        "n_failed": int(family.failed.sum()) if family else 0,
        "reason": "; ".join(part for part in (found.reason, family.note if family else "") if part),
    }
