from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from simulated import BATCH_SIZES, GRID, TEMPERATURES, hill, one_row, runs, table

from analysis.estimation.balance import balance
from analysis.estimation.cells import cells
from analysis.estimation.crossfit import choose_best
from analysis.estimation.fitted import fit_family
from analysis.robustness import measures, scorecard


def _failed(rows: pd.DataFrame, where: pd.Series) -> pd.DataFrame:
    outcomes = ["linear_top1", "linear_top1_validation", "z_effective_rank"]
    rows = rows.copy()
    rows.loc[where, outcomes] = np.nan
    rows.loc[where, "status"] = "diverged"
    return rows


def test_failures_lower_the_mass_and_raise_the_regret():
    rows = runs(GRID, hill(GRID), seeds=4, rng=np.random.default_rng(0), noise_sd=0.003)
    near = (rows["temperature"] == TEMPERATURES[1]) & (rows["batch_size"] != 256)
    whole, broken = (measures(table({"f": one}), seed=0) for one in (rows, _failed(rows, near)))
    for reference in ("own", "common"):
        where = {"reference": reference, "tolerance": 0.02}
        before, after = (one_row(one, "near_optimal_mass", **where)["estimate"] for one in (whole, broken))
        assert after < before
        one, other = (one_row(rows, "normalised_regret", reference=reference)["estimate"] for rows in (whole, broken))
        assert other > one + 0.05
    assert one_row(broken, "failure_rate")["estimate"] == pytest.approx(2 / 15)
    assert one_row(broken, "worst_case")["estimate"] == pytest.approx(0.1)
    assert one_row(broken, "best")["n_failed"] == 8


def test_a_few_failures_widen_the_interval_of_the_best_by_less_than_one_more_would_cost():
    rows = runs(GRID, hill(GRID), seeds=5, rng=np.random.default_rng(0), noise_sd=0.003)
    unlucky = (rows["temperature"] == TEMPERATURES[4]) & (rows["seed"] == 0)
    row = one_row(measures(table({"f": _failed(rows, unlucky)}), seed=0), "best")
    one_more = (row["estimate"] - 0.1) / 5
    assert 0.03 < row["high"] - row["low"] < one_more


def test_a_family_that_always_fails_is_last_not_absent():
    good = runs(GRID, hill(GRID), seeds=3, rng=np.random.default_rng(0))
    bad = _failed(good, good["seed"] >= 0)
    both = table({"a_bad": bad, "good": good})
    rows = measures(both, seed=0)
    own = one_row(rows, "near_optimal_mass", "a_bad", reference="own", tolerance=0.01)
    assert np.isnan(own["estimate"])
    assert own["reason"] == "all failed"
    assert np.isnan(one_row(rows, "normalised_regret", "a_bad", reference="own")["estimate"])
    common = one_row(rows, "near_optimal_mass", "a_bad", reference="common", tolerance=0.02)
    assert (common["estimate"], common["high"]) == (0.0, 0.0)
    assert one_row(rows, "search_cost", "a_bad", reference="common", tolerance=0.02)["estimate"] == np.inf
    assert one_row(rows, "normalised_regret", "a_bad", reference="common")["estimate"] == pytest.approx(1.0)
    best = one_row(rows, "best", "a_bad")
    assert (best["estimate"], best["reason"]) == (pytest.approx(0.1), "all failed")
    assert one_row(rows, "seed_sd", "a_bad")["reason"] == "all failed"
    assert scorecard(rows, both)["family"].tolist() == ["good", "a_bad", "untrained"]


def test_families_without_any_outcome_are_there_with_their_reason():
    bad = _failed(runs(GRID, hill(GRID), seeds=3, rng=np.random.default_rng(0)), np.ones(45, dtype=bool))
    nothing = replace(table({"a": bad, "b": bad}), floor=np.nan)
    found = measures(nothing, seed=0)
    assert set(found["family"]) == {"a", "b"}
    said = found[found["estimate"].notna()]
    assert set(said["measure"]) == {"failure_rate"}
    assert (said["estimate"] == 1).all()
    assert (found.loc[found["estimate"].isna(), "reason"] == "all failed").all()


def test_a_best_that_could_not_be_chosen_because_all_failed_says_so():
    good = runs(GRID, hill(GRID), seeds=2, rng=np.random.default_rng(0))
    bad = _failed(good[good["seed"] == good["temperature"].map(TEMPERATURES.index) % 2], good["seed"] >= 0)
    found = measures(replace(table({"bad": bad, "good": good}), floor=0.7), seed=0)
    row = one_row(found, "best", "bad")
    assert np.isnan(row["estimate"])
    assert row["reason"].startswith("all failed")


def test_the_spread_over_seeds_is_that_of_the_runs_that_ended_well():
    rows = runs(GRID, hill(GRID), seeds=6, rng=np.random.default_rng(0), noise_sd=0.01)
    lost = _failed(rows, np.random.default_rng(1).uniform(size=len(rows)) < 0.2)
    row = one_row(measures(table({"f": lost}), seed=0), "seed_sd")
    assert row["low"] < 0.01 < row["high"] < 0.02
    assert row["method"].startswith("runs that ended well")


def test_unknown_degrees_of_freedom_are_not_printed():
    settings = GRID[GRID["batch_size"] == 64]
    rows = runs(settings, hill(settings), seeds=3, rng=np.random.default_rng(0))
    found = measures(table({"f": rows}), seed=0)
    assert one_row(found, "near_optimal_mass", reference="own", tolerance=0.01)["method"].endswith(" 8 df")
    assert not found["method"].str.contains("nan|inf ").any()


def test_a_flat_family_at_chance_is_not_perfectly_robust():
    rng = np.random.default_rng(0)
    chance = runs(GRID, np.full(15, 0.08), seeds=4, rng=rng, noise_sd=0.01)
    good = runs(GRID, hill(GRID), seeds=4, rng=rng)
    rows = measures(table({"chance": chance, "good": good}), seed=0)
    row = one_row(rows, "near_optimal_mass", "chance", reference="own", tolerance=0.02)
    assert np.isnan(row["estimate"])
    assert row["reason"] == "at floor"
    assert one_row(rows, "near_optimal_mass", "chance", reference="common", tolerance=0.02)["estimate"] == 0


def test_one_seed_gives_reasons_instead_of_numbers():
    rows = measures(table({"f": runs(GRID, hill(GRID), seeds=1, rng=np.random.default_rng(0))}), seed=0)
    for measure in ("best", "worst_case", "seed_sd", "near_optimal_mass", "search_cost", "normalised_regret"):
        kept = rows[rows["measure"] == measure]
        assert kept["estimate"].isna().all()
        assert (kept["reason"] == "one seed").all()
    middle = one_row(rows, "interquartile_mean")
    assert np.isfinite(middle["estimate"])
    assert np.isnan(middle["low"])


def test_one_configuration_has_a_value_but_no_shape():
    settings = GRID.iloc[[7]].reset_index(drop=True)
    rows = runs(settings, hill(settings), seeds=4, rng=np.random.default_rng(0))
    found = measures(table({"f": rows}, axes=()), seed=0)
    assert np.isfinite(one_row(found, "best")["low"])
    row = one_row(found, "near_optimal_mass", reference="own", tolerance=0.01)
    assert np.isnan(row["estimate"])
    assert row["reason"] == "one configuration"


def test_missing_trials_are_said_and_do_not_stop_anything():
    rows = runs(GRID, hill(GRID), seeds=4, rng=np.random.default_rng(0))
    kept = rows.drop(index=[3, 20, 33])
    note = one_row(measures(table({"f": kept}), seed=0), "best")["reason"]
    assert note == "3 trials missing"
    without = rows[rows["temperature"] != TEMPERATURES[4]]
    row = one_row(measures(table({"f": without}), seed=0), "best")
    assert row["reason"] == "12 of 15 configurations have trials"
    assert row["n_configs"] == 12


def test_a_configuration_that_fails_half_the_time_is_expected_halfway_to_the_floor():
    rows = runs(GRID, hill(GRID), seeds=4, rng=np.random.default_rng(0), noise_sd=0.003)
    hot = (rows["temperature"] == TEMPERATURES[4]) & (rows["seed"] < 2)
    family = cells(table({"f": _failed(rows, hot)}), "digits", "f", "linear_top1")
    assert family is not None
    expected = fit_family(family, seed=0).outcome.expected
    partly = (GRID["temperature"] == TEMPERATURES[4]).to_numpy()
    np.testing.assert_allclose(expected[partly], (hill(GRID)[partly] + 0.1) / 2, atol=0.01)
    np.testing.assert_allclose(expected[~partly], hill(GRID)[~partly], atol=0.01)


def test_a_family_with_one_seed_does_not_disturb_the_others():
    rng = np.random.default_rng(0)
    old, new = runs(GRID, hill(GRID), seeds=4, rng=rng), runs(GRID, hill(GRID, top=0.91), seeds=1, rng=rng)
    alone, both = measures(table({"old": old}), seed=0), measures(table({"old": old, "new": new}), seed=0)
    # Its own rows, and those from the best of all, for which nothing else competes.
    one, other = (rows[rows["family"] == "old"].reset_index(drop=True) for rows in (alone, both))
    pd.testing.assert_frame_equal(other.drop(columns="reason"), one.drop(columns="reason"), check_exact=True)
    apart = other[other["reason"] != one["reason"]]
    assert set(apart["measure"]) == {"near_optimal_mass", "normalised_regret", "search_cost"}
    assert set(apart["reference"]) == {"common"}
    assert (apart["reason"] == "measured without new: one seed").all()
    overall = one_row(both, "best", "")
    assert overall["reason"].endswith("; measured without new: one seed")
    assert (overall["n_configs"], overall["n_seeds"]) == (15, 4)
    late = both[both["family"] == "new"]
    common = late[late["measure"].isin(["best", "normalised_regret", "near_optimal_mass", "search_cost", "iqr"])]
    assert common[["estimate", "low", "high"]].isna().all(axis=None)
    assert set(common["reason"]) == {"one seed"}


def test_configurations_that_share_no_seeds_have_no_intervals():
    rows = runs(GRID, hill(GRID), seeds=4, rng=np.random.default_rng(0), seed_sd=0.05)
    cold = rows["temperature"] <= TEMPERATURES[1]
    apart = rows[(cold & (rows["seed"] < 2)) | (~cold & (rows["seed"] >= 2))]
    found = measures(table({"f": apart}), seed=0)
    for measure, where in (
        ("best", {}), ("near_optimal_mass", {"reference": "own", "tolerance": 0.01}),
        ("near_optimal_mass", {"reference": "common", "tolerance": 0.01}),
        ("normalised_regret", {"reference": "common"}),
    ):  # fmt: skip
        row = one_row(found, measure, **where)
        assert np.isfinite(row["estimate"])
        assert np.isnan(row["low"])
        assert row["reason"].startswith("trials missing")


@pytest.mark.parametrize(("axis", "levels"), [("temperature", TEMPERATURES), ("batch_size", BATCH_SIZES)])
def test_no_configuration_with_two_seeds_is_not_called_at_floor(axis, levels):
    rows = runs(GRID, hill(GRID), seeds=2, rng=np.random.default_rng(0))
    even = rows[axis].map(levels.index) % 2
    found = measures(table({"f": rows[rows["seed"] == even]}), seed=0)
    for measure in ("best", "near_optimal_mass"):
        kept = found[(found["measure"] == measure) & (found["family"] == "f")]
        assert kept["estimate"].isna().all()
        assert kept["reason"].str.startswith("no configuration has two seeds").all()


def test_a_noisy_family_above_the_floor_is_not_called_at_floor():
    rng = np.random.default_rng(1)
    shaky = runs(GRID, hill(GRID, top=0.3), seeds=3, rng=rng, noise_sd=0.15)
    found = measures(table({"shaky": shaky, "good": runs(GRID, hill(GRID), seeds=3, rng=rng)}), seed=0)
    row = one_row(found, "best", "shaky")
    assert row["low"] < 0.1 < row["estimate"]
    assert np.isfinite(one_row(found, "near_optimal_mass", "shaky", reference="own", tolerance=0.02)["estimate"])


def test_a_configuration_that_never_failed_may_fail_in_a_simulated_run():
    rows = runs(GRID, hill(GRID), seeds=5, rng=np.random.default_rng(0), noise_sd=0.003)
    unlucky = (rows["temperature"] == TEMPERATURES[4]) & (rows["batch_size"] == 16) & (rows["seed"] < 3)
    whole, broken = (
        fit_family(cells(table({"f": one}), "digits", "f", "linear_top1"), seed=0).outcome
        for one in (rows, _failed(rows, unlucky))
    )
    assert not whole.failing.any()
    np.testing.assert_array_equal(whole.simulated, whole.expected)
    chances = [(3 + 3 / 75) / 6 if x == 4 else (3 / 75) / 6 for x in range(15)]
    np.testing.assert_allclose(broken.failing, chances)
    np.testing.assert_allclose(broken.simulated, 0.1 * broken.failing + (1 - broken.failing) * broken.successful)


def test_intervals_of_the_best_cover_where_a_few_runs_fail(monkeypatch):
    monkeypatch.setattr("analysis.robustness.bootstrap.REPLICATES", 60)
    hits = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = runs(GRID, hill(GRID), seeds=5, rng=rng, seed_sd=0.004, noise_sd=0.006)
        lost = rng.uniform(size=len(rows)) < 0.05
        row = one_row(measures(table({"f": _failed(rows, lost)}), seed=0), "best")
        hits.append(row["low"] <= (0.95 * hill(GRID) + 0.05 * 0.1).max() <= row["high"])
    assert np.mean(hits) >= 0.85


def test_a_best_on_fewer_seeds_than_the_rest_is_not_mixed_with_the_rest():
    rng = np.random.default_rng(0)
    few = runs(GRID, hill(GRID), seeds=3, rng=rng, noise_sd=0.003)
    many = runs(GRID, hill(GRID, top=0.6), seeds=10, rng=rng, noise_sd=0.003)
    found = measures(table({"few": few, "many": many}), seed=0)
    assert one_row(found, "best", "")["estimate"] == pytest.approx(hill(GRID).max(), abs=0.005)
    peak = (GRID.iloc[int(np.argmax(hill(GRID)))] == many[GRID.columns]).all(axis=1)
    many.loc[peak, ["linear_top1", "linear_top1_validation"]] += 0.3
    row = one_row(measures(table({"f": many[~peak | (many["seed"] < 3)]}), seed=0), "best")
    assert row["low"] <= 0.3 + hill(GRID, top=0.6).max() <= row["high"]
    assert row["estimate"] == pytest.approx(0.3 + hill(GRID, top=0.6).max(), abs=0.005)


def test_the_best_of_all_has_a_row_of_its_own():
    found = measures(table({"f": runs(GRID, hill(GRID), seeds=4, rng=np.random.default_rng(0))}), seed=0)
    row = one_row(found, "best", "", reference="common")
    assert row["estimate"] == pytest.approx(one_row(found, "best")["estimate"])
    assert np.isnan(row["low"])
    assert row["reason"].startswith("no interval")


def test_a_missing_validation_score_switches_no_family_to_test_images():
    rows = runs(GRID, hill(GRID), seeds=4, rng=np.random.default_rng(0))
    # On the validation images the worst setting is the best: who chooses on test images is seen.
    rows["linear_top1_validation"] = 1 - rows["linear_top1"]
    whole = cells(table({"f": rows}), "digits", "f", "linear_top1")
    rows.loc[0, "linear_top1_validation"] = np.nan
    found = table({"f": rows, "g": rows})
    family = cells(found, "digits", "f", "linear_top1")
    assert family.chosen == whole.chosen == int(np.argmin(hill(GRID)))
    assert np.isnan(family.selection[0, 0])
    assert np.isfinite(family.outcome[0, 0])
    assert measures(found, seed=0)["method"].str.contains("chosen on the outcome").sum() == 0
    empty = table({"f": rows.assign(linear_top1_validation=np.nan)})
    assert cells(empty, "digits", "f", "linear_top1").chosen_on == "linear_top1"
    assert "chosen on the outcome" in one_row(measures(empty, seed=0), "best")["method"]


@pytest.mark.parametrize("missing", [0.0, 0.25])
def test_intervals_of_the_whole_analysis_cover_with_a_validation_column(missing, monkeypatch):
    monkeypatch.setattr("analysis.robustness.bootstrap.REPLICATES", 60)
    truth, hits = hill(GRID), {"best": [], "mass": []}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = runs(GRID, truth, seeds=4, rng=rng, seed_sd=0.01, noise_sd=0.005)
        found = table({"f": rows[rng.uniform(size=len(rows)) >= missing]})
        results = measures(found, seed=0)
        family = cells(found, "digits", "f", "linear_top1")
        settings = family.settings.merge(GRID.assign(truth=truth))["truth"].to_numpy()
        row = one_row(results, "best")
        chosen = choose_best(balance(family.selection, family.failed, family.blocks).column, family.outcome)
        expected = np.nanmean(chosen.read(settings[:, None]))
        hits["best"].append(row["low"] <= expected <= row["high"])
        row = one_row(results, "near_optimal_mass", reference="own", tolerance=0.01)
        hits["mass"].append(row["low"] <= np.mean(settings >= settings.max() - 0.01) <= row["high"])
    assert np.mean(hits["best"]) >= 0.85
    assert np.mean(hits["mass"]) >= 0.9
