import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers

from analysis.estimation.intervals import Estimate, missing
from analysis.robustness.search import (
    expected_best,
    expected_best_bands,
    expected_best_of_grid,
    expected_best_rows,
    search_counts,
)


@given(integers(0, 10**6), integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_the_expected_best_is_the_average_over_all_subsets(seed, total):
    values = np.random.default_rng(seed).normal(size=total).round(1)
    counts = range(1, total + 1)
    slow = [np.mean([max(some) for some in itertools.combinations(values, n)]) for n in counts]
    np.testing.assert_allclose(expected_best(values, counts), slow, atol=1e-12)
    assert np.isnan(expected_best(values, [total + 1]))[0]


def test_the_expected_best_on_a_grid_is_the_average_over_all_draws_with_replacement():
    values, weights = np.array([0.2, 0.9, 0.5]), np.array([1, 2, 1])
    copies = np.repeat(values, weights)
    slow = [np.mean([max(some) for some in itertools.product(copies, repeat=n)]) for n in (1, 2, 3)]
    np.testing.assert_allclose(expected_best_of_grid(values, [1, 2, 3], weights=weights.astype(float)), slow)


def test_the_expected_best_of_uniform_outcomes_is_n_over_n_plus_one():
    counts = [1, 2, 5, 10]
    exact = [n / (n + 1) for n in counts]
    grid = (np.arange(20000) + 0.5) / 20000
    np.testing.assert_allclose(expected_best_of_grid(grid, counts), exact, atol=1e-4)
    rng = np.random.default_rng(0)
    drawn = [expected_best(rng.uniform(size=30), counts) for _ in range(2000)]
    np.testing.assert_allclose(np.mean(drawn, axis=0), exact, atol=0.006)


def test_bands_hold_at_once_and_equal_a_slow_integral():
    counts, rng, hits = [1, 2, 4, 8, 16], np.random.default_rng(1), []
    for _ in range(300):
        low, high = expected_best_bands(rng.uniform(size=40), counts, least=0.0, most=1.0)
        truth = np.array([n / (n + 1) for n in counts])
        hits.append(bool(((low <= truth) & (truth <= high)).all()))
    assert np.mean(hits) >= 0.95
    values = np.array([0.3, 0.7])
    margin = math.sqrt(math.log(40) / 4)
    at = (np.arange(200000) + 0.5) / 200000
    share = np.searchsorted(values, at, side="right") / 2
    for sign, found in zip((1, -1), expected_best_bands(values, [3], least=0.0, most=1.0), strict=True):
        assert found[0] == pytest.approx(1 - np.mean(np.clip(share + sign * margin, 0, 1) ** 3), abs=1e-4)


def test_a_grid_and_an_outcome_without_bounds_have_no_band():
    values = np.array([0.1, 0.5, 0.8])
    grid = expected_best_rows(values, [1, 2], sampled=False, least=0.0, most=1.0, seeds=missing("one seed"))
    open_ended = expected_best_rows(
        values, [1, 2], sampled=True, least=-math.inf, most=math.inf, seeds=missing("one seed")
    )
    assert [np.isnan(found.low) for found in grid + open_ended] == [True] * 4
    assert grid[0].reason == "no interval: a grid is no sample"
    assert open_ended[0].reason == "no interval: the outcome has no known bounds"
    banded = expected_best_rows(values, [1, 2], sampled=True, least=0.0, most=1.0, seeds=missing("one seed"))
    assert all(found.low <= found.estimate <= found.high for found in banded)
    assert all("given this seed" in found.method for found in banded)
    assert search_counts(100) == [1, 2, 4, 8, 16, 32, 64]


def test_bands_are_widened_by_what_all_runs_of_a_seed_share():
    values = np.linspace(0.3, 0.5, 200)
    seeds = Estimate(0.4, 0.38, 0.42, "mean over seeds")
    wide, narrow = (
        expected_best_rows(values, [1, 4], sampled=True, least=0.0, most=1.0, seeds=shared)
        for shared in (seeds, missing("one seed"))
    )
    for found, known in zip(wide, narrow, strict=True):
        assert (found.low, found.high) == pytest.approx((known.low - 0.02, known.high + 0.02))
