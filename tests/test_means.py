import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers
from scipy import stats
from simulated import BLOCKS, noisy

from analysis.estimation.means import crossed_interval, crossed_mean, mean_interval, seed_mean


def _slow_mean_squares(y):
    """Textbook sums over a complete table, term by term."""
    n, seeds = y.shape
    mean = sum(y[x, s] for x in range(n) for s in range(seeds)) / (n * seeds)
    rows = [sum(y[x, s] for s in range(seeds)) / seeds for x in range(n)]
    columns = [sum(y[x, s] for x in range(n)) / n for s in range(seeds)]
    ms_x = seeds * sum((row - mean) ** 2 for row in rows) / (n - 1)
    ms_s = n * sum((column - mean) ** 2 for column in columns) / (seeds - 1)
    left = sum((y[x, s] - rows[x] - columns[s] + mean) ** 2 for x in range(n) for s in range(seeds))
    return mean, ms_x, ms_s, left / ((n - 1) * (seeds - 1))


@given(integers(0, 10**6), integers(2, 9), integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_errors_equal_the_textbook_mean_squares(seed, n, seeds):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, seeds)) + rng.choice([0, 1]) * rng.normal(size=(n, 1)) + rng.normal(size=seeds)
    mean, ms_x, ms_s, ms_xs = _slow_mean_squares(y)
    found, crossed = seed_mean(y), crossed_mean(y)
    assert found.estimate == pytest.approx(mean)
    assert found.error**2 == pytest.approx(ms_s / (n * seeds))
    assert found.df == seeds - 1
    squares = ms_x + ms_s - ms_xs, ms_x, ms_s
    assert crossed.error**2 == pytest.approx(max(squares) / (n * seeds))
    satterthwaite = squares[0] ** 2 / (ms_x**2 / (n - 1) + ms_s**2 / (seeds - 1) + ms_xs**2 / ((n - 1) * (seeds - 1)))
    assert crossed.df == pytest.approx([satterthwaite, n - 1, seeds - 1][int(np.argmax(squares))])


def test_the_interval_over_seeds_is_that_of_the_seed_means():
    y = np.random.default_rng(0).normal(size=(6, 4))
    found = mean_interval(y)
    low, high = stats.t.interval(0.95, 3, y.mean(), stats.sem(y.mean(axis=0)))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.method == "mean over seeds; t with 3 degrees of freedom"


def test_whole_weights_are_copies_for_the_mean_over_seeds():
    y = np.random.default_rng(1).normal(size=(3, 5))
    weighted, copied = seed_mean(y, weights=np.array([2.0, 1.0, 3.0])), seed_mean(np.repeat(y, [2, 1, 3], axis=0))
    assert (weighted.estimate, weighted.error) == pytest.approx((copied.estimate, copied.error))
    equal = crossed_mean(y, weights=np.full(3, 0.2))
    assert (equal.estimate, equal.error, equal.df) == pytest.approx(tuple(vars(crossed_mean(y)).values())[:3])


def test_missing_trials_are_fitted_so_that_seeds_do_not_tilt_the_mean():
    additive = np.arange(5.0)[:, None] + np.array([0.0, 10.0, -4.0])
    holed = additive.copy()
    holed[[0, 1, 3], [1, 1, 2]] = np.nan
    for function in (seed_mean, crossed_mean):
        whole, found = function(additive), function(holed)
        assert (found.estimate, found.error) == pytest.approx((whole.estimate, whole.error))
        assert found.reason == "3 missing trials filled in"
        # A row or a column without any trial is not there.
        empty = np.pad(holed, ((0, 1), (1, 0)), constant_values=np.nan)
        assert function(empty).error == pytest.approx(found.error)


def test_too_little_data_is_a_reason():
    assert (mean_interval(np.full((3, 2), np.nan)).reason, np.isnan(mean_interval(np.empty((0, 3))).estimate)) == (
        "no trials", True,
    )  # fmt: skip
    one_seed = mean_interval(np.array([[1.0], [3.0]]))
    assert (one_seed.estimate, one_seed.reason) == (2.0, "no interval: one seed")
    assert np.isnan(one_seed.low)
    one = crossed_interval(np.array([[1.0, 3.0]]))
    assert (one.estimate, one.reason) == (2.0, "no interval: one configuration")
    apart = np.array([[1.0, 2.0, np.nan, np.nan], [np.nan, np.nan, 5.0, 6.0]])
    assert mean_interval(apart).reason == "no interval: trials missing"


def test_ends_are_clipped_to_what_is_possible():
    found = mean_interval(np.array([[0.99, 0.2, 1.0]]), least=0.0, most=1.0)
    assert found.low >= 0.0
    assert found.high == 1.0
    flat = crossed_interval(np.full((3, 3), 0.5))
    assert (flat.low, flat.estimate, flat.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("seed_sd", [0.0, 2.0])
def test_intervals_cover_with_and_without_a_common_seed_effect(seeds, seed_sd, missing):
    rng, fixed, crossed = np.random.default_rng(seeds), [], []
    for _ in range(300):
        truth = rng.normal(0, 1.5, 15)
        y = noisy(rng, truth, seeds=seeds, seed_sd=seed_sd, block_sd=seed_sd / 2, noise_sd=1.0, blocks=BLOCKS)
        y[rng.uniform(size=y.shape) < missing] = np.nan
        one, other = mean_interval(y), crossed_interval(y)
        target = truth[np.isfinite(y).any(axis=1)].mean()
        fixed.append(one.low <= target <= one.high)
        crossed.append(other.low <= 0.0 <= other.high)
    # Four standard errors of 300 draws around .95.
    assert 0.90 <= np.mean(fixed) <= 0.99
    assert 0.90 <= np.mean(crossed) <= 0.995
