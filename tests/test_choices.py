from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from simulated import AXES, GRID, TEMPERATURES, hill, one_row, runs, scattered, table

from analysis.estimation.cells import cells
from analysis.estimation.fitted import fit_family
from analysis.robustness import measures
from analysis.robustness.bootstrap import own_errors, simulated
from analysis.robustness.choices import Key, Problem, own_measures
from analysis.robustness.contender import contender
from analysis.robustness.lines import default_line, octave_slices, whole_slices
from analysis.robustness.null import best_null
from analysis.robustness.tunability import joint_gains, tuned_slices

TRUTH = hill(GRID)


def _problem(rows) -> Problem:
    family = cells(table({"f": rows}), "digits", "f", "linear_top1")
    assert family is not None
    default = default_line(family, {"batch_size": 256, "temperature": TEMPERATURES[2]}, None)
    assert default is not None
    slices = {axis.name: octave_slices(family, axis, None) for axis in AXES}
    whole = {axis.name: whole_slices(family, axis, None) for axis in AXES}
    tuned = tuned_slices(family, int(default.members[0]))
    return Problem(fit_family(family, seed=0), slices, default, False, tuned, whole, (0.005, 0.02))


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("failing", [0.0, 0.2])
def test_many_tables_at_once_are_measured_as_one_by_one(missing, failing):
    rng = np.random.default_rng(4)
    rows = runs(GRID, TRUTH, seeds=4, rng=rng, seed_sd=0.01, failing=failing)
    problem = _problem(rows[rng.uniform(size=len(rows)) >= missing])
    selection, outcome, failed = simulated(problem.fitted, rng, 7)
    together = own_measures(problem, selection, outcome, failed)
    for index in range(7):
        alone = own_measures(problem, selection[index], outcome[index], failed[index])
        assert alone.keys() == together.keys()
        for key, value in alone.items():
            np.testing.assert_allclose(value, together[key][index], atol=1e-12, err_msg=str(key))


def test_errors_do_not_depend_on_how_many_tables_are_drawn_at_once(monkeypatch):
    problem = _problem(runs(GRID, TRUTH, seeds=4, rng=np.random.default_rng(0)))
    whole = own_errors(problem, seed=0)
    monkeypatch.setattr("analysis.robustness.bootstrap._AT_ONCE", 300)
    for key, error in own_errors(problem, seed=0).items():
        assert error == pytest.approx(whole[key], rel=0.5, abs=1e-4), key


def test_simulated_tables_follow_the_noise_model():
    problem = _problem(runs(GRID, TRUTH, seeds=5, rng=np.random.default_rng(0), seed_sd=0.02, block_sd=0.01))
    _, outcome, _ = simulated(problem.fitted, np.random.default_rng(1), 4000)
    noise, left = problem.fitted.outcome.noise, outcome - problem.fitted.outcome.expected[:, None]
    assert left.mean() == pytest.approx(0.0, abs=2e-3)
    assert left.var() == pytest.approx(noise.total, rel=0.05)
    same_block = np.mean(left[:, 0] * left[:, 1])
    other_block = np.mean(left[:, 0] * left[:, 14])
    assert (same_block, other_block) == pytest.approx((noise.seed + noise.block, noise.seed), rel=0.1)


def test_gains_of_tuning_are_exact_without_noise():
    found = measures(table({"f": runs(GRID, TRUTH, seeds=2, rng=np.random.default_rng(0), noise_sd=0.0)}), seed=0)
    at = (GRID["batch_size"] == 256) & (GRID["temperature"] == TEMPERATURES[2])
    default, f = TRUTH[at.to_numpy()].item(), TRUTH
    along = {
        "batch_size": f[(GRID["temperature"] == TEMPERATURES[2]).to_numpy()].max() - default,
        "temperature": f[(GRID["batch_size"] == 256).to_numpy()].max() - default,
        "batch_size*temperature": f.max() - default,
    }
    for axis, gain in along.items():
        assert one_row(found, "tuning_gain", axis=axis)["estimate"] == pytest.approx(gain, abs=1e-12)
    joint = one_row(found, "joint_gain", axis="batch_size*temperature")["estimate"]
    singles = along["batch_size"], along["temperature"]
    assert joint == pytest.approx(along["batch_size*temperature"] - max(singles), abs=1e-12)
    assert joint_gains({"a": np.array(1.0), "b": np.array(2.0), "a*b": np.array(5.0)})["a*b"] == 3.0


def test_the_width_of_a_basin_is_interpolated_in_octaves():
    found = measures(table({"f": runs(GRID, TRUTH, seeds=2, rng=np.random.default_rng(0), noise_sd=0.0)}), seed=0)
    best = GRID.iloc[int(np.argmax(TRUTH))]
    line = TRUTH[(GRID["batch_size"] == best["batch_size"]).to_numpy()]
    fine = np.linspace(np.log2(0.05), 1.0, 400001)
    above = np.interp(fine, np.log2(TEMPERATURES), line) >= line.max() - 0.01
    row = one_row(found, "basin_width", axis="temperature", tolerance=0.01)
    assert row["estimate"] == pytest.approx(np.ptp(fine[above]), abs=1e-4)
    assert "octaves" in row["method"]
    assert "censored" not in row["reason"]
    wide = one_row(found, "basin_width", axis="batch_size", tolerance=0.02)
    assert "censored" in wide["reason"]


def test_a_scattered_design_has_basins_from_its_surrogate_and_bands_of_search():
    found = measures(scattered(configurations=24), seed=0)
    row = one_row(found, "basin_width", "hill", axis="temperature", tolerance=0.02)
    assert row["low"] <= row["estimate"] <= row["high"]
    assert row["estimate"] == pytest.approx(2 * np.sqrt(0.02 / 0.15) * np.log2(40.0), rel=0.5)
    best = one_row(found, "expected_best_8", "hill")
    assert best["low"] < best["estimate"] < best["high"]
    assert one_row(found, "tuning_gain", "hill", axis="temperature")["reason"].startswith("scattered design")


def test_the_octave_drop_of_a_scattered_design_starts_at_the_best():
    def cliff(settings, *, side):
        octaves = np.log2(settings["temperature"] / 0.3) * side
        return np.asarray(0.9 - np.where(octaves > 0, 0.2, 0.02) * np.abs(octaves))

    for side in (1, -1):
        rows = measures(scattered(configurations=60, truth=partial(cliff, side=side)), seed=0)
        drop = one_row(rows, "worst_octave_drop", "hill", axis="temperature")
        assert drop["estimate"] == pytest.approx(0.2, abs=0.03)


def test_the_octave_drop_of_a_scattered_design_covers(monkeypatch):
    monkeypatch.setattr("analysis.robustness.bootstrap.REPLICATES", 60)
    hits = []
    for seed in range(12):
        drawn = scattered(configurations=20, seed=seed)
        row = one_row(measures(drawn, seed=0), "worst_octave_drop", "hill", axis="temperature")
        best = pd.DataFrame([cells(drawn, "digits", "hill", "linear_top1").chosen_setting] * 65)
        beside = best.assign(temperature=np.clip(best["temperature"] * np.geomspace(0.5, 2, 65), 0.05, 2.0))
        hits.append(row["low"] <= hill(best)[0] - hill(beside).min() <= row["high"])
    assert np.mean(hits) >= 0.8


def test_the_null_best_is_that_of_configurations_that_do_not_differ():
    rows = runs(GRID, TRUTH, seeds=4, rng=np.random.default_rng(0), noise_sd=0.003)
    family = cells(table({"f": rows}), "digits", "f", "linear_top1")
    assert family is not None
    found = best_null(family, seed=0)
    by_block = [family.outcome[family.blocks == block].mean() for block in range(3)]
    assert found.low < found.estimate < found.high
    assert found.estimate == pytest.approx(max(by_block), abs=0.01)
    assert best_null(family, seed=1).estimate != found.estimate
    flat = np.full(15, 0.8)
    inside = []
    for seed in range(40):
        rows = runs(GRID, flat, seeds=4, rng=np.random.default_rng(seed))
        family = cells(table({"f": rows}), "digits", "f", "linear_top1")
        null = best_null(family, seed=seed)
        best = contender_best(rows)
        inside.append(null.low <= best <= null.high)
    assert np.mean(inside) >= 0.8


def contender_best(rows) -> float:
    family = cells(table({"f": rows}), "digits", "f", "linear_top1")
    return float(own_measures(_bare(family), family.selection, family.outcome, family.failed)[Key("best")])


def _bare(family) -> Problem:
    return Problem(fit_family(family, seed=0), {}, None, False)


def test_adaptive_trials_never_enter_a_measure():
    rng = np.random.default_rng(0)
    rows = runs(GRID, TRUTH, seeds=3, rng=rng)
    grid = table({"f": rows.assign(design="grid")})
    lucky = rows.assign(design="tpe", linear_top1=0.99, linear_top1_validation=0.99)
    mixed = replace(grid, trials=table({"f": rows.assign(design="grid"), "g": lucky}).trials)
    mixed = replace(mixed, axes={"f": AXES, "g": AXES})
    found, alone = measures(mixed, seed=0), measures(grid, seed=0)
    kept = found[found["family"] == "f"].reset_index(drop=True)
    assert kept.equals(alone[alone["family"] == "f"].reset_index(drop=True))
    others = found[found["family"] == "g"]
    assert set(others["measure"]) >= {"best", "near_optimal_mass", "normalised_regret", "iqr", "failure_rate"}
    said = others[others["estimate"].notna()]
    assert set(said["measure"]) == {"best", "failure_rate"}
    assert said["method"].str.contains("exploratory").all()
    assert (others["low"].isna() & (others["reason"] != "")).all()
    assert (others.loc[others["estimate"].isna(), "reason"] == "adaptive design").all()


def test_the_whole_table_may_be_adaptive():
    rows = runs(GRID, TRUTH, seeds=1, rng=np.random.default_rng(0)).assign(design="gp")
    found = measures(table({"f": rows}, design="gp"), seed=0)
    assert set(found["family"]) == {"f"}
    assert one_row(found, "best")["reason"] == "one seed"
    assert one_row(found, "near_optimal_mass", tolerance=0.01, reference="own")["reason"] == "adaptive design"


def test_contender_says_why_there_is_no_gain_without_a_default():
    axes = tuple(replace(axis, default=None) for axis in AXES)
    found = table({"f": runs(GRID, TRUTH, seeds=3, rng=np.random.default_rng(0))}, axes=axes)
    family = cells(found, "digits", "f", "linear_top1")
    assert family is not None
    assert contender(found, fit_family(family, seed=0), 0).default == "no default for batch_size"
    assert one_row(measures(found, seed=0), "tuning_gain", axis="temperature")["reason"] == "no default for batch_size"


def test_what_a_search_finds_stays_within_what_is_possible():
    truth = np.clip(1.2 - hill(GRID.assign(temperature=0.1)) / 4 + 0.2 * np.log(GRID["temperature"]), 0.2, 1.0)
    found = measures(table({"f": runs(GRID, truth.to_numpy(), seeds=3, rng=np.random.default_rng(0))}), seed=0)
    best = found[found["measure"].str.startswith("expected_best")]["estimate"]
    assert best.is_monotonic_increasing
    assert best.max() <= 1.0
