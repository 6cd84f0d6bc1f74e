"""Response surfaces: an outcome over two axes of a family, with its standard error."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.cells import FAILED, Cells, all_cells, axis_values, cells, unit_coordinate, unit_points
from analysis.fitted import LEAST_CONFIGURATIONS, family_noise
from analysis.hull import inside_hull
from analysis.statistics import Noise
from analysis.surrogate import Surrogate, fit_surrogate, held_out_r2
from analysis.table import Axis, Table

Floats = NDArray[np.float64]

COLUMNS = (
    "dataset", "outcome", "family", "x_axis", "x", "y_axis", "y", "others", "estimate", "standard_error",
    "seed_sd", "n", "method", "num_failed",
)  # fmt: skip

RESOLUTION = 41
"""Points at which a surface is evaluated along a continuous axis."""

TRUSTED_R2 = 0.3
"""A surrogate that explains less than this share of held-out cell means is marked."""

_NEIGHBOURS = 64


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
    batch_size = [axis for axis in axes if axis.name == "batch_size"]
    across = [axis for axis in [*private, *rest] if axis.name != "batch_size"] or batch_size
    if not across:
        return None
    x = across[0]
    upwards = [axis for axis in [*batch_size, *across[1:]] if axis is not x]
    y = upwards[0] if upwards else None
    return Plane(x, y, tuple(axis for axis in axes if axis not in (x, y)))


def surfaces(table: Table, outcome: str, *, seed: int = 0) -> pd.DataFrame:
    """Every family's surface of one outcome.

    On grids, cell means: the standard error is that of the noise model, the same seeds' common effect
    included. In scattered designs, a Gaussian process at 41 points of a continuous axis, NaN outside the convex
    hull of the sampled configurations.

    Args:
        outcome: a numeric outcome column, or `failed` for the probability that a trial fails.
        seed: of the surrogate's restarts.

    Returns:
        A row a point: dataset, outcome, family, x_axis, x, y_axis, y (empty and NaN where there is no such
        axis), others (`mean`: the other axes averaged under the reference measure; `best`: at the setting
        chosen on all seeds for the table's own outcome, only where there are others), estimate,
        standard_error, seed_sd (over seeds; pooled in scattered designs), n (trials), method, num_failed (of
        them; 0 in scattered designs). NaN where there are too few trials.
    """
    rows = [
        {"dataset": family.dataset, "outcome": outcome, "family": family.family, **row}
        for dataset in table.datasets
        for family in all_cells(table, dataset, outcome)
        for row in _surface(table, family, outcome, seed)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _surface(table: Table, family: Cells, outcome: str, seed: int) -> Iterator[dict[str, Any]]:
    axes = plane(family.axes, shared=table.shared)
    if axes is None:
        every = np.ones(family.num_configs, dtype=bool)
        cell = cell_summary(family, every, *family_noise(family, outcome))
        yield {"x_axis": "", "x": np.nan, "y_axis": "", "y": np.nan, "others": "mean", **cell}
        return
    # The same setting for every outcome, so that all surfaces at the best show the same trials.
    judged = family if outcome == table.outcome else cells(table, family.dataset, family.family, table.outcome)
    best = (judged or family).chosen_setting
    grid = table.design == "grid"
    rows = _grid(family, axes, outcome, best) if grid else _scattered(family, axes, outcome, best, seed)
    ends = {"x_axis": axes.x.name, "y_axis": axes.y.name if axes.y else ""}
    for row in rows:
        yield {**ends, **row}


def _grid(family: Cells, axes: Plane, outcome: str, best: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    noise, variances = family_noise(family, outcome)
    at_best = np.ones(family.num_configs, dtype=bool)
    for axis in axes.others:
        at_best &= (family.settings[axis.name] == best[axis.name]).to_numpy()
    versions = [("mean", np.ones_like(at_best)), *([("best", at_best)] if axes.others else [])]
    for others, kept in versions:
        for x in axes.x.levels:
            for y in axes.y.levels if axes.y else (np.nan,):
                inside = kept & (family.settings[axes.x.name] == x).to_numpy()
                if axes.y:
                    inside &= (family.settings[axes.y.name] == y).to_numpy()
                if inside.any():
                    yield {"x": x, "y": y, "others": others, **cell_summary(family, inside, noise, variances)}


def cell_summary(family: Cells, inside: NDArray[np.bool_], noise: Noise, variances: Floats) -> dict[str, Any]:
    """Mean over some configurations, balanced over seeds, with the standard error of the noise model."""
    outcome = family.outcome[inside]
    seeds = np.isfinite(outcome).any(axis=0)
    per_seed = np.nanmean(outcome[:, seeds], axis=0)
    own = float(variances[inside].sum()) / int(inside.sum()) ** 2
    # Blocks are batch sizes: where a cell spans several, their seed effects average out like any others.
    blocks = len(np.unique(family.blocks[inside]))
    common = (noise.seed + noise.block / blocks) / len(per_seed)
    return {
        "estimate": family.sign * float(family.means[inside].mean()) + 0.0,
        "standard_error": float(np.sqrt(own + common)),
        "seed_sd": float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else np.nan,
        "n": int(np.isfinite(outcome).sum()),
        "method": "cell mean",
        "num_failed": int(family.failed[inside].sum()),
    }


def _scattered(
    family: Cells, axes: Plane, outcome: str, best: Mapping[str, Any], seed: int
) -> Iterator[dict[str, Any]]:
    noise, variances = family_noise(family, outcome)
    means = family.means
    method = surrogate_method(family, means, variances, seed=seed)
    enough = family.num_configs >= LEAST_CONFIGURATIONS
    fit = fit_surrogate(family.points, means, variances, seed=seed) if enough else None
    common = np.nan_to_num((noise.seed + noise.block) / family.num_seeds)
    summary = {
        "seed_sd": float(np.sqrt(noise.total)),
        "n": int(np.isfinite(family.outcome).sum()),
        "method": method,
        "num_failed": 0,
    }
    xs = evaluation_points(family, axes.x)
    ys = evaluation_points(family, axes.y) if axes.y else [np.nan]
    inside = inside_hull(family, axes.x, axes.y, xs, ys)
    for others, settings in _others(family, axes, best, seed):
        for column, x in enumerate(xs):
            for row, y in enumerate(ys):
                at = settings.assign(**{axes.x.name: x} | ({axes.y.name: y} if axes.y else {}))
                estimate, variance = np.nan, np.nan
                if fit is not None and inside[row, column]:
                    estimate, variance = average(fit, unit_points(at, family.axes))
                if outcome == FAILED:
                    estimate = float(np.clip(estimate, -1.0, 0.0))
                error = float(np.sqrt(variance + common))
                place = {"x": x, "y": y, "others": others, "estimate": family.sign * estimate + 0.0}
                yield {**place, "standard_error": error, **summary}


def surrogate_method(family: Cells, means: Floats, variances: Floats, *, seed: int) -> str:
    """The method's name with what it is worth: the held-out share of variance explained."""
    if family.num_configs < LEAST_CONFIGURATIONS:
        return f"gaussian process: {family.num_configs} configurations are too few"
    r2 = held_out_r2(family.points, means, variances, seed=seed)
    if np.isnan(r2):
        return "gaussian process, held-out R2 unknown"
    return f"gaussian process, held-out R2 {r2:.2f}" + (" (below .3: not to be trusted)" if r2 < TRUSTED_R2 else "")


def evaluation_points(family: Cells, axis: Axis) -> list[float | int | str]:
    """The levels of a list; 41 points over the sampled range of a continuous axis, even on its scale."""
    if axis.levels:
        return list(axis.levels)
    sampled = unit_coordinate(family.settings[axis.name].to_numpy(dtype=float), axis)
    return list(axis_values(np.linspace(sampled.min(), sampled.max(), RESOLUTION), axis))


def average(fit: Surrogate, points: Floats) -> tuple[float, float]:
    """Mean of a surrogate over some points, and the posterior variance of that mean."""
    return float(fit.mean(points).mean()), max(float(fit.covariance(points).mean()), 0.0)


def _others(family: Cells, axes: Plane, best: Mapping[str, Any], seed: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Settings whose other axes follow the reference measure, and those at the best configuration."""
    if not axes.others:
        yield "mean", family.settings.iloc[:1]
        return
    yield "mean", neighbours(family, seed=seed)
    yield "best", pd.DataFrame([best])


def neighbours(family: Cells, *, seed: int) -> pd.DataFrame:
    """Sampled settings over which other axes are averaged: all, or a seeded draw of 64."""
    drawn = np.arange(family.num_configs)
    if len(drawn) > _NEIGHBOURS:
        drawn = np.sort(np.random.default_rng(seed).choice(len(drawn), _NEIGHBOURS, replace=False))
    return family.settings.iloc[drawn]
