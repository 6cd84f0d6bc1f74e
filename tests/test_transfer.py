import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers
from simulated import GRID, hill, runs, table

from analysis.comparison.friedman import COLUMNS as FRIEDMAN_COLUMNS
from analysis.comparison.friedman import critical_difference, friedman
from analysis.comparison.transfer import (
    COLUMNS,
    rank_correlation,
    top_overlap,
    transfer,
    transfer_between,
    transferred_regret,
)
from analysis.estimation.cells import cells
from analysis.estimation.crossfit import choose_best, highest_mean


def many(datasets, *, families=3, seeds=3, noise=0.001):
    """Families of falling quality on several data sets."""
    found, parts = None, []
    for index in range(datasets):
        rng = np.random.default_rng(index)
        rows = {
            f"f{k}": runs(GRID, hill(GRID, top=0.93 - 0.02 * k), seeds=seeds, rng=rng, noise_sd=noise)
            for k in range(families)
        }
        found = table(rows)
        parts.append(found.trials.assign(dataset=f"d{index}"))
    return replace(found, trials=pd.concat(parts, ignore_index=True))


@given(integers(0, 10**6), integers(10, 60))
@settings(max_examples=30, deadline=None)
def test_the_rank_correlation_is_the_correlation_of_ranks(seed, count):
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(2, count))
    ranks = [[sum(value > x for x in side) for value in side] for side in (one, other)]
    found = rank_correlation(one, other)
    assert found.estimate == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert -1 < found.low < found.estimate < found.high < 1
    swapped, mirrored = rank_correlation(np.exp(other), one), rank_correlation(one, -other)
    assert (swapped.estimate, swapped.low) == pytest.approx((found.estimate, found.low))
    assert (-mirrored.high, -mirrored.low) == pytest.approx((found.low, found.high))


def test_its_interval_covers_the_correlation_of_a_normal_sample():
    rho, hits = 0.6, []
    true = 6 / math.pi * math.asin(rho / 2)
    for seed in range(400):
        x, y = np.random.default_rng(seed).multivariate_normal([0, 0], [[1, rho], [rho, 1]], 40).T
        found = rank_correlation(x, y)
        hits.append(found.low <= true <= found.high)
    assert 0.92 <= np.mean(hits) <= 0.98


def test_the_overlap_counts_common_members_of_the_best_tenth():
    one = np.arange(30.0)
    assert top_overlap(one, one).estimate == 1.0
    assert top_overlap(one, -one).estimate == 0.0
    other = one.copy()
    other[[27, 5]] = other[[5, 27]]
    found = top_overlap(one, other)
    assert found.estimate == pytest.approx(2 / 3)
    assert 0 < found.low < found.estimate < found.high < 1
    assert "best 3 of 30" in found.method


def test_settings_are_matched_between_data_sets_and_families():
    found = transfer(many(2, families=2))
    assert tuple(found.columns) == COLUMNS
    between = found[(found["family"] == found["other_family"]) & (found["measure"] == "rank_correlation")]
    assert len(between) == 2
    assert (between["estimate"] > 0.9).all()
    assert (between["n_configs"] == 15).all()
    families = found[found["dataset"] == found["other_dataset"]]
    assert "transferred_regret" not in set(families["measure"])
    # Three shared batch sizes are too few to rank.
    assert families["reason"].unique().tolist() == ["fewer than 10 settings in common"]
    assert families["estimate"].isna().all()
    half = many(2, families=1)
    kept = (half.trials["dataset"] == "d0") | (half.trials["temperature"] > 0.06)
    assert transfer(replace(half, trials=half.trials[kept]))["n_configs"].tolist() == [12, 12, 12, 12]


def test_friedman_orders_families_and_needs_eight_data_sets():
    found = friedman(many(8))
    assert tuple(found.columns) == FRIEDMAN_COLUMNS
    assert found["family"].tolist() == ["f0", "f1", "f2"]
    assert found["mean_rank"].tolist() == [1.0, 2.0, 3.0]
    assert found["statistic"].iloc[0] == pytest.approx(16.0)  # N (k - 1) where all data sets agree
    few = friedman(many(7))
    assert few["mean_rank"].isna().all()
    assert set(few["reason"]) == {"fewer than 8 data sets or 3 families on all of them"}


@pytest.mark.parametrize(("families", "quantile"), [(2, 1.960), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_that_of_the_published_table(families, quantile):
    expected = quantile * math.sqrt(families * (families + 1) / (6 * 14))
    assert critical_difference(families, 14) == pytest.approx(expected, rel=5e-4)


def test_an_adaptive_design_has_no_transfer():
    assert transfer(replace(many(2), design="tpe")).empty
    assert friedman(replace(many(8), design="tpe"))["mean_rank"].isna().all()


def test_missing_trials_of_a_good_seed_do_not_change_ranks():
    rng, parts = np.random.default_rng(0), []
    for index in range(2):
        rows = runs(GRID, hill(GRID), seeds=4, rng=rng, noise_sd=1e-5, seed_sd=0.2)
        setting = rows.groupby(["batch_size", "temperature"]).ngroup()
        parts.append(rows[rows["seed"] != (setting * 7 + index) % 5].assign(family="f", dataset=f"d{index}"))
    found = replace(table({"f": parts[0]}), trials=pd.concat(parts, ignore_index=True))
    estimates = transfer(found).set_index("measure")["estimate"]
    assert estimates["rank_correlation"] > 0.98
    assert estimates["top_overlap"] == 1.0


def test_settings_without_common_seeds_are_not_ranked():
    found = many(2, families=1, seeds=4)
    setting = found.trials.groupby(["batch_size", "temperature"]).ngroup()
    kept = found.trials[(found.trials["seed"] < 2) == (setting % 2 == 0)]
    assert set(transfer(replace(found, trials=kept))["reason"]) == {"trials missing"}


def test_families_on_all_data_sets_are_ranked_and_the_others_named():
    found = many(8, families=4)
    trials = found.trials[(found.trials["family"] != "f1") | (found.trials["dataset"] == "d3")]
    rows = friedman(replace(found, trials=trials)).set_index("family")
    assert rows["mean_rank"].to_dict() == pytest.approx({"f0": 1, "f2": 2, "f3": 3, "f1": math.nan}, nan_ok=True)
    assert rows["reason"].to_dict() == dict.fromkeys(("f0", "f2", "f3"), "not on every data set: f1") | {
        "f1": "not on every data set"
    }
    assert rows["n_datasets"].tolist() == [8] * 4


def test_families_on_fewer_seeds_are_ranked_as_if_they_had_run_on_all():
    found = many(8)
    luck = found.trials["seed"].map({0: -0.3, 1: 0.0, 2: 0.3})
    trials = found.trials.assign(linear_top1=found.trials["linear_top1"] + luck)
    trials = trials[(trials["family"] != "f2") | (trials["seed"] > 0)]
    assert friedman(replace(found, trials=trials))["family"].tolist() == ["f0", "f1", "f2"]


def peaked(best, *, seeds=5, noise=0.0, rng=None, dataset="d", **changes):
    """One family whose outcome falls by .01 for each setting of 15 away from its best."""
    truth = 0.9 - 0.01 * np.abs(np.arange(len(GRID)) - best)
    rows = runs(GRID, truth, seeds=seeds, rng=rng or np.random.default_rng(0), noise_sd=noise, seed_sd=0.02)
    found = table({"f": rows})
    return replace(found, trials=found.trials.assign(dataset=dataset), **changes)


def both(one, other):
    return replace(one, trials=pd.concat([one.trials, other.trials], ignore_index=True))


def regrets(found):
    rows = found[found["measure"] == "transferred_regret"]
    return rows.set_index(["dataset", "other_dataset"])["estimate"].to_dict()


@given(integers(0, 14), integers(0, 14))
@settings(max_examples=20, deadline=None)
def test_a_moved_setting_costs_what_it_is_worse_by(here, there):
    found = transfer(both(peaked(here, dataset="a"), peaked(there, dataset="b")))
    expected = 0.01 * abs(here - there)
    assert regrets(found) == pytest.approx({("a", "b"): expected, ("b", "a"): expected}, abs=1e-12)


def test_the_cost_of_moving_is_that_of_the_place_where_the_setting_is_used():
    steep = peaked(3, dataset="a")
    steep = replace(steep, trials=steep.trials.assign(linear_top1=2 * steep.trials["linear_top1"]))
    assert regrets(transfer(both(steep, peaked(8, dataset="b")))) == pytest.approx(
        {
            ("a", "b"): 0.10,
            ("b", "a"): 0.05,
        }
    )


def test_less_is_better_where_the_outcome_says_so():
    sides = [peaked(best, dataset=name) for best, name in ((2, "a"), (6, "b"))]
    found = both(*sides)
    columns = {name: -found.trials[name] for name in ("linear_top1", "linear_top1_validation")}
    flipped = replace(found, trials=found.trials.assign(**columns), direction="minimize", floor=0.0)
    assert regrets(transfer(flipped)) == pytest.approx(regrets(transfer(found)))


def test_a_setting_that_is_not_there_cannot_be_moved():
    here, there = peaked(3, noise=1e-5, dataset="a"), peaked(0, noise=1e-5, dataset="b")
    first = GRID.iloc[0]
    is_first = (here.trials["temperature"] == first["temperature"]) & (here.trials["batch_size"] == first["batch_size"])
    found = transfer(both(replace(here, trials=here.trials[~is_first]), there))
    rows = found[found["measure"] == "transferred_regret"].set_index("dataset")
    assert rows.loc["a", "estimate"] == pytest.approx(0.02, abs=1e-4)  # best there without it: 1
    assert rows.loc["a", "reason"] == "chosen without 1 setting of one side only"
    assert rows.loc["b", "estimate"] == pytest.approx(0.03, abs=1e-4)
    assert rows.loc["b", "reason"] == ""


def test_two_seeds_say_nothing_about_moving():
    found = transfer(both(peaked(3, seeds=2, dataset="a"), peaked(4, noise=1e-5, dataset="b")))
    rows = found[found["measure"] == "transferred_regret"].set_index("dataset")
    assert rows["reason"].to_dict() == {"a": "fewer than 3 seeds", "b": ""}


@pytest.mark.parametrize("seeds", [3, 10])
def test_the_interval_of_a_moved_setting_covers_what_it_costs(seeds):
    hits = []
    for draw in range(300):
        rng = np.random.default_rng([seeds, draw])
        sides = [peaked(best, seeds=seeds, noise=0.01, rng=rng, dataset=name) for best, name in ((5, "a"), (9, "b"))]
        here, there = (cells(side, side.datasets[0], "f", "linear_top1") for side in sides)
        found = transferred_regret(here, there)
        worth = 0.9 - 0.01 * np.abs(np.arange(15) - 5)
        chosen = int(highest_mean(there.selection))
        left_out = choose_best(here.selection, here.outcome)
        expected = np.mean(left_out.read(np.repeat(worth[:, None], seeds, axis=1))) - worth[chosen]
        hits.append(found.low <= expected <= found.high)
    assert np.mean(hits) >= 0.92


def test_studies_side_by_side_transfer_in_both_directions():
    one, other = peaked(2, dataset="a"), peaked(7, dataset="a", outcome="linear_top1")
    found = transfer_between(one, other)
    costs = found[found["measure"] == "transferred_regret"]
    assert costs["is_reversed"].tolist() == [False, True]
    assert costs["estimate"].tolist() == pytest.approx([0.05, 0.05])
    assert not found.loc[found["measure"] != "transferred_regret", "is_reversed"].any()
    at_one = other.trials["temperature"] == GRID["temperature"].iloc[0]
    narrow = replace(other, trials=other.trials[at_one], axes={"f": other.axes["f"][:1]})
    assert set(transfer_between(one, narrow)["reason"]) >= {"other axes"}
