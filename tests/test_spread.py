import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers
from scipy import stats
from simulated import BLOCKS, noisy

from analysis.robustness.spread import cvar, interquartile, interquartile_range, without_noise


@given(integers(0, 10**6), integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_the_mean_of_the_worst_tenth_equals_a_slow_loop(seed, count):
    values = np.random.default_rng(seed).normal(size=(2, count))
    for row, found in zip(values, cvar(values), strict=True):
        left, total = 0.1 * count, 0.0
        for value in sorted(row):
            inside = min(1.0, left)
            total, left = total + inside * value, left - inside
        assert found == pytest.approx(total / (0.1 * count))


def test_spread_of_a_uniform_surface_is_its_closed_form():
    values = (np.arange(10000) + 0.5) / 10000
    assert interquartile_range(values) == pytest.approx(0.5, abs=1e-3)
    assert cvar(values) == pytest.approx(0.05, abs=1e-3)


def test_means_without_noise_vary_as_the_surface_does():
    rng, truth = np.random.default_rng(0), np.random.default_rng(1).normal(size=2000)
    means = truth + rng.normal(0, 0.8, 2000)
    assert np.std(without_noise(means, 0.64)) == pytest.approx(np.std(truth), rel=0.03)
    assert interquartile_range(without_noise(means, 0.64)) == pytest.approx(interquartile_range(truth), rel=0.05)
    assert interquartile_range(means) > 1.2 * interquartile_range(truth)
    noise = rng.normal(size=(300, 15))
    assert np.median(interquartile_range(without_noise(noise, 1.0))) < 0.4 * np.median(interquartile_range(noise))
    assert without_noise(np.full(5, 2.0), 1.0).tolist() == [2.0] * 5


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("seed_sd", [0.0, 1.0])
def test_the_interval_of_the_middle_covers_and_is_not_for_show(seeds, seed_sd):
    hits, rng = [], np.random.default_rng(seeds)
    truth = np.linspace(0.0, 6.0, 15)
    target = stats.trim_mean(
        np.random.default_rng(9).normal(truth[:, None], np.hypot(1, seed_sd), (15, 20000)).ravel(), 0.25
    )
    for _ in range(300):
        found = interquartile(noisy(rng, truth, seeds=seeds, seed_sd=seed_sd, blocks=BLOCKS), sampled=False)
        hits.append(found.low <= target <= found.high)
    assert 0.90 <= np.mean(hits) <= 0.99


def test_one_seed_has_a_middle_without_an_interval():
    found = interquartile(np.arange(8.0)[:, None], sampled=False)
    assert found.estimate == pytest.approx(3.5)
    assert np.isnan(found.low)
    assert found.reason == "no interval: one seed"
