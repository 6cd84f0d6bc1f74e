import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis.strategies import booleans, integers, sampled_from
from scipy import stats
from simulated import GRID, hill, one_row, runs, study, table

from analysis.collapse import METRICS, _of_collapsed, choice_regrets, collapse, onset_epochs
from analysis.collapse.association import METHODS, _correlations, _kendall, _terms, association
from analysis.robustness import COLUMNS


def with_ranks(*, seeds=4, noise=0.001, failing=0.0):
    """One family whose embeddings collapse at the lowest temperature, with trial ids."""
    rows = runs(GRID, hill(GRID), seeds=seeds, rng=np.random.default_rng(0), noise_sd=noise, failing=failing)
    cold = rows["temperature"] < 0.06
    fine = rows["status"] == "ok"
    category = np.where(cold & (rows["batch_size"] == 16), "complete", np.where(cold, "dimensional", "none"))
    rng = np.random.default_rng(1)
    rows = rows.assign(
        collapse=np.where(fine, category, None), trial_id=[f"t{index:03}" for index in range(len(rows))],
        z_effective_rank=20 * rows["linear_top1"] + rng.normal(0, 0.3, len(rows)),
    )  # fmt: skip
    return table({"f": rows})


def test_shares_of_collapse_are_those_of_the_space():
    found = collapse(with_ranks(), seed=0)
    assert tuple(found.columns) == COLUMNS
    shares = {name: one_row(found, f"collapse_{name}") for name in ("dimensional", "complete", "any")}
    assert [row["estimate"] for row in shares.values()] == pytest.approx([2 / 15, 1 / 15, 3 / 15])
    assert all(row["low"] < row["estimate"] < row["high"] for row in shares.values())
    failed = one_row(collapse(with_ranks(failing=0.3), seed=0), "collapse_any")
    assert failed["reason"] == f"{failed['n_failed']} failed trials left out"


def test_a_trial_collapses_at_the_epoch_from_which_on_it_stays_so():
    stages = {
        "late": ["none", "none", "complete"], "early": ["dimensional", "complete", "complete"],
        "recovers": ["complete", "complete", "none"], "again": ["complete", "none", "dimensional"],
        "never": ["none", None, "none"], "gap": ["none", None, "complete"],
    }  # fmt: skip
    history = pd.DataFrame([
        {"trial_id": name, "epoch": 5.0 * index, "collapse": stage}
        for name, each in stages.items() for index, stage in enumerate(each)
    ])  # fmt: skip
    onsets = onset_epochs(history.sample(frac=1.0, random_state=0)).to_dict()
    expected = {"late": 10, "early": 0, "recovers": math.nan, "again": 10, "never": math.nan, "gap": 10}
    assert onsets == pytest.approx(expected, nan_ok=True)


def test_the_onset_is_averaged_over_the_trials_that_end_collapsed():
    found = with_ranks()
    cold = found.trials["collapse"] != "none"
    onset = 4 + found.trials["seed"]
    history = pd.concat([
        found.trials.assign(epoch=epoch, collapse=np.where(cold & (epoch >= onset), "complete", "none"))
        for epoch in range(10)
    ])  # fmt: skip
    row = one_row(collapse(found, seed=0, history=history), "collapse_onset_epoch")
    assert row["estimate"] == pytest.approx(5.5)
    assert (row["low"], row["high"]) == pytest.approx(stats.t.interval(0.95, 3, 5.5, np.std([4, 5, 6, 7], ddof=1) / 2))
    assert row["method"].startswith("12 of 60 trials end collapsed")
    sound = history.assign(collapse="none")
    assert (
        one_row(collapse(found, seed=0, history=sound), "collapse_onset_epoch")["reason"] == "no trial ends collapsed"
    )


def test_trials_that_do_not_collapse_are_not_missing_from_the_onset():
    onset = np.full((12, 4), np.nan)
    onset[:3], onset[3, 0] = 2.0, 50.0
    found = _of_collapsed(onset, sampled=False)
    each = np.array([(3 * 2 + 50) - 4 * 74 / 13, *[6 - 3 * 74 / 13] * 3])
    half = stats.t.ppf(0.975, 3) * math.sqrt(4 / 3 * np.sum(each**2)) / 13
    assert (found.estimate, found.low, found.high) == pytest.approx((74 / 13, 0.0, 74 / 13 + half))
    one = _of_collapsed(np.where(np.arange(4) == 0, onset, np.nan), sampled=False)
    assert (one.estimate, one.reason) == (14.0, "no interval: one seed has collapsed trials")
    assert math.isnan(one.low)
    assert _of_collapsed(onset[:3], sampled=False).reason == "no interval: the same on every seed"


@pytest.mark.parametrize("sampled", [False, True])
def test_intervals_of_the_onset_cover(sampled):
    hits, truth = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        luck, own = rng.normal(size=5), np.linspace(-1, 1, 20) if not sampled else rng.uniform(-1, 1, 20)
        ends = rng.uniform(size=(20, 5)) < 1 / (1 + np.exp(-2 * own[:, None] - luck))
        onset = np.where(ends, 30 + 8 * own[:, None] + 3 * luck + rng.normal(size=(20, 5)), np.nan)
        hits.append(_of_collapsed(onset, sampled=sampled))
        truth.append((np.nansum(onset), ends.sum()))
    sums, counts = np.sum(truth, axis=0)
    assert np.mean([found.low <= sums / counts <= found.high for found in hits]) >= 0.91


def test_a_configuration_without_the_metric_does_not_take_the_rows_of_the_others():
    found = with_ranks()
    gone = (found.trials["batch_size"] == 64) & (found.trials["temperature"] < 0.06)
    fewer = replace(found, trials=found.trials.assign(z_effective_rank=found.trials["z_effective_rank"].mask(gone)))
    whole, rows = collapse(found, seed=0), collapse(fewer, seed=0)
    assert rows["measure"].tolist() == whole["measure"].tolist()
    for measure in ("rank_accuracy_spearman", "rank_accuracy_kendall", "choice_regret_z_effective_rank"):
        one, other = one_row(rows, measure), one_row(whole, measure)
        assert one["reason"].endswith("1 configuration without z_effective_rank")
        assert one["estimate"] == pytest.approx(other["estimate"], abs=0.1)
    kept = replace(found, trials=found.trials[~gone])
    alone = one_row(collapse(kept, seed=0), "rank_accuracy_spearman")
    assert one_row(rows, "rank_accuracy_spearman")["estimate"] == pytest.approx(alone["estimate"], abs=1e-12)
    assert one_row(rows, "choice_regret_random")["reason"].startswith("undercovers:")


@pytest.mark.parametrize("method", METHODS)
def test_intervals_of_correlations_cover_where_seeds_have_a_common_effect(method):
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        points, luck = rng.uniform(size=(40, 2)), rng.normal(0, 0.8, 3)
        y = 4 * points[:, :1] + luck + rng.normal(size=(40, 3))
        found.append(association(y + rng.normal(0, 2, (40, 3)), y, points, method=method, seed=0))
    true = np.mean([one.estimate for one in found])
    assert np.mean([one.low <= true <= one.high for one in found]) >= 0.91


def test_what_all_runs_of_a_seed_share_is_not_an_association_given_the_seed():
    rng = np.random.default_rng(0)
    x, y, points = rng.normal(size=(40, 3)), rng.normal(size=(40, 3)), rng.uniform(size=(40, 1))
    shift = np.array([0.0, 30.0, -30.0])
    shifted = association(x + shift, y + shift, points, method="partial", seed=0)
    assert abs(shifted.estimate) < 0.2
    assert shifted.low < 0 < shifted.high
    only = association(x * 0 + np.array([0.0, 30.0, -30.0]), y, points, method="partial", seed=0)
    assert only.reason == "the same on all trials of a seed"
    own_seeds = np.where(np.eye(40, dtype=bool), x[:, :1], np.nan)
    alone = association(own_seeds, y[:, :1] + 0 * own_seeds, points, method="partial", seed=0)
    plain = association(x[:, :1], y[:, :1], points, method="partial", seed=0)
    assert alone.estimate == pytest.approx(plain.estimate)


@given(integers(0, 10**6), booleans())
@settings(max_examples=25, deadline=None)
def test_correlations_are_scipys_under_equal_and_under_whole_weights(seed, tied):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 12, 3))
    x, y = (np.round(x), np.round(y)) if tied else (x, y)
    found = {
        method: association(x, y, rng.uniform(size=(12, 2)), method=method, seed=0).estimate
        for method in ("spearman", "kendall")
    }
    assert found["spearman"] == pytest.approx(stats.spearmanr(x.ravel(), y.ravel()).statistic)
    assert found["kendall"] == pytest.approx(stats.kendalltau(x.ravel(), y.ravel()).statistic)
    copies = rng.integers(0, 3, 12)
    cluster = np.repeat(np.arange(12), 3)
    again = np.repeat(np.arange(36), copies[cluster])
    if np.ptp(x.ravel()[again]) == 0 or np.ptp(y.ravel()[again]) == 0:
        return
    weighted = _kendall(x.ravel(), y.ravel(), cluster, copies[None].astype(float))
    assert weighted[0] == pytest.approx(stats.kendalltau(x.ravel()[again], y.ravel()[again]).statistic)
    ranks = np.column_stack([stats.rankdata(x), stats.rankdata(y)])
    weighted = _correlations(ranks, np.ones((36, 1)), cluster, copies[None].astype(float))
    assert weighted[0] == pytest.approx(np.corrcoef(ranks[again].T)[0, 1])


def test_the_partial_correlation_is_that_of_residuals():
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(30, 2))
    x = 5 * points[:, :1] ** 2 + rng.normal(size=(30, 3))
    y = 5 * points[:, :1] ** 2 + rng.normal(size=(30, 3))
    design = np.column_stack([np.ones(30), points, points**2])[np.repeat(np.arange(30), 3)]
    design = np.column_stack([design, np.tile(np.eye(3)[:, 1:], (30, 1))])
    ranks = np.column_stack([stats.rankdata(x), stats.rankdata(y)])
    left = ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
    found = association(x, y, points, method="partial", seed=0)
    assert found.estimate == pytest.approx(np.corrcoef(left.T)[0, 1])
    assert found.low < 0 < found.high
    assert association(x, y, points, method="spearman", seed=0).low > 0
    assert _terms(np.column_stack([points, points[:, 0], points[:, 0] > 0.5])).shape[1] == 6


@pytest.mark.parametrize("method", ["spearman", "kendall"])
@pytest.mark.parametrize("count", [15, 50])
def test_intervals_of_correlations_cover(method, count):
    rho, hits = 0.5, []
    # Trials of a configuration share half of their variance, which leaves the correlation as it is.
    true = 6 / math.pi * math.asin(rho / 2) if method == "spearman" else 2 / math.pi * math.asin(rho)
    covariance = np.array([[1, rho], [rho, 1]])
    for seed in range(150):
        rng = np.random.default_rng(seed)
        own = rng.multivariate_normal([0, 0], covariance, (count, 1))
        x, y = np.moveaxis(own + rng.multivariate_normal([0, 0], covariance, (count, 3)), -1, 0)
        found = association(x, y, np.zeros((count, 1)), method=method, seed=0)
        hits.append(found.low <= true <= found.high)
    assert np.mean(hits) >= 0.91


@given(integers(0, 10**6), sampled_from([2, 3, 5]))
@settings(max_examples=25, deadline=None)
def test_regrets_of_choices_equal_slow_loops(seed, seeds):
    rng = np.random.default_rng(seed)
    outcome, metric, selection = rng.normal(size=(3, 8, seeds))
    found = choice_regrets(outcome, {"m": metric}, selection)
    for s in range(seeds):
        others = [t for t in range(seeds) if t != s]
        best = max(range(8), key=lambda x: np.mean(selection[x, others]))
        by_metric = max(range(8), key=lambda x: np.mean(metric[x, others]))
        assert found["m"][s] == pytest.approx(outcome[best, s] - outcome[by_metric, s])
        assert found["random"][s] == pytest.approx(outcome[best, s] - np.mean([outcome[x, s] for x in range(8)]))


def test_choosing_by_a_good_metric_loses_little_and_each_metric_has_its_direction():
    found = with_ranks()
    trials = found.trials.assign(z_wasserstein=-found.trials["linear_top1"], z_alignment=found.trials["linear_top1"])
    rows = collapse(replace(found, trials=trials), seed=0)
    regret = {
        name: one_row(rows, f"choice_regret_{name}")["estimate"] for name in ("z_wasserstein", "z_alignment", "random")
    }
    assert abs(regret["z_wasserstein"]) < 0.002 < regret["random"] < regret["z_alignment"]
    assert not set(rows["measure"]) & {f"choice_regret_{name}" for name in METRICS if name not in trials}


def test_what_a_table_lacks_has_no_rows_and_little_data_has_reasons():
    bare = study(num_families=1)
    columns = ["z_effective_rank", "collapse"]
    assert collapse(replace(bare, trials=bare.trials.drop(columns=columns, errors="ignore")), seed=0).empty
    one = collapse(with_ranks(seeds=1), seed=0)
    assert one_row(one, "choice_regret_random")["reason"] == "one seed"
    adaptive = collapse(replace(with_ranks(), design="tpe"), seed=0)
    assert set(adaptive["reason"]) == {"adaptive design"}
    assert adaptive["estimate"].isna().all()


def test_rows_do_not_depend_on_the_order_of_trials():
    found = with_ranks(failing=0.1)
    shuffled = replace(found, trials=found.trials.sample(frac=1.0, random_state=2))
    pd.testing.assert_frame_equal(collapse(found, seed=0), collapse(shuffled, seed=0), check_exact=True)
