import math
import subprocess
import sys
from decimal import Decimal
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from simulated import study

from analysis.estimation.cells import cells
from analysis.table import OUTCOME_INFINITE, OUTCOME_MISSING, TableError
from analysis.table.exploratory import only_exploratory, split
from analysis.table.tidy import from_file, from_frame
from robustness.trial import Status

AXES = "batch_size:log2,temperature:log"
ROLES = {"axes": AXES, "outcome": "linear_top1", "group": "family", "replicate": "seed"}


def rows(**changes):
    """Two families of 15 configurations and 3 seeds."""
    trials = study(num_families=2, seeds=3).trials
    return trials[["family", "seed", "batch_size", "temperature", "linear_top1"]].assign(**changes)


def test_a_frame_becomes_a_grid_with_its_axes():
    table = from_frame(rows(), **ROLES, reference="family_1")
    assert (table.design, table.shared, table.datasets) == ("grid", ("batch_size", "temperature"), ("data",))
    first, second = table.axes["family_0"]
    assert (first.name, first.scale, first.levels, first.low, first.high) == (
        "batch_size", "log2", (16, 64, 256), 16.0, 256.0,
    )  # fmt: skip
    assert (second.scale, len(second.levels)) == ("log", 5)
    assert table.floor == rows()["linear_top1"].min()
    assert (table.tolerances, table.equivalence) == ((0.005, 0.01, 0.02), 0.01)


def test_files_and_frames_give_the_same_table_in_any_order(tmp_path):
    frame = rows()
    expected = from_frame(frame, **ROLES).trials
    shuffled = frame.sample(frac=1.0, random_state=1)
    shuffled.to_csv(tmp_path / "runs.csv", index=False)
    shuffled.to_parquet(tmp_path / "runs.parquet", index=False)
    for name in ("runs.csv", "runs.parquet"):
        pd.testing.assert_frame_equal(from_file(tmp_path / name, **ROLES).trials, expected, rtol=1e-12)


def test_without_roles_there_is_one_family_one_data_set_and_one_seed():
    one = rows().query("family == 'family_0' and seed == 1")
    table = from_frame(one, axes=AXES, outcome="linear_top1")
    assert list(table.axes) == ["all"]
    assert table.trials["seed"].unique().tolist() == [0]
    with pytest.raises(TableError, match=r"all: batch_size=16, temperature=0.05: expected one outcome, got"):
        from_frame(rows(), axes=AXES, outcome="linear_top1")


def test_words_are_categories_and_scattered_points_have_no_levels():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"lr": 10 ** rng.uniform(-4, -1, 60), "kernel": rng.choice(["rbf", "None"], 60), "y": 0.5})
    table = from_frame(frame, axes="lr:log,kernel", outcome="y")
    lr, kernel = table.axes["all"]
    assert (table.design, lr.levels, lr.low) == ("random", (), float(f"{frame['lr'].min():.12g}"))
    assert (kernel.scale, kernel.levels) == (None, ("None", "rbf"))
    named = from_frame(frame.assign(design="sobol"), axes="lr:log,kernel", outcome="y")
    assert named.design == "sobol"


def test_a_name_that_looks_like_nothing_stays_a_name_in_a_file(tmp_path):
    pd.DataFrame({"kernel": ["None", "NA", "rbf"], "y": [1.0, 2.0, 3.0]}).to_csv(tmp_path / "a.csv", index=False)
    table = from_file(tmp_path / "a.csv", axes="kernel", outcome="y")
    assert table.axes["all"][0].levels == ("NA", "None", "rbf")


def test_missing_and_infinite_outcomes_are_failures_that_are_told():
    frame = rows()
    frame.loc[0, "linear_top1"] = np.nan
    frame.loc[[1, 2], "linear_top1"] = np.inf
    table = from_frame(frame, **ROLES)
    counts = table.trials["status"].value_counts().to_dict()
    assert (counts[OUTCOME_MISSING], counts[OUTCOME_INFINITE]) == (1, 2)
    family = cells(table, "data", "family_0", "linear_top1")
    assert family.failed.sum() == 3
    assert family.note == "1 outcome missing; 2 outcomes infinite"
    assert (family.outcome[family.failed] == table.floor).all()


def test_true_means_failed_and_words_mean_themselves():
    frame = rows(diverged=False, end="COMPLETE")
    frame.loc[:3, "diverged"] = True
    frame.loc[:1, "end"] = "oom"
    frame.loc[2, "end"] = "PRUNED"
    assert (from_frame(frame, **ROLES, status="diverged").trials["status"] == "failed").sum() == 4
    words = from_frame(frame, **ROLES, status="end").trials["status"].value_counts().to_dict()
    assert words == {"ok": 87, "oom": 2, "stopped": 1}


def test_flags_of_any_kind_mean_the_same(tmp_path):
    failed = rows().index % 7 == 0
    expected = from_frame(rows(bad=failed), **ROLES, status="bad").trials
    assert (expected["status"] == "failed").sum() == failed.sum()
    for true, false in (("True", "False"), ("yes", "no"), ("YES ", "No"), (1, 0), (1.0, 0.0), ("1", "0")):
        frame = rows(bad=np.where(failed, true, false))
        pd.testing.assert_frame_equal(from_frame(frame, **ROLES, status="bad").trials, expected)
        frame.to_csv(tmp_path / "runs.csv", index=False)
        pd.testing.assert_frame_equal(from_file(tmp_path / "runs.csv", **ROLES, status="bad").trials, expected)


def test_every_status_of_the_store_and_of_the_analysis_is_known(tmp_path):
    words = [*get_args(Status), "FAIL", "nan", "crashed", "killed", "oom", OUTCOME_MISSING, OUTCOME_INFINITE]
    frame = rows(end=[*words, *["ok"] * (90 - len(words))])
    frame.to_csv(tmp_path / "runs.csv", index=False)
    table = from_file(tmp_path / "runs.csv", **ROLES, status="end")
    assert set(table.trials["status"]) == {word.lower() for word in words}
    again = from_frame(table.trials, **ROLES, status="status").trials
    assert again["status"].tolist() == table.trials["status"].tolist()


def test_the_floor_is_the_worst_outcome_of_a_trial_that_ended_well():
    frame = rows(end="ok")
    frame.loc[0, ["linear_top1", "end"]] = [0.01, "diverged"]
    frame.loc[1, ["linear_top1", "end"]] = [0.02, "stopped"]
    table = from_frame(frame, **ROLES, status="end")
    assert table.floor == frame.loc[frame["end"] == "ok", "linear_top1"].min()
    assert table.trials.loc[table.trials["status"] == "diverged", "linear_top1"].isna().all()


def test_a_data_set_in_which_all_failed_has_no_floor():
    both = pd.concat([rows(place="a", bad=True), rows(place="b", bad=False)])
    table = from_frame(both, **ROLES, dataset="place", status="bad")
    assert math.isnan(table.floors["a"])
    assert table.floors["b"] == rows()["linear_top1"].min()
    assert any("none (all failed) on a, " in note for note in table.notes)


def test_a_declared_floor_may_lie_above_a_collapsed_run_but_not_above_the_best():
    worst, best = rows()["linear_top1"].agg(["min", "max"])
    assert from_frame(rows(), **ROLES, floor=worst + 0.01).floor == worst + 0.01
    with pytest.raises(TableError, match="than the best finished outcome"):
        from_frame(rows(), **ROLES, floor=best + 0.01)
    losses = rows(linear_top1=lambda frame: -frame["linear_top1"])
    assert from_frame(losses, **ROLES, floor=5, direction="minimize").floor == 5
    with pytest.raises(TableError, match=r"than the best finished outcome -0.1 \(to minimise\), got -0.9"):
        from_frame(losses.assign(linear_top1=-0.1), **ROLES, floor=-0.9, direction="minimize")
    failed = rows(end=np.where(rows().index == 0, "failed", "ok"), linear_top1=np.where(rows().index == 0, 0, 0.5))
    assert from_frame(failed, **ROLES, status="end", floor=0.5).floor == 0.5


def test_a_failed_trial_may_have_any_outcome():
    frame = rows(end="ok")
    frame.loc[0, ["linear_top1", "end"]] = [1e300, "diverged"]
    assert from_frame(frame, **ROLES, status="end").floor == from_frame(rows().iloc[1:], **ROLES).floor


def test_decimals_are_numbers(tmp_path):
    frame = rows(linear_top1=rows()["linear_top1"].round(4))
    decimals = frame.assign(linear_top1=frame["linear_top1"].astype("str").map(Decimal))
    decimals.loc[0, "linear_top1"] = frame.loc[0, "linear_top1"] = None
    decimals.to_parquet(tmp_path / "runs.parquet", index=False)
    table = from_file(tmp_path / "runs.parquet", **ROLES)
    pd.testing.assert_frame_equal(table.trials, from_frame(frame, **ROLES).trials)


def test_numbers_are_categories_where_they_are_declared_so(tmp_path):
    frame = rows(kernel=lambda frame: np.where(frame["family"] == "family_0", "None", "2"))
    codes = {"batch_size:category": ("16", "256", "64"), "kernel:category": ("2", "None")}
    frame.astype({"batch_size": float}).to_csv(tmp_path / "runs.csv", index=False)
    both = ",".join(["temperature:log", *codes])
    for table in (
        from_frame(frame, **{**ROLES, "axes": both}),
        from_file(tmp_path / "runs.csv", **ROLES | {"axes": both}),
    ):
        found = {axis.name: set(axis.levels) for axes in table.axes.values() for axis in axes if axis.scale is None}
        assert found["batch_size"] == set(codes["batch_size:category"])
        assert set(table.trials["kernel"]) == set(codes["kernel:category"])


def test_files_are_told_by_the_end_of_their_name_in_any_case(tmp_path):
    rows().to_csv(tmp_path / "RUNS.CSV", index=False)
    rows().to_parquet(tmp_path / "RUNS.Parquet", index=False)
    for name in ("RUNS.CSV", "RUNS.Parquet"):
        assert len(from_file(tmp_path / name, **ROLES).trials) == 90


def test_a_row_that_repeats_another_is_dropped_and_counted():
    frame = pd.concat([rows(), rows().iloc[[4, 4, 7]]])
    table = from_frame(frame, **ROLES)
    assert len(table.trials) == 90
    assert "3 rows that repeated another were dropped." in table.notes


def test_an_axis_with_one_level_is_there_and_does_not_vary():
    table = from_frame(rows(width=64), **{**ROLES, "axes": f"{AXES},width"})
    assert "Axis width has one level: 64." in table.notes
    assert [axis.varies for axis in table.axes["family_0"]] == [True, True, False]
    family = cells(table, "data", "family_0", "linear_top1")
    assert [axis.name for axis in family.axes] == ["batch_size", "temperature"]
    assert family.points.shape == (15, 2)


def test_an_axis_with_one_level_in_one_family_is_told():
    frame = rows(width=lambda frame: np.where(frame["family"] == "family_0", 64, frame["batch_size"]))
    table = from_frame(frame, **{**ROLES, "axes": f"{AXES},width"})
    assert "Axis width has one level in family_0: 64." in table.notes


def test_an_axis_that_a_family_does_not_have_is_not_shared():
    frame = rows(margin=0.5)
    frame["margin"] = np.where(frame["family"] == "family_0", np.nan, frame["seed"] + 1.0)
    table = from_frame(frame.query("family == 'family_0' or seed >= 0"), **{**ROLES, "axes": f"{AXES},margin"})
    assert [len(table.axes[name]) for name in ("family_0", "family_1")] == [2, 3]
    assert table.shared == ("batch_size", "temperature")


def test_tolerances_of_an_outcome_beyond_one_are_shares_of_best_to_floor():
    table = from_frame(rows(linear_top1=lambda frame: 100 * frame["linear_top1"]), **ROLES)
    values = 100 * rows()["linear_top1"]
    span = values.max() - values.min()
    assert table.tolerances == pytest.approx([0.005 * span, 0.01 * span, 0.02 * span], rel=1e-2)
    assert from_frame(rows(), **ROLES, tolerances=(0.1, 0.05)).tolerances == (0.05, 0.1)


def test_searched_and_stopped_rows_are_split_off():
    frame = rows(design="grid", end="ok")
    frame.loc[frame["family"] == "family_1", "design"] = "tpe"
    frame.loc[0, "end"] = "stopped"
    table = from_frame(frame, **ROLES, status="end")
    kept, aside = split(table)
    assert (len(kept.trials), len(aside.trials), kept.design) == (44, 46, "grid")
    assert only_exploratory(table) == [("data", "family_1")]


def test_the_analysis_of_a_table_loads_no_torch_and_no_ray():
    code = (
        "import sys, analysis.table.tidy, analysis.report, analysis.table.exploratory\n"
        "assert not {'torch', 'ray'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_single_axis_is_a_grid_where_its_steps_are_even():
    rng = np.random.default_rng(0)
    drawn = pd.DataFrame({"lr": 10 ** rng.uniform(-4, -1, 60), "y": 0.5})
    even = pd.DataFrame({"lr": np.geomspace(1e-4, 1e-1, 60).round(9), "y": 0.5})
    assert from_frame(drawn, axes="lr:log", outcome="y").design == "random"
    assert from_frame(even, axes="lr:log", outcome="y").design == "grid"
    assert from_frame(even, axes="lr", outcome="y").design == "random"


def test_ten_values_drawn_once_each_are_no_list():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"lr": rng.uniform(size=10), "momentum": rng.uniform(size=10), "y": 0.5})
    table = from_frame(frame, axes="lr,momentum", outcome="y")
    assert [axis.levels for axis in table.axes["all"]] == [(), ()]
