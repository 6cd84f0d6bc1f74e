from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from simulated import AXES, BATCH_SIZES, GRID, TEMPERATURES, hill, runs, scattered, study, table

from analysis.profiles import profiles
from analysis.surfaces import COLUMNS, RESOLUTION, plane, surfaces
from analysis.table import Axis

GAMMA = Axis("gamma", "log2", (1, 16), 1.0, 16.0)


def test_a_grid_surface_is_the_cell_means():
    found = study(num_families=2)
    rows = surfaces(found, "linear_top1")
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
        found = surfaces(table({"f": rows}), "linear_top1")
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
    accuracy, failed = surfaces(found, "linear_top1"), surfaces(found, "failed")
    assert accuracy["estimate"].iloc[0] == pytest.approx(0.1)
    assert failed["estimate"].tolist() == [1.0] + [0.0] * 14
    assert (failed["standard_error"] > 0).all()


def test_a_family_that_always_fails_has_a_surface_at_the_floor():
    rows = runs(GRID, hill(GRID), seeds=2, rng=np.random.default_rng(0), failing=1.0)
    good = runs(GRID, hill(GRID), seeds=2, rng=np.random.default_rng(1))
    found = surfaces(table({"bad": rows, "good": good}), "linear_top1")
    assert found.loc[found["family"] == "bad", "estimate"].tolist() == [0.1] * 15


def test_other_axes_are_averaged_and_held_at_the_best():
    settings = pd.concat([GRID.assign(gamma=gamma) for gamma in (1, 16)], ignore_index=True)
    truth = hill(settings) + 0.02 * (settings["gamma"] == 16).to_numpy()
    rows = runs(settings, truth, seeds=2, rng=np.random.default_rng(0), noise_sd=1e-4)
    found = surfaces(table({"f": rows}, axes=(*AXES, GAMMA)), "linear_top1")
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
    rows = surfaces(found, "linear_top1")
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
    rows = surfaces(found, "linear_top1")
    sampled = found.trials["temperature"]
    assert rows["x"].min() == pytest.approx(sampled.min())
    assert rows["x"].max() == pytest.approx(sampled.max())


def test_a_surrogate_that_explains_nothing_says_so():
    rng = np.random.default_rng(1)
    found = scattered(configurations=30, truth=lambda settings: 0.5 + 0.02 * rng.normal(size=len(settings)))
    method = surfaces(found, "linear_top1")["method"].iloc[0]
    assert "not to be trusted" in method


def test_too_few_points_carry_no_surface():
    rows = surfaces(scattered(configurations=3), "linear_top1")
    assert rows["estimate"].isna().all()
    assert rows["method"].str.contains("3 configurations are too few").all()


def test_a_scattered_probability_of_failure_stays_a_probability():
    found = scattered(configurations=20)
    hot = found.trials["temperature"] > 1.0
    found.trials.loc[hot, "status"] = "diverged"
    rows = surfaces(found, "failed")
    assert rows["estimate"].dropna().between(0, 1).all()
    assert rows.loc[rows["x"] > 1.5, "estimate"].mean() > rows.loc[rows["x"] < 0.3, "estimate"].mean() + 0.5


def test_an_outcome_that_is_better_when_smaller_keeps_its_sign():
    found = study(num_families=1)
    loss = found.trials.assign(final_loss=1 - found.trials["linear_top1"])
    rows = surfaces(replace(found, trials=loss), "final_loss")
    np.testing.assert_allclose(rows["estimate"], 1 - surfaces(found, "linear_top1")["estimate"])


def test_surfaces_do_not_depend_on_the_order_of_rows():
    for found in (study(num_families=1, failing=0.1), scattered(configurations=15)):
        shuffled = replace(found, trials=found.trials.sample(frac=1.0, random_state=3))
        pd.testing.assert_frame_equal(
            surfaces(found, "linear_top1"), surfaces(shuffled, "linear_top1"), check_exact=True
        )


def test_profile_means_equal_group_means_on_a_complete_grid():
    found = study(num_families=2)
    rows = profiles(found, "linear_top1")
    assert len(rows) == 2 * (3 + 5)
    for row in rows.itertuples():
        own = found.trials[(found.trials["family"] == row.family) & (found.trials[row.axis] == row.value)]
        assert row.estimate == pytest.approx(own["linear_top1"].mean())
        assert row.low < row.estimate < row.high
        assert row.n == len(own)


def test_profile_intervals_cover_with_a_common_seed_effect():
    hits, truth = [], hill(GRID)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        rows = profiles(table({"f": runs(GRID, truth, seeds=3, rng=rng, seed_sd=0.02)}), "linear_top1")
        for row in rows.itertuples():
            mean = truth[(GRID[row.axis] == row.value).to_numpy()].mean()
            hits.append(row.low <= mean <= row.high)
    assert np.mean(hits) >= 0.92


def test_a_scattered_profile_follows_the_function():
    rows = profiles(scattered(), "linear_top1")
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
        surface = surfaces(found, outcome)
        best, mean = (surface[surface["others"] == others] for others in ("best", "mean"))
        assert best["num_failed"].tolist() == [0] * 15
        assert mean.loc[mean["y"] == 16, "num_failed"].tolist() == [3] * 5
        assert mean["num_failed"].sum() == 15


def test_a_family_without_axes_has_a_surface_of_one_cell():
    settings = GRID.iloc[[7]].reset_index(drop=True)
    rows = runs(settings, hill(settings), seeds=4, rng=np.random.default_rng(0))
    surface = surfaces(table({"f": rows}, axes=()), "linear_top1")
    assert len(surface) == 1
    assert surface["estimate"].item() == pytest.approx(rows["linear_top1"].mean())
    assert surface["standard_error"].item() == pytest.approx(rows["linear_top1"].std() / 2)


def test_the_corners_beside_a_diagonal_of_samples_stay_empty():
    rng, u = np.random.default_rng(0), np.linspace(0, 1, 30)
    v = np.clip(u + rng.uniform(-0.05, 0.05, len(u)), 0, 1)
    settings = pd.DataFrame({"batch_size": 16, "temperature": 0.05 * 40**u, "gamma": 2 ** (4 * v)})
    rows = runs(settings, hill(settings), seeds=3, rng=rng, noise_sd=0.003)
    axes = (Axis("temperature", "log", (), 0.05, 2.0), Axis("gamma", "log2", (), 1.0, 16.0))
    surface = surfaces(table({"f": rows}, axes=axes, design="random"), "linear_top1")
    distance = np.log(surface["x"] / 0.05) / np.log(40) - np.log2(surface["y"].astype(float)) / 4
    shown = surface["estimate"].notna()
    assert len(surface) == RESOLUTION**2
    assert (distance[shown].abs() < 0.1).all()
    assert shown[distance.abs() < 0.01].mean() > 0.8
