import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis.strategies import floats, integers
from scipy import stats

from analysis.comparison import COLUMNS, compare, paired_differences, paired_mean
from analysis.comparison.pairs import Pairs, pairs, profiled
from analysis.comparison.verdicts import TTest, adjusted, decided, verdict
from analysis.estimation.balance import levelled
from analysis.estimation.cells import cells
from analysis.estimation.crossfit import choose_best
from analysis.table import Axis, Table

BATCHES, TEMPERATURES = (16, 64, 256), (0.1, 0.5)
AXES = (Axis("batch_size", "log2", BATCHES, 16, 256), Axis("temperature", "log", TEMPERATURES, 0.1, 0.5))


def study(effects, *, seeds=5, noise=0.01, common=0.05, seed=0):
    """Families that differ from each other by constant effects, with a common seed effect and noise."""
    rng = np.random.default_rng(seed)
    shared = {s: rng.normal(0, common) for s in range(seeds)}
    rows = [
        {
            "dataset": "digits", "family": family, "loss": family, "batch_size": batch, "temperature": t, "seed": s,
            "status": "ok", "linear_top1": (y := 0.7 + effect + shared[s] + rng.normal(0, noise)),
            "linear_top1_validation": y + rng.normal(0, noise),
        }
        for family, effect in effects.items() for batch in BATCHES for t in TEMPERATURES for s in range(seeds)
    ]  # fmt: skip
    trials = pd.DataFrame(rows)
    return Table(
        name="t", trials=trials, baseline=trials.iloc[:0], axes=dict.fromkeys(effects, AXES), shared=("batch_size",),
        outcome="linear_top1", selection="linear_top1_validation", direction="maximize", floor=0.1, reference="a",
        tolerances=(0.01,), equivalence=0.01, design="grid", num_planned=len(rows),
    )  # fmt: skip


def differences(table):
    """The rows of the primary test."""
    return pd.DataFrame(paired_differences(table), columns=list(COLUMNS))


def row(table, family, profile="mean"):
    return differences(table).set_index(["family", "profile"]).loc[(family, profile)]


def test_a_common_seed_effect_cancels():
    found = row(study({"a": 0.0, "b": 0.1}, noise=0.0, common=0.2), "b")
    assert found["difference"] == pytest.approx(0.1, abs=1e-12)
    assert found["high"] - found["low"] == pytest.approx(0, abs=1e-9)
    assert found["verdict"] == "better"


def test_the_difference_and_its_interval_are_those_of_a_paired_t_test_on_seed_means():
    table = study({"a": 0.0, "b": 0.01})
    means = table.trials.groupby(["family", "seed"])["linear_top1"].mean()
    expected = stats.ttest_rel(means["b"], means["a"])
    found = row(table, "b")
    assert found["p"] == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))
    assert (found["n_pairs"], found["n_seeds"]) == (15, 5)


@pytest.mark.parametrize(
    ("effect", "verdict"), [(0.1, "better"), (-0.1, "worse"), (0.0, "equivalent"), (0.0001, "equivalent")]
)
def test_verdicts_follow_the_interval_and_the_margin(effect, verdict):
    assert row(study({"a": 0.0, "b": effect}, noise=0.002), "b")["verdict"] == verdict


def test_less_is_better_where_the_study_minimises():
    found = row(replace(study({"a": 0.0, "b": -0.1}, noise=0.001), direction="minimize"), "b")
    assert found["verdict"] == "better"
    assert found["low"] < found["difference"] < found["high"] < 0


def test_too_few_seeds_are_undecided_and_a_number_of_seeds_is_named_where_noise_is_large():
    few = row(study({"a": 0.0, "b": 0.1}, seeds=2), "b")
    assert (few["verdict"], few["reason"]) == ("undecided", "fewer than 3 seeds or 6 pairs")
    assert math.isnan(few["difference"])
    noisy = row(study({"a": 0.0, "b": 0.0}, noise=0.2, seed=2), "b")
    assert noisy["verdict"] == "undecided"
    assert "more seeds would decide it" in noisy["reason"]


def test_of_sampled_settings_the_interval_is_that_of_crossed_settings_and_seeds():
    table = study({"a": 0.0, "b": 0.1})
    y = table.trials.groupby(["family", "batch_size", "seed"])["linear_top1"].mean()
    d = (y["b"] - y["a"]).unstack().to_numpy()
    n, seeds = d.shape
    ms_x = seeds * np.var(d.mean(axis=1), ddof=1)
    ms_s = n * np.var(d.mean(axis=0), ddof=1)
    left = d - d.mean(axis=1)[:, None] - d.mean(axis=0) + d.mean()
    error = math.sqrt(max(ms_x + ms_s - (left**2).sum() / ((n - 1) * (seeds - 1)), ms_x, ms_s) / d.size)
    found, fixed = row(replace(table, design="sobol"), "b"), row(table, "b")
    test = TTest(d.mean(), error, stats.norm.ppf(0.975), 5)
    assert test.p > stats.ttest_1samp(d.ravel(), 0).pvalue
    assert found["difference"] == fixed["difference"]
    assert found["verdict"] == "better"
    quantile = (found["high"] - found["difference"]) / error
    assert stats.t.ppf(0.975, 9) < quantile <= stats.t.ppf(0.975, 2) + 1e-9


def test_settings_chosen_by_their_outcomes_are_not_compared():
    found = compare(replace(study({"a": 0.0, "b": 0.1}), design="tpe"), seed=0)
    assert found["reason"].tolist() == ["adaptive design"] * 2
    assert found["verdict"].tolist() == ["undecided"] * 2
    assert found[["difference", "p"]].isna().all(axis=None)
    table = study({"a": 0.0, "b": 0.1, "c": 0.2})
    searched = table.trials.assign(design=np.where(table.trials["family"] == "c", "gp", None))
    found = compare(replace(table, trials=searched), seed=0)
    assert found.groupby("family")["reason"].agg(set)["c"] == {"adaptive design"}
    without = replace(table, trials=table.trials[table.trials["family"] != "c"], axes=dict.fromkeys("ab", AXES))
    ours = found[found["family"] == "b"].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours, compare(without, seed=0), check_exact=True)


def _slow_best(selection, outcome):
    """The cross-fitted best of a few settings, seed by seed."""
    values = []
    for s in range(outcome.shape[1]):
        others = [t for t in range(outcome.shape[1]) if t != s]
        scores = [
            np.nanmean(row[others]) if np.isfinite(row[others]).any() and np.isfinite(read).sum() > 1 else -math.inf
            for row, read in zip(selection, outcome, strict=True)
        ]
        values.append(outcome[int(np.argmax(scores)), s] if max(scores) > -math.inf else math.nan)
    return np.array(values)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_profiles_of_a_family_equal_slow_loops(missing):
    rng = np.random.default_rng(3)
    table = study({"a": 0.0, "b": 0.0}, noise=0.05)
    table = replace(table, trials=table.trials[rng.uniform(size=len(table.trials)) >= missing])
    family = cells(table, "digits", "a", "linear_top1")
    keys = family.settings["batch_size"].to_numpy()
    common = np.array([16, 256])
    mean, counts = profiled(family, keys, common, "mean")
    best, _ = profiled(family, keys, common, "best")
    selection = levelled(family.selection, family.failed, family.blocks)
    for index, key in enumerate(common):
        rows = keys == key
        assert counts[index] == rows.sum()
        np.testing.assert_allclose(mean[index], [sum(column) / len(column) for column in family.outcome[rows].T])
        np.testing.assert_allclose(best[index], _slow_best(selection[rows], family.outcome[rows]))
        np.testing.assert_allclose(best[index], choose_best(selection[rows], family.outcome[rows]).values)


def test_what_is_left_out_and_what_a_best_is_of_is_said():
    table = study({"a": 0.0, "b": 0.1})
    trials = table.trials
    one = (trials["family"] == "b") & (trials["seed"] == 2) & (trials["batch_size"] == 16)
    gone = (trials["family"] == "a") & (trials["batch_size"] == 256)
    fewer = (trials["family"] == "a") & (trials["temperature"] == 0.5) & (trials["batch_size"] == 64)
    table = replace(table, trials=trials[~(gone | fewer | (one & (trials["temperature"] == 0.1)))])
    mean, best = row(table, "b", "mean"), row(table, "b", "best")
    assert mean["reason"] == "1 shared setting of one side only left out; 1 pair left out: trials missing"
    assert best["reason"].startswith("best of 2 settings against 1 to 2; 1 shared setting")
    assert (mean["n_pairs"], mean["n_seeds"], best["n_seeds"]) == (9, 5, 5)


def test_the_error_of_a_best_knows_how_the_choice_varies():
    """Between the spread of the folds and a jackknife of the whole procedure, by slow loops."""
    table = study({"a": 0.0, "b": 0.0}, noise=0.05, seeds=5)

    def without(seed):
        kept = replace(table, trials=table.trials[table.trials["seed"] != seed])
        return row(kept, "b", "best")["difference"]

    left_out = np.array([without(seed) for seed in range(5)])
    jackknife = math.sqrt(4 / 5 * np.sum((left_out - left_out.mean()) ** 2))
    sides = (cells(table, "digits", family, "linear_top1") for family in "ba")
    found = pairs(*sides, shared=("batch_size",), profile="best")
    folds = found.differences.mean(axis=0).std(ddof=1) / math.sqrt(5)
    assert paired_mean(found, sampled=False).error == pytest.approx(math.sqrt(folds * jackknife), rel=1e-12)
    assert jackknife > 1.1 * folds


def test_a_best_that_is_always_the_same_has_the_error_of_a_mean():
    table = study({"a": 0.0, "b": 0.1}, noise=0.001, seeds=4)
    apart = 0.1 * (table.trials["temperature"] == 0.5)
    columns = {name: table.trials[name] + apart for name in ("linear_top1", "linear_top1_validation")}
    table = replace(table, trials=table.trials.assign(**columns))
    sides = (cells(table, "digits", family, "linear_top1") for family in "ba")
    found = pairs(*sides, shared=("batch_size",), profile="best")
    plain = paired_mean(replace(found, left_out=None), sampled=False)
    assert paired_mean(found, sampled=False).error == pytest.approx(plain.error, rel=1e-9)


def test_a_missing_trial_costs_its_pair_and_not_its_seed():
    table = study({"a": 0.0, "b": 0.1}, seeds=3, noise=0.001, common=0.3)
    trials, batch = table.trials, table.trials["seed"].map(dict(enumerate(BATCHES)))
    gone = (trials["family"] == "b") & (trials["batch_size"] == batch) & (trials["temperature"] == 0.1)
    found = row(replace(table, trials=trials[~gone]), "b")
    assert (found["n_pairs"], found["n_seeds"], found["verdict"]) == (6, 3, "better")
    assert found["difference"] == pytest.approx(0.1, abs=0.005)
    assert found["reason"] == "3 pairs left out: trials missing"
    fewer = trials[(trials["family"] == "a") | (trials["seed"] < 2)]
    assert row(replace(table, trials=fewer), "b")["reason"].endswith("; 1 seed of one side only left out")


def test_a_best_that_did_not_run_on_a_seed_is_not_replaced_by_the_next():
    table = study({"a": 0.0, "b": 0.0}, noise=0.001)
    trials = table.trials.copy()
    top = (trials["family"] == "b") & (trials["temperature"] == 0.5)
    trials.loc[top, ["linear_top1", "linear_top1_validation"]] += 0.2
    missed = top & (trials["seed"] == 3) & (trials["batch_size"] == 16)
    found = row(replace(table, trials=trials[~missed]), "b", "best")
    assert found["difference"] == pytest.approx(0.2, abs=0.005)
    assert found["n_pairs"] == 14


def test_comparisons_do_not_depend_on_the_order_of_rows():
    table = study({"a": 0.0, "b": 0.01, "c": 0.02})
    shuffled = replace(table, trials=table.trials.sample(frac=1.0, random_state=1))
    pd.testing.assert_frame_equal(compare(table, seed=0), compare(shuffled, seed=0), check_exact=True)


@given(floats(-0.05, 0.05), floats(0.001, 0.05), integers(3, 10))
@settings(deadline=None, max_examples=25)
def test_so_many_more_seeds_decide_and_one_fewer_does_not(mean, error, seeds):
    words, reason = verdict(TTest(mean, error, seeds - 1, seeds), margin=0.01)
    assert (words == "undecided") == (decided(TTest(mean, error, seeds - 1, seeds), margin=0.01) is None)
    if not reason.startswith("about"):
        return

    def later(more):
        return decided(TTest(mean, error * math.sqrt(seeds / (seeds + more)), seeds + more - 1, 0), margin=0.01)

    more = int(reason.split()[1].replace(",", ""))
    assert later(more) is not None
    assert all(later(fewer) is None for fewer in range(1, more, max(1, more // 5)))


def test_failures_count_at_the_floor():
    table = study({"a": 0.0, "b": 0.0}, noise=0.001)
    trials = table.trials.copy()
    failed = (trials["family"] == "b") & (trials["batch_size"] == 16)
    trials.loc[failed, ["linear_top1", "linear_top1_validation"]] = math.nan
    trials.loc[failed, "status"] = "diverged"
    found = row(replace(table, trials=trials), "b")
    assert found["difference"] == pytest.approx(-0.2, abs=0.05)


def test_adjusted_p_are_those_of_holm():
    table = study({"a": 0.0, "b": 0.01, "c": 0.002, "d": 0.0})
    found = differences(table)
    mean = found[found["profile"] == "mean"].sort_values("p")
    expected = np.maximum.accumulate(np.minimum(1, mean["p"].to_numpy() * [3, 2, 1]))
    assert mean["p_adjusted"].to_numpy() == pytest.approx(expected)


def test_the_best_profile_is_cross_fitted():
    # Of equal families the one with more settings of its own must not win by the luck of a larger maximum.
    differences = []
    for seed in range(25):
        table = study({"a": 0.0, "b": 0.0}, noise=0.02, seed=seed)
        only = table.trials[(table.trials["family"] == "b") | (table.trials["temperature"] == 0.1)]
        axes = {"a": AXES[:1], "b": AXES}
        differences.append(row(replace(table, trials=only, axes=axes), "b", "best")["difference"])
    assert np.mean(differences) == pytest.approx(0, abs=3 * 0.02 * math.sqrt(2 / (15 * 25)))


@pytest.mark.parametrize("own_seed_sd", [0.0, 0.02])
@pytest.mark.parametrize("sampled", [False, True])
def test_equal_families_are_rarely_told_apart(own_seed_sd, sampled):
    rng, told = np.random.default_rng(0), 0
    for _ in range(600):
        values = rng.normal(0, 0.02, (5, 3)) + rng.normal(0, own_seed_sd, 3) + rng.normal(0, 0.02 * sampled, (5, 1))
        mean = paired_mean(Pairs(values, ""), sampled=sampled)
        told += decided(TTest(mean.estimate, mean.error, mean.df, 3), margin=1e-6) in ("better", "worse")
    assert told <= 0.06 * 600 + 6


def test_without_a_reference_there_are_no_rows_and_all_columns():
    found = compare(replace(study({"a": 0.0, "b": 0.1}), reference=None), seed=0)
    assert found.empty
    assert list(found.columns) == list(COLUMNS)


def test_holm_multiplies_the_smallest_p_most():
    rows = adjusted([{"p": 0.03}, {"p": math.nan}, {"p": 0.01}, {"p": 0.02}, {"p": 0.9}])
    assert [row["p_adjusted"] for row in rows] == pytest.approx([0.06, math.nan, 0.04, 0.06, 0.9], nan_ok=True)


def test_where_all_axes_are_shared_there_is_no_best_of_the_others():
    private = study({"a": 0.0, "b": 0.02})
    assert set(differences(private)["profile"]) == {"mean", "best"}
    assert set(differences(replace(private, shared=("batch_size", "temperature")))["profile"]) == {"mean"}
