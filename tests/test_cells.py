from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis.strategies import integers
from simulated import AXES, BATCH_SIZES, GRID, TEMPERATURES, hill, one_row, runs, scattered, table

from analysis.estimation.cells import cells
from analysis.estimation.crossfit import interquartile_mean
from analysis.estimation.weights import average, effective_size, imbalance, level_weights, quantiles
from analysis.robustness import measures
from analysis.robustness.near_optimal import Shortfall, mass_bounds
from analysis.robustness.search import RAW, SHRUNKEN, expected_best_bands
from analysis.robustness.spread import cvar, interquartile_range, without_noise
from analysis.table import Axis

FIVE = tuple(range(5))
PAIR = (Axis("x", "linear", FIVE, 0.0, 4.0), Axis("z", "linear", FIVE, 0.0, 4.0))
HOLES = pd.DataFrame([(x, z) for x in FIVE for z in FIVE if x > 0 or z < 3], columns=["x", "z"])


def test_weights_are_equal_where_levels_are():
    assert (level_weights(GRID, AXES) == 1 / 15).all()
    latin = pd.DataFrame({"x": FIVE, "z": FIVE[::-1]})
    assert (level_weights(latin, PAIR) == 0.2).all()
    continuous = (Axis("x", "linear", (), 0.0, 1.0),)
    assert (level_weights(pd.DataFrame({"x": [0.1, 0.1, 0.9]}), continuous) == 1 / 3).all()


def test_weighted_levels_have_equal_shares_and_factor_into_axes():
    weights = level_weights(HOLES, PAIR)
    assert weights.sum() == pytest.approx(1.0)
    for axis in "xz":
        np.testing.assert_allclose(np.bincount(HOLES[axis], weights), 0.2, rtol=1e-5)
    # Proportional fitting leaves ratios of two rows the same in every column.
    table_of = np.full((5, 5), np.nan)
    table_of[HOLES["x"], HOLES["z"]] = weights
    ratios = table_of[1:] / table_of[1]
    np.testing.assert_allclose(ratios, np.repeat(ratios[:, :1], 5, axis=1), rtol=1e-9)
    assert imbalance(HOLES, PAIR, weights) < 1e-5
    assert effective_size(weights) < len(HOLES)


def test_levels_that_can_not_be_evened_out_are_said():
    rows = pd.DataFrame([(16, TEMPERATURES[0]), (16, TEMPERATURES[1]), (64, TEMPERATURES[2])], columns=GRID.columns)
    weights = level_weights(rows, AXES)
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1.0)
    assert imbalance(rows, AXES, weights) > 0.1
    found = cells(
        table({"f": runs(rows, hill(rows), seeds=2, rng=np.random.default_rng(0))}), "digits", "f", "linear_top1"
    )
    assert found.weights_note.startswith("weighted to levels that are equal within ")


@given(integers(0, 10**6))
def test_whole_weights_count_as_copies(seed):
    rng = np.random.default_rng(seed)
    values, copies = rng.normal(size=(3, 8)), rng.integers(1, 4, 8)
    copies[0] = copies[1] + 1
    repeated, weights = np.repeat(values, copies, axis=1), copies / copies.sum()
    np.testing.assert_allclose(average(values, weights), repeated.mean(axis=1))
    np.testing.assert_allclose(cvar(values, weights=weights), cvar(repeated))
    outcome, trials = values.T, np.repeat(values, copies, axis=1).T
    assert interquartile_mean(outcome, weights=weights) == pytest.approx(interquartile_mean(trials))
    kept = without_noise(values, 0.0, weights=weights)
    np.testing.assert_allclose(kept, values)
    shrunk = without_noise(values, 1e9, weights=weights)
    np.testing.assert_allclose(shrunk, np.repeat(repeated.mean(axis=1, keepdims=True), 8, axis=1))
    low, high = expected_best_bands(values[0], [1, 3], least=-9.0, most=9.0, weights=weights)
    assert (low <= high).all()


def test_weighted_quantiles_of_nearly_equal_weights_are_the_plain_ones():
    values = np.random.default_rng(0).normal(size=(2, 9))
    nearly = np.full(9, 1 / 9) + np.linspace(-1e-9, 1e-9, 9)
    shares = [0.0, 0.1, 0.25, 0.5, 0.9, 1.0]
    np.testing.assert_allclose(quantiles(values, shares, nearly), np.quantile(values, shares, axis=-1), atol=1e-6)
    np.testing.assert_allclose(interquartile_range(values, weights=nearly), interquartile_range(values), atol=1e-6)


def test_holes_in_a_grid_do_not_move_its_averages():
    def truth(settings):
        return np.where(settings["batch_size"] == 16, 0.3, 0.9)

    kept = GRID[(GRID["batch_size"] > 16) | (GRID["temperature"] > TEMPERATURES[1])].reset_index(drop=True)
    for settings in (GRID, kept):
        rows = runs(settings, truth(settings), seeds=3, rng=np.random.default_rng(0), noise_sd=0.002)
        found = measures(table({"f": rows}), seed=0)
        for reference in ("own", "common"):
            mass = one_row(found, "near_optimal_mass", reference=reference, tolerance=0.02)
            assert (mass["estimate"], mass["low"]) == pytest.approx((2 / 3, 2 / 3), abs=1e-4)
            regret = one_row(found, "normalised_regret", reference=reference)
            assert regret["estimate"] == pytest.approx(0.25, abs=0.01)
            assert regret["low"] <= 0.25 <= regret["high"]
        assert one_row(found, "expected_best_1")["estimate"] == pytest.approx(0.7, abs=0.003)
        assert one_row(found, "interquartile_mean")["estimate"] == pytest.approx(
            (1 / 12 * 0.3 + 5 / 12 * 0.9) * 2, abs=0.003
        )
    assert "weighted to equal levels: effective sample size 11.3 of 13" in one_row(found, "iqr")["reason"]


def test_a_category_that_was_drawn_more_often_weighs_no_more():
    rng = np.random.default_rng(0)
    often = np.where(rng.uniform(size=60) < 0.8, 64, 16)
    settings = pd.DataFrame({"batch_size": often, "temperature": np.exp(rng.uniform(np.log(0.05), np.log(2.0), 60))})
    rows = runs(settings, np.where(often == 64, 0.9, 0.5), seeds=3, rng=rng, noise_sd=0.002)
    axes = (replace(AXES[0], levels=(16, 64), high=64.0), replace(AXES[1], levels=()))
    found = measures(table({"f": rows}, axes=axes, design="random"), seed=0)
    size = 1 / (0.25 / (often == 64).sum() + 0.25 / (often == 16).sum())
    mass = one_row(found, "near_optimal_mass", reference="own", tolerance=0.02)
    assert mass["estimate"] == pytest.approx(0.5, abs=1e-3)
    assert mass["low"] < 0.5 < mass["high"]
    assert f"weighted to equal levels: effective sample size {size:.1f} of 60" in mass["reason"]
    best = one_row(found, "expected_best_1")
    assert best["estimate"] == pytest.approx(0.7, abs=0.005)
    assert best["low"] < 0.6
    assert best["high"] > 0.8
    regret = one_row(found, "normalised_regret", reference="common")
    assert regret["estimate"] == pytest.approx(0.25, abs=0.01)
    assert regret["high"] - regret["low"] > 2 * 1.96 * 0.25 / np.sqrt(size)


def test_bounds_of_a_mass_count_weights():
    drawn = scattered(configurations=12)
    family = cells(drawn, "digits", "hill", "linear_top1")
    assert set(family.settings["batch_size"]) == set(BATCH_SIZES)
    weights = family.weights
    for level in BATCH_SIZES:
        assert weights[family.settings["batch_size"] == level].sum() == pytest.approx(1 / 3, rel=1e-5)
    low = np.where(family.settings["batch_size"] == 16, 0.0, 1.0)
    bounds = Shortfall(low, np.ones(12), (4.0, 4.0))
    assert mass_bounds(bounds, slice(None), tolerance=0.5, sampled=False, weights=weights) == pytest.approx(
        (0.0, 1 / 3), rel=1e-5
    )
    low, high = mass_bounds(bounds, slice(None), tolerance=0.5, sampled=True, weights=weights)
    assert low == 0.0
    assert high > 1 / 3


def test_means_of_one_seed_are_not_called_shrunken():
    for seeds, words in ((1, RAW), (2, SHRUNKEN)):
        rows = runs(GRID, hill(GRID), seeds=seeds, rng=np.random.default_rng(0))
        assert one_row(measures(table({"f": rows}), seed=0), "expected_best_4")["method"] == words
        drawn = scattered(seeds=seeds, configurations=12)
        assert one_row(measures(drawn, seed=0), "expected_best_4", "hill")["method"].startswith(words)
