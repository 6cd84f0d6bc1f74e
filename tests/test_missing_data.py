import numpy as np
import pandas as pd
import pytest
from simulated import GRID, TEMPERATURES, hill, one_row, runs, table

from analysis.cells import cells
from analysis.fitted import fit_family
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


def test_a_few_scattered_failures_do_not_drown_the_interval_of_the_best():
    rows = runs(GRID, hill(GRID), seeds=5, rng=np.random.default_rng(0), noise_sd=0.003)
    unlucky = (rows["temperature"] == TEMPERATURES[4]) & (rows["seed"] == 0)
    row = one_row(measures(table({"f": _failed(rows, unlucky)}), seed=0), "best")
    assert row["high"] - row["low"] < 0.03


def test_a_family_that_always_fails_is_last_not_absent():
    good = runs(GRID, hill(GRID), seeds=3, rng=np.random.default_rng(0))
    bad = _failed(good, good["seed"] >= 0)
    both = table({"a_bad": bad, "good": good})
    rows = measures(both, seed=0)
    own = one_row(rows, "near_optimal_mass", "a_bad", reference="own", tolerance=0.01)
    assert np.isnan(own["estimate"])
    assert own["reason"] == "at floor"
    assert np.isnan(one_row(rows, "normalised_regret", "a_bad", reference="own")["estimate"])
    common = one_row(rows, "near_optimal_mass", "a_bad", reference="common", tolerance=0.02)
    assert (common["estimate"], common["high"]) == (0.0, 0.0)
    assert one_row(rows, "search_cost", "a_bad", reference="common", tolerance=0.02)["estimate"] == np.inf
    assert one_row(rows, "normalised_regret", "a_bad", reference="common")["estimate"] == pytest.approx(1.0)
    assert one_row(rows, "best", "a_bad")["estimate"] == pytest.approx(0.1)
    assert scorecard(rows, both)["family"].tolist() == ["good", "a_bad", "untrained"]


def test_a_flat_family_at_chance_is_not_perfectly_robust():
    rng = np.random.default_rng(0)
    chance = runs(GRID, np.full(15, 0.1), seeds=4, rng=rng, noise_sd=0.01)
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
