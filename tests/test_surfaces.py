from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from simulated import AXES, BATCH_SIZES, GRID, TEMPERATURES, hill, runs, scattered, study, table

from analysis.estimation.surrogate import fit_surrogate
from analysis.surfaces import COLUMNS, outcomes_of, plane, surfaces
from analysis.surfaces.profiles import profiles
from analysis.surfaces.smooth import RESOLUTION, at_values, averages
from analysis.table import Axis

GAMMA = Axis("gamma", "log2", (1, 16), 1.0, 16.0)


def test_a_grid_surface_is_the_cell_means():
    found = study(num_families=2)
    rows = surfaces(found, "linear_top1", seed=0)
    means = found.trials.groupby(["family", "batch_size", "temperature"])["linear_top1"].mean()
    assert tuple(rows.columns) == COLUMNS
    assert len(rows) == 30
    for row in rows.itertuples():
        assert row.estimate == pytest.approx(means[row.family, row.y, row.x])
    assert set(rows["n"]) == {5}
    assert set(rows["method"]) == {"cell mean"}
    assert (rows["x_axis"] == "temperature").all()
    assert (rows["y_axis"] == "batch_size").all()


def test_the_standard_error_of_a_cell_is_that_of_its_mean_over_seeds():
    errors, sds = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        rows = runs(GRID, hill(GRID), seeds=5, rng=rng, seed_sd=0.02, block_sd=0.01, noise_sd=0.01)
        found = surfaces(table({"f": rows}), "linear_top1", seed=0)
        errors.append(np.mean(found["standard_error"] ** 2))
        sds.append(np.mean(found["seed_sd"] ** 2))
    assert np.mean(errors) == pytest.approx(0.0006 / 5, rel=0.2)
    assert np.mean(sds) == pytest.approx(0.0006, rel=0.2)


def test_failed_cells_count_as_the_floor_and_have_a_surface_of_their_own():
    rows = runs(GRID, hill(GRID), seeds=4, rng=np.random.default_rng(0))
    worst = (rows["temperature"] == TEMPERATURES[0]) & (rows["batch_size"] == 16)
    rows.loc[worst, ["linear_top1", "linear_top1_validation"]] = np.nan
    rows.loc[worst, "status"] = "diverged"
    found = table({"f": rows})
    accuracy, failed = surfaces(found, "linear_top1", seed=0), surfaces(found, "failed", seed=0)
    assert accuracy["estimate"].iloc[0] == pytest.approx(0.1)
    assert failed["estimate"].tolist() == [1.0] + [0.0] * 14
    assert (failed["standard_error"] > 0).all()


def test_a_family_that_always_fails_has_a_surface_at_the_floor():
    rows = runs(GRID, hill(GRID), seeds=2, rng=np.random.default_rng(0), failing=1.0)
    good = runs(GRID, hill(GRID), seeds=2, rng=np.random.default_rng(1))
    found = surfaces(table({"bad": rows, "good": good}), "linear_top1", seed=0)
    assert found.loc[found["family"] == "bad", "estimate"].tolist() == [0.1] * 15


def test_other_axes_are_averaged_and_held_at_the_best():
    settings = pd.concat([GRID.assign(gamma=gamma) for gamma in (1, 16)], ignore_index=True)
    truth = hill(settings) + 0.02 * (settings["gamma"] == 16).to_numpy()
    rows = runs(settings, truth, seeds=2, rng=np.random.default_rng(0), noise_sd=1e-4)
    found = surfaces(table({"f": rows}, axes=(*AXES, GAMMA)), "linear_top1", seed=0)
    cell = (found["x"] == TEMPERATURES[2]) & (found["y"] == 64)
    mean, best = (found.loc[cell & (found["others"] == others), "estimate"].item() for others in ("mean", "best"))
    assert best - mean == pytest.approx(0.01, abs=5e-4)
    assert found.loc[cell, "n"].tolist() == [4, 2]


def test_the_plane_is_the_private_axis_over_batch_size():
    assert plane((*AXES, GAMMA), shared=("batch_size",)).x.name == "temperature"
    assert plane((*AXES, GAMMA), shared=("batch_size",)).y.name == "batch_size"
    assert [axis.name for axis in plane((*AXES, GAMMA), shared=("batch_size",)).others] == ["gamma"]
    assert plane(AXES[:1], shared=("batch_size",)).y is None
    assert plane((AXES[1], GAMMA), shared=()).y.name == "gamma"
    assert plane((), shared=()) is None


def test_a_scattered_surface_recovers_a_smooth_function():
    found = scattered()
    rows = surfaces(found, "linear_top1", seed=0)
    assert len(rows) == RESOLUTION * len(BATCH_SIZES)
    truth = hill(pd.DataFrame({"batch_size": rows["y"].astype(float), "temperature": rows["x"]}))
    shown = rows["estimate"].notna()
    rows, truth = rows[shown], truth[shown]
    offset = (rows["estimate"] - truth).mean()
    assert np.sqrt(np.mean((rows["estimate"] - truth - offset) ** 2)) < 0.003
    assert np.mean(np.abs(rows["estimate"] - truth) <= 3 * rows["standard_error"]) > 0.95
    assert rows["method"].str.match(r"gaussian process, held-out R2 0\.\d\d$").all()


def test_nothing_is_drawn_outside_the_sampled_range():
    found = scattered(configurations=12)
    rows = surfaces(found, "linear_top1", seed=0)
    sampled = found.trials["temperature"]
    assert rows["x"].min() == pytest.approx(sampled.min())
    assert rows["x"].max() == pytest.approx(sampled.max())


def test_a_surrogate_that_explains_nothing_says_so():
    rng = np.random.default_rng(1)
    found = scattered(configurations=30, truth=lambda settings: 0.5 + 0.02 * rng.normal(size=len(settings)))
    method = surfaces(found, "linear_top1", seed=0)["method"].iloc[0]
    assert "not to be trusted" in method


def test_too_few_points_carry_no_surface():
    rows = surfaces(scattered(configurations=3), "linear_top1", seed=0)
    assert rows["estimate"].isna().all()
    assert rows["method"].str.contains("3 configurations are too few").all()


def test_a_scattered_probability_of_failure_stays_a_probability():
    found = scattered(configurations=20)
    hot = found.trials["temperature"] > 1.0
    found.trials.loc[hot, "status"] = "diverged"
    rows = surfaces(found, "failed", seed=0)
    assert rows["estimate"].dropna().between(0, 1).all()
    assert rows.loc[rows["x"] > 1.5, "estimate"].mean() > rows.loc[rows["x"] < 0.3, "estimate"].mean() + 0.5


def test_an_outcome_that_is_better_when_smaller_keeps_its_sign():
    found = study(num_families=1)
    loss = found.trials.assign(final_loss=1 - found.trials["linear_top1"])
    rows = surfaces(replace(found, trials=loss), "final_loss", seed=0)
    np.testing.assert_allclose(rows["estimate"], 1 - surfaces(found, "linear_top1", seed=0)["estimate"])


def test_surfaces_do_not_depend_on_the_order_of_rows():
    for found in (study(num_families=1, failing=0.1), scattered(configurations=15)):
        shuffled = replace(found, trials=found.trials.sample(frac=1.0, random_state=3))
        pd.testing.assert_frame_equal(
            surfaces(found, "linear_top1", seed=0), surfaces(shuffled, "linear_top1", seed=0), check_exact=True
        )


def test_profile_means_equal_group_means_on_a_complete_grid():
    found = study(num_families=2)
    rows = profiles(found, "linear_top1", seed=0)
    assert len(rows) == 2 * (3 + 5)
    for row in rows.itertuples():
        own = found.trials[(found.trials["family"] == row.family) & (found.trials[row.axis] == row.value)]
        assert row.estimate == pytest.approx(own["linear_top1"].mean())
        assert row.low < row.estimate < row.high
        assert row.n == len(own)


def test_a_scattered_profile_follows_the_function():
    rows = profiles(scattered(), "linear_top1", seed=0)
    temperature = rows[rows["axis"] == "temperature"]
    assert len(temperature) == RESOLUTION
    peak = temperature.loc[temperature["estimate"].idxmax(), "value"]
    assert 0.1 < peak < 0.45


def test_slices_at_the_best_show_one_setting_and_its_own_failures_for_every_outcome():
    settings = pd.concat([GRID.assign(gamma=gamma) for gamma in (1, 16)], ignore_index=True)
    truth = hill(settings) + 0.02 * (settings["gamma"] == 16).to_numpy()
    rows = runs(settings, truth, seeds=3, rng=np.random.default_rng(0), noise_sd=1e-4)
    broken = (rows["gamma"] == 1) & (rows["batch_size"] == 16)
    rows.loc[broken, ["linear_top1", "linear_top1_validation", "z_effective_rank"]] = np.nan
    rows.loc[broken, "status"] = "diverged"
    rows["z_effective_rank"] = -rows["z_effective_rank"]  # by rank alone gamma 1 would be best
    found = table({"f": rows}, axes=(*AXES, GAMMA))
    for outcome in ("linear_top1", "z_effective_rank", "failed"):
        surface = surfaces(found, outcome, seed=0)
        best, mean = (surface[surface["others"] == others] for others in ("best", "mean"))
        assert best["num_failed"].tolist() == [0] * 15
        assert mean.loc[mean["y"] == 16, "num_failed"].tolist() == [3] * 5
        assert mean["num_failed"].sum() == 15


def test_a_family_without_axes_has_a_surface_of_one_cell():
    settings = GRID.iloc[[7]].reset_index(drop=True)
    rows = runs(settings, hill(settings), seeds=4, rng=np.random.default_rng(0))
    surface = surfaces(table({"f": rows}, axes=()), "linear_top1", seed=0)
    assert len(surface) == 1
    assert surface["estimate"].item() == pytest.approx(rows["linear_top1"].mean())
    assert surface["standard_error"].item() == pytest.approx(rows["linear_top1"].std() / 2)


def test_the_corners_beside_a_diagonal_of_samples_stay_empty():
    rng, u = np.random.default_rng(0), np.linspace(0, 1, 30)
    v = np.clip(u + rng.uniform(-0.05, 0.05, len(u)), 0, 1)
    settings = pd.DataFrame({"batch_size": 16, "temperature": 0.05 * 40**u, "gamma": 2 ** (4 * v)})
    rows = runs(settings, hill(settings), seeds=3, rng=rng, noise_sd=0.003)
    axes = (Axis("temperature", "log", (), 0.05, 2.0), Axis("gamma", "log2", (), 1.0, 16.0))
    surface = surfaces(table({"f": rows}, axes=axes, design="random"), "linear_top1", seed=0)
    distance = np.log(surface["x"] / 0.05) / np.log(40) - np.log2(surface["y"].astype(float)) / 4
    shown = surface["estimate"].notna()
    assert len(surface) == RESOLUTION**2
    assert (distance[shown].abs() < 0.1).all()
    assert shown[distance.abs() < 0.01].mean() > 0.8


def test_averages_of_a_surrogate_and_their_variances_are_those_of_its_joint_distribution():
    rng = np.random.default_rng(0)
    points, noise = rng.uniform(size=(20, 3)), np.full(20, 1e-3)
    categories = Axis("kernel", None, ("a", "b"), np.nan, np.nan)
    axes = (Axis("u", "linear", (), 0.0, 2.0), categories)
    for means, unknown in ((np.sin(3 * points[:, 0]), False), (np.sin(3 * points[:, 0]), True), (np.ones(20), False)):
        fit = fit_surrogate(points, means, np.full(20, np.nan) if unknown else noise, seed=0, restarts=0)
        at = at_values(at_values(points[:7], axes, axes[0], [0.5, 2.0]), axes, categories, ["a", "b"])
        assert at.shape == (2, 2, 7, 3)
        np.testing.assert_array_equal(at[1, 0, :, 0], 1.0)
        np.testing.assert_allclose(at[0, 1, 3], [0.25, 0.0, np.sqrt(0.5)])
        found, variance = averages(fit, at.reshape(4, 7, 3))
        for index, group in enumerate(at.reshape(4, 7, 3)):
            assert found[index] == pytest.approx(fit.mean(group).mean())
            assert variance[index] == pytest.approx(max(fit.covariance(group).mean(), 0.0), abs=1e-9)


def test_a_mean_over_other_axes_has_the_error_of_its_seed_means():
    settings = pd.concat([GRID.assign(gamma=gamma) for gamma in (1, 16)], ignore_index=True)
    rows = runs(settings, hill(settings), seeds=4, rng=np.random.default_rng(0), seed_sd=0.01)
    found = surfaces(table({"f": rows}, axes=(*AXES, GAMMA)), "linear_top1", seed=0)
    one = found[(found["others"] == "mean") & (found["x"] == TEMPERATURES[1]) & (found["y"] == 64)].iloc[0]
    inside = rows[(rows["temperature"] == TEMPERATURES[1]) & (rows["batch_size"] == 64)]
    per_seed = inside.groupby("seed")["linear_top1"].mean()
    assert one["standard_error"] == pytest.approx(per_seed.std() / 2)
    assert one["seed_sd"] == pytest.approx(per_seed.std())


@pytest.mark.parametrize("seed_sd", [0.0, 0.02])
@pytest.mark.parametrize("seeds", [3, 5])
def test_profile_intervals_cover_as_often_as_they_say(seeds, seed_sd):
    hits, truth = [], hill(GRID)
    for seed in range(150):
        rng = np.random.default_rng(seed)
        rows = profiles(table({"f": runs(GRID, truth, seeds=seeds, rng=rng, seed_sd=seed_sd)}), "linear_top1", seed=0)
        rows = rows[rows["axis"] == "batch_size"]
        mean = np.array([truth[(GRID["batch_size"] == value).to_numpy()].mean() for value in rows["value"]])
        hits.append((rows["low"] <= mean) & (mean <= rows["high"]))
    assert 0.92 <= np.mean(hits) <= 0.98


def test_what_a_search_explored_is_marked_and_kept_apart():
    found = study(num_families=2)
    searched = np.where(found.trials["family"] == "family_1", "tpe", None)
    rows = surfaces(replace(found, trials=found.trials.assign(design=searched)), "linear_top1", seed=0)
    along = profiles(replace(found, trials=found.trials.assign(design=searched)), "linear_top1", seed=0)
    for frame, whole in (
        (rows, surfaces(found, "linear_top1", seed=0)),
        (along, profiles(found, "linear_top1", seed=0)),
    ):
        apart = frame["family"] == "family_1"
        assert apart.any()
        assert frame.loc[apart, "method"].str.endswith("; exploratory").all()
        assert not frame.loc[~apart, "method"].str.contains("exploratory").any()
        own = whole[whole["family"] == "family_0"].reset_index(drop=True)
        pd.testing.assert_frame_equal(frame[~apart].reset_index(drop=True), own, check_dtype=False)


def test_surfaces_are_of_what_was_measured():
    found = study(num_families=1)
    assert outcomes_of(found) == ("linear_top1", "z_effective_rank")
    bare = found.trials.drop(columns="z_effective_rank")
    bare.loc[0, "status"] = "diverged"
    assert outcomes_of(replace(found, trials=bare)) == ("linear_top1", "failed")


def test_too_few_scattered_configurations_have_a_profile_of_one_reason():
    rows = profiles(scattered(configurations=3), "linear_top1", seed=0)
    assert rows["reason"].tolist() == ["3 configurations are too few"] * 2
    assert rows["estimate"].isna().all()


def test_a_profile_is_not_moved_by_what_ran_at_other_levels_of_another_axis():
    # The outcome depends on temperature alone, and cold ones did not run at the smallest batch size.
    truth = (0.9 - 0.1 * (np.log(GRID["temperature"]) - np.log(0.3)) ** 2).to_numpy()
    rows = runs(GRID, truth, seeds=4, rng=np.random.default_rng(0), noise_sd=0.002)
    rows = rows[~((rows["batch_size"] == BATCH_SIZES[0]) & (rows["temperature"] < 0.2))]
    found = profiles(table({"f": rows}), "linear_top1", seed=0)
    flat = found[found["axis"] == "batch_size"]
    assert np.ptp(flat["estimate"]) < 0.01
    assert ((flat["low"] <= truth.mean()) & (truth.mean() <= flat["high"])).all()
    whole_grid = profiles(study(), "linear_top1", seed=0)
    assert whole_grid["method"].str.startswith("mean over seeds").all()
    assert flat["method"].str.startswith("gaussian process").all()
