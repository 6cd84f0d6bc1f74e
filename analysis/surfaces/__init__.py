"""Response surfaces: an outcome over two axes of a family, with its standard error."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.estimation.cells import BLOCK_AXIS, FAILED, Cells, all_cells, cells, unit_points
from analysis.estimation.fitted import LEAST_CONFIGURATIONS, family_noise
from analysis.estimation.surrogate import fit_surrogate, held_out_r2
from analysis.surfaces.groups import Summary, summaries
from analysis.surfaces.hull import inside_hull
from analysis.surfaces.smooth import at_values, averages, evaluation_points, is_complete, parts, reference_points
from analysis.table import Axis, Table

Floats = NDArray[np.float64]

COLUMNS = (
    "dataset", "outcome", "family", "x_axis", "x", "y_axis", "y", "others", "estimate", "standard_error",
    "seed_sd", "n", "method", "num_failed",
)  # fmt: skip

OUTCOMES = ("z_effective_rank", "z_wasserstein")
"""What has a surface beside the table's own outcome and the probability of failure, where it was measured."""

TRUSTED_R2 = 0.3
"""A surrogate that explains less than this share of held-out cell means is marked."""


@dataclass(frozen=True)
class Plane:
    """The two axes of a surface: the family's own scalar across, batch size upwards where it varies."""

    x: Axis
    y: Axis | None
    others: tuple[Axis, ...]


def plane(axes: tuple[Axis, ...], *, shared: tuple[str, ...]) -> Plane | None:
    """The first private numeric axis over batch_size, or over the next axis there is; None without axes."""
    private = [axis for axis in axes if axis.name not in shared and axis.scale is not None]
    rest = [axis for axis in axes if axis not in private]
    batch_size = [axis for axis in axes if axis.name == BLOCK_AXIS]
    across = [axis for axis in [*private, *rest] if axis.name != BLOCK_AXIS] or batch_size
    if not across:
        return None
    x = across[0]
    upwards = [axis for axis in [*batch_size, *across[1:]] if axis is not x]
    y = upwards[0] if upwards else None
    return Plane(x, y, tuple(axis for axis in axes if axis not in (x, y)))


def outcomes_of(table: Table) -> tuple[str, ...]:
    """The outcomes that have surfaces: the table's own, what it measured of `OUTCOMES`, `failed` if any did."""
    measured = [name for name in OUTCOMES if name in table.trials and table.trials[name].notna().any()]
    failed = [FAILED] if (~table.trials["status"].isin(["ok", "stopped"])).any() else []
    return tuple(dict.fromkeys([table.outcome, *measured, *failed]))


def surfaces(table: Table, outcome: str, *, seed: int) -> pd.DataFrame:
    """Every family's surface of one outcome.

    On grids, cell means: of one configuration the standard error is that of the noise model, the same seeds'
    common effect included; of several that of their mean over seeds. In scattered designs, a Gaussian process
    at 41 points of a continuous axis, NaN outside the convex hull of the sampled configurations. In a notebook:

        found = surfaces(table, "linear_top1", seed=0)
        found[found["family"] == "nt_xent"].pivot(index="y", columns="x", values="estimate")

    Args:
        outcome: a numeric outcome column, or `failed` for the probability that a trial fails.
        seed: of the surrogate's restarts.

    Returns:
        A row a point: dataset, outcome, family, x_axis, x, y_axis, y (empty and NaN where there is no such
        axis), others (`mean`: the other axes averaged under the reference measure; `best`: at the setting
        chosen on all seeds for the table's own outcome, only where there are others), estimate,
        standard_error, seed_sd (over seeds; pooled in scattered designs), n (trials), method, num_failed (of
        them; 0 in scattered designs). NaN where there are too few trials. The method of a family whose settings a
        search chose ends in `exploratory`.
    """
    rows = [
        {**row, "dataset": dataset, "outcome": outcome, "family": family.family, "method": row["method"] + mark}
        for part, mark in parts(table)
        for dataset in part.datasets
        for family in all_cells(part, dataset, outcome)
        for row in _surface(part, family, outcome, seed)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _surface(table: Table, family: Cells, outcome: str, seed: int) -> Iterator[dict[str, Any]]:
    axes = plane(family.axes, shared=table.shared)
    if axes is None:
        place = {"x_axis": "", "x": np.nan, "y_axis": "", "y": np.nan, "others": "mean"}
        for cell in summaries(family, np.zeros(family.num_configs, dtype=np.intp), outcome):
            yield {**place, **_cell(family, cell)}
        return
    # The same setting for every outcome, so that all surfaces at the best show the same trials.
    judged = family if outcome == table.outcome else cells(table, family.dataset, family.family, table.outcome)
    best = (judged or family).chosen_setting
    # Averages over other axes can't be compared where cells do not meet the same levels of them.
    grid = table.design == "grid" and (not axes.others or is_complete(family))
    rows = _grid(family, axes, outcome, best) if grid else _scattered(family, axes, outcome, best, seed)
    ends = {"x_axis": axes.x.name, "y_axis": axes.y.name if axes.y else ""}
    for row in rows:
        yield {**ends, **row}


def _grid(family: Cells, axes: Plane, outcome: str, best: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    xs, ys = axes.x.levels, axes.y.levels if axes.y else (np.nan,)
    column = pd.Index(xs).get_indexer(pd.Index(family.settings[axes.x.name]))
    row = pd.Index(ys).get_indexer(pd.Index(family.settings[axes.y.name])) if axes.y else np.zeros_like(column)
    group = np.where((column >= 0) & (row >= 0), column * len(ys) + row, -1)
    at_best = np.ones(family.num_configs, dtype=bool)
    for axis in axes.others:
        at_best &= (family.settings[axis.name] == best[axis.name]).to_numpy()
    versions = [("mean", group), *([("best", np.where(at_best, group, -1))] if axes.others else [])]
    for others, groups in versions:
        for cell in summaries(family, groups, outcome):
            place = {"x": xs[cell.group // len(ys)], "y": ys[cell.group % len(ys)], "others": others}
            yield {**place, **_cell(family, cell)}


def _cell(family: Cells, cell: Summary) -> dict[str, Any]:
    return {
        "estimate": family.sign * cell.mean + 0.0,
        "standard_error": cell.error,
        "seed_sd": cell.seed_sd,
        "n": cell.trials,
        "method": "cell mean",
        "num_failed": cell.failed,
    }


def _scattered(
    family: Cells, axes: Plane, outcome: str, best: Mapping[str, Any], seed: int
) -> Iterator[dict[str, Any]]:
    noise, variances = family_noise(family, outcome)
    method = surrogate_method(family, family.means, variances, seed=seed)
    enough = family.num_configs >= LEAST_CONFIGURATIONS
    fit = fit_surrogate(family.points, family.means, variances, seed=seed) if enough else None
    common = np.nan_to_num((noise.seed + noise.block) / family.num_seeds)
    trials = int(np.isfinite(family.outcome).sum())
    summary = {"seed_sd": float(np.sqrt(noise.total)), "n": trials, "method": method, "num_failed": 0}
    xs = evaluation_points(family, axes.x)
    ys = evaluation_points(family, axes.y) if axes.y else [np.nan]
    inside = inside_hull(family, axes.x, axes.y, xs, ys)
    for others, points in _others(family, axes, best, seed):
        along = at_values(points, family.axes, axes.y, ys)
        for column, x in enumerate(xs):
            estimate, variance = np.full((2, len(ys)), np.nan)
            if fit is not None:
                estimate, variance = averages(fit, at_values(along, family.axes, axes.x, [x])[:, 0])
            if outcome == FAILED:
                estimate = np.clip(estimate, -1.0, 0.0)
            shown = inside[:, column]
            estimate = np.where(shown, family.sign * estimate + 0.0, np.nan)
            error = np.where(shown, np.sqrt(variance + common), np.nan)
            for y, value, spread in zip(ys, estimate.tolist(), error.tolist(), strict=True):
                yield {"x": x, "y": y, "others": others, "estimate": value, "standard_error": spread, **summary}


def surrogate_method(family: Cells, means: Floats, variances: Floats, *, seed: int) -> str:
    """The method's name with what it is worth: the held-out share of variance explained."""
    if family.num_configs < LEAST_CONFIGURATIONS:
        return f"gaussian process: {family.num_configs} configurations are too few"
    r2 = held_out_r2(family.points, means, variances, seed=seed)
    if np.isnan(r2):
        return "gaussian process, held-out R2 unknown"
    return f"gaussian process, held-out R2 {r2:.2f}" + (" (below .3: not to be trusted)" if r2 < TRUSTED_R2 else "")


def _others(family: Cells, axes: Plane, best: Mapping[str, Any], seed: int) -> Iterator[tuple[str, Floats]]:
    """(k, d) points whose other axes follow the reference measure, and that of the best configuration."""
    if not axes.others:
        yield "mean", family.points[:1]
        return
    yield "mean", reference_points(family.axes, seed=seed)
    yield "best", unit_points(pd.DataFrame([best]), family.axes)
