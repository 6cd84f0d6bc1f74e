import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.comparison import COLUMNS, compare
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


def row(table, family, profile="mean"):
    found = compare(table).set_index(["family", "profile"])
    return found.loc[(family, profile)]


def test_a_common_seed_effect_cancels():
    found = row(study({"a": 0.0, "b": 0.1}, noise=0.0, common=0.2), "b")
    assert found["difference"] == pytest.approx(0.1, abs=1e-12)
    assert found["high"] - found["low"] == pytest.approx(0, abs=1e-9)
    assert found["verdict"] == "better"


def test_the_difference_and_its_interval_are_those_of_a_paired_t_test_on_seed_means():
    from scipy import stats

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


def test_scattered_settings_are_not_paired():
    found = row(replace(study({"a": 0.0, "b": 0.1}), design="sobol"), "b")
    assert found["verdict"] == "undecided"
    assert "settings are a sample" in found["reason"]


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
    found = compare(table)
    mean = found[found["profile"] == "mean"].sort_values("p")
    expected = np.maximum.accumulate(np.minimum(1, mean["p"].to_numpy() * [3, 2, 1]))
    assert mean["p_adjusted"].to_numpy() == pytest.approx(expected)


def test_the_best_profile_is_cross_fitted():
    # Of equal families the one with more settings of its own must not win by the luck of a larger maximum.
    differences = []
    for seed in range(40):
        table = study({"a": 0.0, "b": 0.0}, noise=0.02, seed=seed)
        only = table.trials[(table.trials["family"] == "b") | (table.trials["temperature"] == 0.1)]
        axes = {"a": AXES[:1], "b": AXES}
        differences.append(row(replace(table, trials=only, axes=axes), "b", "best")["difference"])
    assert np.mean(differences) == pytest.approx(0, abs=3 * 0.02 * math.sqrt(2 / (15 * 40)))


def test_equal_families_are_rarely_told_apart():
    verdicts = [row(study({"a": 0, "b": 0}, noise=0.02, seeds=3, seed=k), "b")["verdict"] for k in range(200)]
    assert sum(verdict in ("better", "worse") for verdict in verdicts) <= 0.06 * 200 + 6


def test_without_a_reference_there_are_no_rows_and_all_columns():
    found = compare(replace(study({"a": 0.0, "b": 0.1}), reference=None))
    assert found.empty
    assert list(found.columns) == list(COLUMNS)
