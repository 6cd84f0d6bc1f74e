from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from simulated import AXES, GRID, TEMPERATURES, hill, one_row, runs, scattered, study, table

from analysis.robustness import COLUMNS, mass_curve, measures, scorecard
from analysis.table import Axis, Table


@pytest.fixture(scope="module")
def simulated() -> Table:
    return study(num_families=3, seeds=5)


@pytest.fixture(scope="module")
def found(simulated: Table) -> pd.DataFrame:
    return measures(simulated, seed=0)


def _noiseless(seeds: int = 2) -> pd.DataFrame:
    return runs(GRID, hill(GRID), seeds=seeds, rng=np.random.default_rng(0), noise_sd=0.0)


def test_every_family_has_every_measure_with_an_interval_that_holds_it(found):
    assert tuple(found.columns) == COLUMNS
    assert set(found["family"]) == {"family_0", "family_1", "family_2", ""}
    given = found.dropna(subset=["estimate"])
    bounded = given[~given["reason"].str.startswith("no interval")]
    without = set(given["measure"]) - set(bounded["measure"])
    assert without == {"best_plug_in", *(f"expected_best_{n}" for n in (1, 2, 4, 8))}
    assert (bounded["low"] <= bounded["estimate"]).all()
    assert (bounded["estimate"] <= bounded["high"]).all()
    assert not (given["method"] == "").any()
    shares = given[given["measure"].isin(["near_optimal_mass", "normalised_regret", "failure_rate"])]
    assert shares[["estimate", "low", "high"]].stack().between(0, 1).all()
    missing = found[found["estimate"].isna()]
    assert (missing["reason"] != "").all()


def test_the_crossfitted_best_is_below_the_plug_in_best(found):
    for family in ("family_0", "family_1", "family_2"):
        assert one_row(found, "best", family)["estimate"] <= one_row(found, "best_plug_in", family)["estimate"]


def test_the_true_values_lie_in_the_intervals(found):
    for index in range(3):
        truth = hill(GRID, top=0.93 - 0.01 * index, width=0.1 + 0.1 * index)
        top = hill(GRID, top=0.93, width=0.1).max()
        for reference, best in (("own", truth.max()), ("common", top)):
            for tolerance in (0.005, 0.01, 0.02):
                where = {"reference": reference, "tolerance": tolerance}
                row = one_row(found, "near_optimal_mass", f"family_{index}", **where)
                assert row["low"] <= np.mean(truth >= best - tolerance) <= row["high"]


def test_the_order_of_rows_changes_nothing_and_the_seed_is_used(simulated, found):
    shuffled = replace(simulated, trials=simulated.trials.sample(frac=1.0, random_state=4))
    pd.testing.assert_frame_equal(measures(shuffled, seed=0), found, check_exact=True)
    assert not measures(simulated, seed=1)["low"].equals(found["low"])


def test_families_do_not_change_each_others_own_measures(simulated, found):
    rows = simulated.trials[simulated.trials["family"] == "family_1"]
    alone = measures(replace(simulated, trials=rows, axes={"family_1": AXES}), seed=0)
    own = alone[alone["reference"] == "own"].reset_index(drop=True)
    among = found[(found["reference"] == "own") & (found["family"] == "family_1")].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, among, check_exact=True)


def test_without_noise_every_measure_is_exact():
    rows = measures(table({"f": _noiseless()}), seed=0)
    truth = hill(GRID)
    for measure, value in (
        ("best", truth.max()), ("best_plug_in", truth.max()), ("worst_case", truth.min()), ("seed_sd", 0.0),
    ):  # fmt: skip
        assert one_row(rows, measure)["estimate"] == pytest.approx(value)
    for tolerance in (0.005, 0.01, 0.02):
        row = one_row(rows, "near_optimal_mass", tolerance=tolerance, reference="own")
        share = np.mean(truth >= truth.max() - tolerance)
        assert (row["estimate"], row["low"], row["high"]) == pytest.approx((share, share, share))
    regret = one_row(rows, "normalised_regret", reference="common")["estimate"]
    assert regret == pytest.approx(np.mean(truth.max() - truth) / (truth.max() - 0.1))


def test_the_octave_drop_is_the_least_interpolated_value_within_a_factor_two():
    rows, truth = measures(table({"f": _noiseless()}), seed=0), hill(GRID)
    best = GRID.iloc[int(np.argmax(truth))]
    line = truth[(GRID["batch_size"] == best["batch_size"]).to_numpy()]
    around = np.log([best["temperature"] / 2, best["temperature"] * 2])
    least = np.interp(around, np.log(TEMPERATURES), line).min()
    drop = one_row(rows, "worst_octave_drop", axis="temperature")
    assert drop["estimate"] == pytest.approx(truth.max() - least)
    settings = GRID[GRID["temperature"] == best["temperature"]]
    column = hill(settings)
    half = np.interp(np.log2(best["batch_size"] / 2), np.log2(settings["batch_size"]), column)
    assert one_row(rows, "worst_octave_drop", axis="batch_size")["estimate"] == pytest.approx(truth.max() - half)


def test_the_default_gap_is_to_the_nearest_level_of_the_default():
    row = one_row(measures(table({"f": _noiseless()}), seed=0), "default_gap")
    snapped = (GRID["batch_size"] == 256) & (GRID["temperature"] == TEMPERATURES[2])
    assert "batch_size=256, temperature=0.316" in row["method"]
    assert row["estimate"] == pytest.approx(hill(GRID).max() - hill(GRID)[snapped.to_numpy()].item())


def test_minimising_mirrors_maximising():
    rows = runs(GRID, hill(GRID), seeds=4, rng=np.random.default_rng(0))
    rows = rows.assign(error_rate=-rows["z_effective_rank"], quality=rows["z_effective_rank"])
    up = table({"f": rows})
    up = replace(up, outcome="quality", selection="quality", floor=2.0, tolerances=(0.1, 0.2))
    down = replace(up, outcome="error_rate", selection="error_rate", floor=-2.0, direction="minimize")
    one, other = measures(up, seed=0), measures(down, seed=0)
    level = ["best", "best_plug_in", "best_null", "worst_case", "interquartile_mean", "cvar_10"]
    mirrored = one["measure"].isin(level) | one["measure"].str.startswith("expected_best")
    np.testing.assert_allclose(one.loc[mirrored, "estimate"], -other.loc[mirrored, "estimate"])
    np.testing.assert_allclose(one.loc[mirrored, "low"], -other.loc[mirrored, "high"])
    columns = ["estimate", "low", "high"]
    np.testing.assert_allclose(one.loc[~mirrored, columns], other.loc[~mirrored, columns], atol=1e-9)


def test_losses_without_an_axis_of_their_own_are_measured_over_batch_size():
    settings = GRID[GRID["temperature"] == TEMPERATURES[2]].reset_index(drop=True)
    rows = runs(settings, hill(settings), seeds=4, rng=np.random.default_rng(0), seed_sd=0.01)
    found = measures(table({"f": rows}, axes=AXES[:1]), seed=0)
    row = one_row(found, "near_optimal_mass", reference="own", tolerance=0.02)
    assert row["low"] <= row["estimate"] <= row["high"]


def test_the_curve_rises_and_meets_the_measures(simulated, found):
    curve = mass_curve(simulated, seed=0)
    for (family, reference), rows in curve.groupby(["family", "reference"]):
        for column in ("estimate", "low", "high"):
            assert (np.diff(rows[column]) >= -1e-12).all()
        at = rows[rows["tolerance"] == 0.01].iloc[0]
        where = {"reference": reference, "tolerance": 0.01}
        assert at["estimate"] == one_row(found, "near_optimal_mass", str(family), **where)["estimate"]


def test_the_scorecard_ranks_by_the_common_mass_at_the_middle_tolerance(simulated, found):
    card = scorecard(found, simulated)
    assert card["family"].tolist() == ["family_0", "family_1", "family_2", "untrained"]
    masses = card["near_optimal_mass_0.01"].dropna()
    assert masses.is_monotonic_decreasing
    first = card.iloc[0]
    row = one_row(found, "near_optimal_mass", "family_0", reference="common", tolerance=0.01)
    assert (first["near_optimal_mass_0.01_low"], first["near_optimal_mass_0.01_high"]) == (row["low"], row["high"])
    assert first["best_setting"].startswith("batch_size=")
    untrained = card.iloc[-1]
    assert untrained["best"] == pytest.approx(0.82)
    assert untrained["best_low"] < 0.82 < untrained["best_high"]


def test_a_scattered_design_is_measured_too():
    drawn = scattered(configurations=24)
    rows = measures(drawn, seed=0)
    mass = one_row(rows, "near_optimal_mass", "hill", reference="own", tolerance=0.02)
    assert "Clopper-Pearson" in mass["method"]
    assert mass["low"] < mass["estimate"] < mass["high"]
    drop = one_row(rows, "worst_octave_drop", "hill", axis="temperature")
    assert 0 <= drop["estimate"] < 0.03
    assert one_row(rows, "default_gap", "hill")["estimate"] == pytest.approx(0.0, abs=0.01)


def test_axes_that_are_not_logarithmic_have_no_octaves():
    axes = (AXES[0], Axis("temperature", "linear", TEMPERATURES, 0.05, 2.0, default=0.2))
    row = one_row(measures(table({"f": _noiseless()}, axes=axes), seed=0), "worst_octave_drop", axis="temperature")
    assert np.isnan(row["estimate"])
    assert row["reason"] == "not a log axis"


def test_intervals_beside_failures_say_that_they_undercover():
    rows = {
        name: runs(GRID, hill(GRID), seeds=4, rng=np.random.default_rng(1), failing=share)
        for name, share in (("fine", 0.0), ("failing", 0.05))
    }
    found = measures(table(rows), seed=0)
    told = found[found["reason"].str.contains("a few percent of the runs fail")]
    assert set(told["family"]) == {"failing"}
    assert set(told["measure"]) >= {"best", "default_gap"}
    assert told["low"].notna().all()
