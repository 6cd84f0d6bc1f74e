import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers
from scipy import stats
from simulated import BLOCKS, GRID, hill, noisy, runs, table

from analysis.estimation.cells import Cells, cells
from analysis.estimation.crossfit import (
    choose_best,
    choose_worst,
    highest_mean,
    interquartile_mean,
    left_out_means,
    normalised_regret,
)
from analysis.estimation.fitted import Fitted, Surface, fit_family
from analysis.estimation.intervals import around, deviation, rate
from analysis.estimation.noise import failure_variances, fit_noise
from analysis.robustness.bootstrap import own_errors
from analysis.robustness.choices import Key, Problem, choose, chosen_values


def _anova(y, blocks):
    """Components of a complete grid by textbook mean squares."""
    labels, seeds = np.unique(blocks), y.shape[1]
    per_block = len(y) // len(labels)
    means = np.array([y[blocks == label].mean(axis=0) for label in labels])
    left = [y[blocks == b] - y[blocks == b].mean(axis=1, keepdims=True) - m + m.mean() for b, m in enumerate(means)]
    residual = sum(float((part**2).sum()) for part in left) / ((per_block - 1) * (seeds - 1) * len(labels))
    centred = means - means.mean(axis=1, keepdims=True)
    interaction = centred - centred.mean(axis=0)
    ms_block = per_block * float((interaction**2).sum()) / ((len(labels) - 1) * (seeds - 1))
    ms_seed = len(y) * float((centred.mean(axis=0) ** 2).sum()) / (seeds - 1)
    return (ms_seed - ms_block) / len(y), (ms_block - residual) / per_block, residual


def test_noise_components_equal_the_analysis_of_variance_on_complete_grids():
    y = noisy(np.random.default_rng(3), np.arange(15.0), seeds=6, seed_sd=2.0, block_sd=1.5, noise_sd=1.0)
    noise = fit_noise(y, BLOCKS)
    assert (noise.seed, noise.block, noise.residual) == pytest.approx(_anova(y, BLOCKS))
    assert (noise.df_seed, noise.df_block, noise.df_residual) == (5, 10, 60)
    total = y.var(axis=1, ddof=1).mean()
    assert noise.total == pytest.approx(total)


@pytest.mark.parametrize("missing", [0.0, 0.25])
def test_noise_components_are_unbiased_also_where_trials_are_missing(missing):
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        y = noisy(rng, np.arange(15.0), seeds=5, seed_sd=2.0, block_sd=1.5, noise_sd=1.0)
        y[rng.uniform(size=y.shape) < missing] = np.nan
        noise = fit_noise(y, BLOCKS)
        found.append((noise.total, noise.residual, noise.block + noise.residual))
    assert np.mean(found, axis=0) == pytest.approx([7.25, 1.0, 3.25], rel=0.12)


def test_a_seed_effect_leaves_the_residual_alone():
    y = noisy(np.random.default_rng(1), np.zeros(15), seeds=4)
    shifted = fit_noise(y + np.array([0.0, 50.0, -20.0, 7.0]), BLOCKS)
    assert shifted.residual == pytest.approx(fit_noise(y, BLOCKS).residual)
    assert shifted.block == pytest.approx(fit_noise(y, BLOCKS).block, abs=1e-9)
    assert shifted.seed > 100


def test_components_are_never_negative_and_unknown_with_one_seed():
    for seed in range(20):
        noise = fit_noise(noisy(np.random.default_rng(seed), np.zeros(15), seeds=3), BLOCKS)
        assert min(noise.seed, noise.block, noise.residual) >= 0
    assert np.isnan(fit_noise(np.zeros((15, 1)), BLOCKS).total)


def test_one_configuration_per_block_counts_all_noise_as_the_blocks():
    rng = np.random.default_rng(0)
    noise = fit_noise(noisy(rng, np.zeros(3), seeds=400, seed_sd=2.0, blocks=np.arange(3)), np.arange(3))
    assert noise.residual == 0
    assert noise.block + noise.residual == pytest.approx(1.0, rel=0.1)
    assert noise.df_between == pytest.approx(2 * 399)


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_seed_sd_interval_covers(seeds):
    hits = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        found = deviation(fit_noise(noisy(rng, np.zeros(15), seeds=seeds, seed_sd=1.0, block_sd=0.5), BLOCKS))
        hits.append(found.low <= 1.5 <= found.high)
    assert np.mean(hits) >= 0.93


def test_choices_equal_a_slow_loop():
    rng = np.random.default_rng(5)
    y, chosen_on = rng.normal(size=(6, 4)), rng.normal(size=(6, 4))
    values = []
    for s in range(4):
        others = [r for r in range(4) if r != s]
        means = [np.mean([chosen_on[x, r] for r in others]) for x in range(6)]
        values.append(y[int(np.argmax(means)), s])
    np.testing.assert_allclose(choose_best(chosen_on, y).values, values)
    np.testing.assert_allclose(choose_worst(chosen_on, y).values, -choose_best(-chosen_on, -y).values)


def test_tied_configurations_share_the_choice():
    y = np.array([[1.0, 3.0], [1.0, 5.0], [0.0, 0.0]])
    choice = choose_best(np.array([[0.1 + 0.2] * 2, [0.3] * 2, [0.0] * 2]), y)
    assert choice.weights[:, 0].tolist() == [0.5, 0.5, 0.0]
    assert choice.values.tolist() == [1.0, 4.0]


def test_what_was_chosen_without_a_seed_has_no_value_where_it_did_not_run_on_it():
    y = np.array([[0.9, 0.92, np.nan, np.nan], [0.5, 0.6, 0.7, 0.8], [np.nan, np.nan, np.nan, 5.0]])
    best = choose_best(y, y)
    np.testing.assert_array_equal(best.values, [0.9, 0.92, np.nan, np.nan])
    assert best.mean == pytest.approx(0.91)
    np.testing.assert_array_equal(best.read(np.full(y.shape, 2.0)), [2.0, 2.0, np.nan, np.nan])
    np.testing.assert_array_equal(choose_worst(-y, -y).values, -best.values)
    assert highest_mean(y) == 0
    assert highest_mean(y[:, 3:]) == 2


def test_of_what_ties_the_configurations_that_ran_share_the_choice():
    y = np.array([[0.9, 0.9, 0.9], [0.9, 0.9, np.nan], [0.1, 0.1, 0.1]])
    assert choose_best(y, y).values.tolist() == [0.9] * 3
    assert choose_best(y, y).weights[:, 2].tolist() == [1.0, 0.0, 0.0]


def test_nothing_is_chosen_with_one_seed():
    assert np.isnan(choose_best(np.ones((3, 1)), np.ones((3, 1))).mean)
    assert np.isnan(left_out_means(np.ones((3, 1)))).all()


def test_a_flat_surface_has_an_unbiased_crossfitted_best_and_a_biased_plug_in():
    rng, fitted, plug_in = np.random.default_rng(0), [], []
    for _ in range(2000):
        y = rng.normal(size=(25, 3))
        fitted.append(choose_best(y, y).mean)
        plug_in.append(y.mean(axis=1).max())
    assert np.mean(fitted) == pytest.approx(0.0, abs=0.05)
    assert np.mean(plug_in) == pytest.approx(1.13, abs=0.03)


def test_regret_runs_from_flat_to_floor():
    assert normalised_regret(0.9, np.full((4, 2), 0.9), floor=0.1) == pytest.approx(0.0)
    assert normalised_regret(0.9, np.full((4, 2), 0.1), floor=0.1) == pytest.approx(1.0)
    assert normalised_regret(0.9, np.full((4, 2), 0.0), floor=0.1) == pytest.approx(1.0)
    assert normalised_regret(0.9, np.array([[0.9], [0.5]]), floor=0.1) == pytest.approx(0.25)
    assert np.isnan(normalised_regret(0.1, np.full((4, 2), 0.1), floor=0.1))


@pytest.mark.parametrize("shape", [(4, 5), (5, 4), (8, 3)])
def test_the_interquartile_mean_trims_a_quarter_at_each_end(shape):
    y = np.random.default_rng(0).normal(size=shape)
    assert interquartile_mean(y) == pytest.approx(stats.trim_mean(y.ravel(), 0.25))


def test_the_interquartile_mean_takes_quartiles_by_their_share():
    assert interquartile_mean(np.array([[0.0, 1.0, 10.0]])) == pytest.approx((0.25 * 0 / 3 + 1 / 3 + 10 / 12) * 2)


def test_shrinking_brings_means_closer_to_the_truth():
    raw, shrunk = [], []
    for seed in range(10):
        rows = runs(GRID, hill(GRID), seeds=3, rng=np.random.default_rng(seed), noise_sd=0.02)
        surface = fit_family(_cells(rows), seed=0).outcome
        truth = hill(GRID) - hill(GRID).mean()
        raw.append(np.mean((surface.means - surface.means.mean() - truth) ** 2))
        shrunk.append(np.mean((surface.expected - surface.expected.mean() - truth) ** 2))
    assert np.mean(shrunk) < 0.8 * np.mean(raw)


def _cells(rows) -> Cells:
    found = cells(table({"f": rows}), "digits", "f", "z_effective_rank")
    assert found is not None
    return found


def _problem(rows) -> Problem:
    """Without smoothing, so that a simulation of many tables is quick."""
    family = _cells(rows)
    noise, means = fit_noise(family.outcome, family.blocks), family.outcome.mean(axis=1)
    still = np.zeros(len(means))
    surface = Surface(noise, still + family.outcome.shape[1], still, means, still, means, means, means, still)
    return Problem(Fitted(family, surface, surface), {}, None, False)


@pytest.mark.parametrize(("seeds", "seed_sd"), [(3, 0.0), (3, 0.02), (5, 0.0), (5, 0.02)])
def test_intervals_of_the_best_cover_with_and_without_a_common_seed_effect(seeds, seed_sd, monkeypatch):
    monkeypatch.setattr("analysis.robustness.bootstrap.REPLICATES", 60)
    hits, truth, key = [], 20 * hill(GRID), Key("best")
    for seed in range(80):
        rng = np.random.default_rng(seed)
        problem = _problem(runs(GRID, hill(GRID), seeds=seeds, rng=rng, seed_sd=seed_sd, block_sd=seed_sd / 2))
        y = problem.fitted.cells.outcome
        chosen = choose(problem, y, y)
        value = chosen_values(problem, chosen, y)[key]
        target = chosen_values(problem, chosen, np.repeat(truth[:, None], seeds, axis=1))[key]
        found = around(float(value), own_errors(problem, seed=seed)[key], seeds=seeds, method="")
        hits.append(found.low <= target <= found.high)
    assert np.mean(hits) >= 0.92


def test_a_mean_of_five_seeds_has_four_degrees_of_freedom():
    found = around(1.0, 0.1, seeds=5, method="mean")
    assert found.high - found.low == pytest.approx(2 * 0.1 * 2.776445)
    assert "4 degrees of freedom" in found.method
    assert np.isnan(around(1.0, 0.1, seeds=1, method="mean").low)


def test_failure_rates_have_exact_intervals_that_widen_where_seeds_fail_together():
    present = np.ones((15, 5), dtype=bool)
    none = rate(np.zeros((15, 5), dtype=bool), present, sampled=False)
    assert (none.estimate, none.low, none.high) == pytest.approx((0.0, 0.0, 1 - 0.025 ** (1 / 75)))
    together, apart = np.zeros((2, 15, 5), dtype=bool)
    together[:10, 0] = True
    apart[np.arange(10), np.arange(10) % 5] = True
    one, other = rate(together, present, sampled=False), rate(apart, present, sampled=False)
    assert one.estimate == other.estimate == pytest.approx(10 / 75)
    assert one.high - one.low > 1.5 * (other.high - other.low)


def test_failures_add_variance_where_they_happened_only():
    y, failed = np.full((3, 4), 0.9), np.zeros((3, 4), dtype=bool)
    failed[0, 0] = True
    y[0, 0] = 0.1
    extra = failure_variances(y, failed, floor=0.1)
    assert extra[1:].tolist() == [0.0, 0.0]
    assert extra[0] == pytest.approx(0.3 * 0.7 * 0.8**2)


@given(
    estimate=floats(-2, 3),
    error=floats(0, 2),
    seeds=integers(2, 9),
    least=floats(-1, 0.5),
    most=floats(0.5, 2),
)
def test_numbers_and_intervals_stay_within_what_is_possible(estimate, error, seeds, least, most):
    found = around(estimate, error, seeds=seeds, method="mean", least=least, most=most)
    assert least <= found.low <= found.estimate <= found.high <= most
