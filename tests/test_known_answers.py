"""Closed forms and published numbers that the sensitivity analysis has to give."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import qmc
from simulated import one_row, table

from analysis.estimation.cells import cells
from analysis.estimation.surrogate import fit_surrogate
from analysis.sensitivity import indices
from analysis.sensitivity.anova import anova, factorial
from analysis.sensitivity.decomposition import all_subsets, index_weights, subset_variances
from analysis.sensitivity.gp_indices import surrogate_indices
from analysis.sensitivity.grid_indices import grid_indices
from analysis.table import Axis

TABLES = Path(__file__).parents[2] / "shared" / "tables"
REAL_AXES = ("alpha", "batch_size", "depth", "learning_rate_init", "width")
REAL = {
    "car": (
        (0.104, 0.010, 0.000, 0.551, 0.014), (0.206, 0.199, 0.085, 0.819, 0.100),
        (0.105, 0.010, 0.000, 0.556, 0.015), (0.200, 0.193, 0.080, 0.819, 0.093),
    ),
    "kc1": ((0.104, 0.008, 0.012, 0.544, 0.023), (0.245, 0.129, 0.124, 0.828, 0.103), (), ()),
    "segment": ((0.010, 0.024, 0.037, 0.605, 0.004), (0.098, 0.167, 0.206, 0.890, 0.068), (), ()),
}  # fmt: skip
A = np.array([0, 1, 4.5, 9, 99, 99, 99, 99])
G_FIRST = (0.71619, 0.17905, 0.02368, 0.00716, 0.0, 0.0, 0.0, 0.0)
G_TOTAL = (0.78714, 0.24220, 0.03432, 0.01046, 0.0, 0.0, 0.0, 0.0)
ISHIGAMI_FIRST, ISHIGAMI_TOTAL = (0.31391, 0.44241, 0.0), (0.55759, 0.44241, 0.24368)


def sobol_g(u):
    return np.prod((np.abs(4 * u - 2) + A) / (1 + A), axis=-1)


def ishigami(u):
    x = np.pi * (2 * u - 1)
    return np.sin(x[..., 0]) + 7 * np.sin(x[..., 1]) ** 2 + 0.1 * x[..., 2] ** 4 * np.sin(x[..., 0])


def unit_axes(count):
    return tuple(Axis(f"x{place}", "linear", (), 0.0, 1.0) for place in range(count))


def on_grid(function, counts):
    """First and total indices of a function at the middles of equal parts of every axis."""
    middles = [(np.arange(count) + 0.5) / count for count in counts]
    values = function(np.stack(np.meshgrid(*middles, indexing="ij"), axis=-1))
    variances = subset_variances(values[None], [np.full(count, 1 / count) for count in counts])[0]
    found = {"S1": [], "ST": [], "shapley": []}
    for measure, _, weights in index_weights(all_subsets(len(counts))):
        found[measure].append(float(weights @ variances / variances.sum()))
    return found


def grid_table(truth, *, seeds, noise_sd, rng, names=("batch_size", "b", "c")):
    """A grid of one family whose expected values are an array, with independent noise."""
    axes = tuple(
        Axis(name, "linear", tuple(range(count)), 0.0, count - 1.0)
        for name, count in zip(names, truth.shape, strict=False)
    )
    rows = [
        {**dict(zip(names, where, strict=False)), "seed": seed, "status": "ok"}
        for seed in range(seeds) for where in product(*map(range, truth.shape))
    ]  # fmt: skip
    y = np.tile(truth.ravel(), seeds) + noise_sd * rng.normal(size=seeds * truth.size)
    return table({"f": pd.DataFrame(rows).assign(linear_top1=y)}, axes=axes)


def scattered_table(u, y, axes):
    rows = pd.DataFrame(u, columns=[axis.name for axis in axes]).assign(seed=0, status="ok", linear_top1=y)
    return table({"f": rows}, axes=axes, design="random")


def test_ishigami_on_a_dense_design():
    found = on_grid(ishigami, (24, 24, 48))
    assert found["S1"] == pytest.approx(ISHIGAMI_FIRST, abs=0.01)
    assert found["ST"] == pytest.approx(ISHIGAMI_TOTAL, abs=0.01)
    # x1 and x3 share their interaction evenly.
    assert found["shapley"] == pytest.approx((0.31391 + 0.24368 / 2, 0.44241, 0.24368 / 2), abs=0.01)


def test_sobol_g_on_a_dense_design():
    found = on_grid(sobol_g, (12, 8, 8, 8, 2, 2, 2, 2))
    assert found["S1"] == pytest.approx(G_FIRST, abs=0.01)
    assert found["ST"] == pytest.approx(G_TOTAL, abs=0.01)


@pytest.mark.parametrize(
    ("function", "first", "total"), [(ishigami, ISHIGAMI_FIRST, ISHIGAMI_TOTAL), (sobol_g, G_FIRST, G_TOTAL)]
)
def test_a_gaussian_process_at_256_points_knows_the_indices(function, first, total):
    u = qmc.Sobol(len(first), rng=np.random.default_rng(0)).random(256)
    fit = fit_surrogate(u, function(u), np.zeros(256), seed=0, restarts=0)
    found = {(m, place): one for m, place, one in surrogate_indices(fit, unit_axes(len(first)), seed=0)}
    for place in range(len(first)):
        assert found["S1_corrected", place].estimate == pytest.approx(first[place], abs=0.05)
        assert found["ST_corrected", place].estimate == pytest.approx(total[place], abs=0.05)


def test_steps_on_a_log_axis_share_the_variance_evenly():
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(200, 2))
    settings = np.column_stack([1e-5 * 1e4 ** points[:, 0], points[:, 1]])
    y = (settings[:, 0] < 1e-3) * 1.0 + (settings[:, 1] < 0.5)
    axes = (Axis("x", "log", (), 1e-5, 1e-1), Axis("u", "linear", (), 0.0, 1.0))
    found = indices(scattered_table(settings, y, axes), seed=0)
    for axis in ("x", "u"):
        assert one_row(found, "S1_corrected", axis=axis)["estimate"] == pytest.approx(0.5, abs=0.05)


def test_omega_squared_of_noise_is_nothing():
    rng = np.random.default_rng(0)
    family = cells(grid_table(np.zeros((3, 4)), seeds=5, noise_sd=1.0, rng=rng), "digits", "f", "linear_top1")
    draws = rng.normal(size=(200, *family.outcome.shape))
    found = pd.concat([anova(factorial(replace(family, outcome=one))) for one in draws])
    mean = found.groupby("term")["omega2"].mean()
    assert mean.drop("unexplained").to_numpy() == pytest.approx(0.0, abs=0.01)
    assert mean["unexplained"] == pytest.approx(1.0, abs=0.02)


def test_corrected_variances_of_a_noisy_grid_are_those_of_its_surface():
    rng = np.random.default_rng(1)
    a, b = np.arange(4.0)[:, None], np.arange(5.0)
    truth = 0.3 * a + 0.1 * b**2 * (a > 1)
    exact = subset_variances(truth[None], [np.full(4, 0.25), np.full(5, 0.2)])[0]
    family = cells(grid_table(truth, seeds=3, noise_sd=0.0, rng=rng, names=("a", "b")), "digits", "f", "linear_top1")
    plain, corrected = [], []
    for noise in rng.normal(size=(400, *family.outcome.shape)):
        grid = factorial(replace(family, outcome=family.outcome + noise))
        plain.append(grid.variances)
        corrected.append(grid.corrected)
    assert np.mean(corrected, axis=0) == pytest.approx(exact, abs=0.03)
    # Noise of a mean of three trials adds 1/3 of its variance in all, spread by degrees of freedom.
    added = np.array([0, 3, 4, 12]) / 20 / 3
    assert np.mean(plain, axis=0) == pytest.approx(exact + added, abs=0.03)


@pytest.mark.parametrize("name", REAL)
def test_full_factorials_of_real_sweeps_have_the_published_indices(name):
    path = TABLES / f"hpobench_{name}.parquet"
    if not path.exists():
        pytest.skip("the public tables are not here")
    trials = pd.read_parquet(path).rename(columns={"val_acc": "linear_top1"}).assign(status="ok")
    axes = tuple(Axis(a, "linear", tuple(range(3 if a == "depth" else 10)), 0.0, 9.0) for a in REAL_AXES)
    grid = factorial(cells(table({"mlp": trials}, axes=axes), "digits", "mlp", "linear_top1"))
    found = {(measure, axis): one.estimate for measure, axis, one in grid_indices(grid, seed=0)}
    for measure, wanted in zip(("S1", "ST", "S1_corrected", "ST_corrected"), REAL[name], strict=True):
        if wanted:
            assert [round(found[measure, axis], 3) for axis in REAL_AXES] == pytest.approx(wanted, abs=1e-9)
