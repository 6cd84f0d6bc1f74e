import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_store import small_study, write_store
from simulated import GRID, hill, runs, study, table

from analysis.estimation.cells import all_cells, axis_values, cells, unit_coordinate
from analysis.robustness.lines import default_point
from analysis.table import Axis, Table, worst_finite
from analysis.table.store import from_store
from robustness import store
from search_spaces import parse_study

STUDY = {
    "name": "tiny",
    "data": {"dataset": "digits"},
    "seeds": 2,
    "axes": {"batch_size": {"values": [16, 64], "scale": "log2"}},
    "families": {
        "nt_xent": {"temperature": {"low": 0.1, "high": 1.0, "scale": "log", "levels": 3}},
        "soft": {"loss": "kcl_gaussian", "bandwidth": {"values": [0.5, 2.0], "scale": "log2"}, "gamma": 16},
        "untrained": "default",
    },
    "analysis": {"reference": "nt_xent", "tolerances": [0.02, 0.005, 0.01]},
}


def _rows() -> list[dict]:
    rows = []
    for seed in (0, 1):
        shared = {"study": "tiny", "design": "grid", "dataset": "digits", "encoder": "mlp", "seed": seed}
        for batch_size in (16, 64):
            for temperature in (0.1, 0.316227766017, 1.0):
                axes = {"batch_size": batch_size, "temperature": temperature}
                rows.append({**shared, "family": "nt_xent", "loss": "nt_xent", **axes})
            for bandwidth in (0.5, 2.0):
                axes = {"batch_size": batch_size, "bandwidth": bandwidth, "gamma": 16.0}
                rows.append({**shared, "family": "soft", "loss": "kcl_gaussian", **axes})
        rows.append({**shared, "family": "untrained", "loss": "untrained"})
    for index, row in enumerate(rows):
        row |= {"trial_id": f"{index:032x}", "pack_id": f"pack{index % 2}", "status": "ok"}
        row |= {"linear_top1": 0.5 + index / 100, "linear_top1_validation": 0.4 + index / 100}
    rows[0] |= {"status": "diverged", "linear_top1": None, "linear_top1_validation": None}
    return rows


def _write(folder: Path, raw: dict, rows: list[dict]) -> None:
    store.prepare(folder)
    names = store.PLAN_SCHEMA.names
    plan = pd.DataFrame([{name: row.get(name) for name in names} for row in _rows()], columns=names)
    store.write_plan(folder, plan, parse_study(raw, "tiny").written())
    for pack in sorted({row["pack_id"] for row in rows}):
        store.write_pack(folder, pack, [row for row in rows if row["pack_id"] == pack], [])


def test_a_stored_study_comes_back_as_a_table(tmp_path: Path) -> None:
    _write(tmp_path, STUDY, _rows())
    found = from_store(tmp_path)
    assert (found.name, found.design, found.outcome, found.reference) == ("tiny", "grid", "linear_top1", "nt_xent")
    assert found.selection == "linear_top1_validation"
    assert (found.floor, found.tolerances, found.equivalence) == (0.1, (0.005, 0.01, 0.02), 0.01)
    assert (len(found.trials), len(found.baseline), found.num_planned) == (20, 2, 22)
    assert found.shared == ("batch_size",)
    assert [axis.name for axis in found.axes["nt_xent"]] == ["batch_size", "temperature"]
    assert found.axes["nt_xent"][1] == Axis("temperature", "log", (0.1, 0.316227766017, 1.0), 0.1, 1.0, default=0.2)
    assert [axis.name for axis in found.axes["soft"]] == ["batch_size", "bandwidth"]
    assert "untrained" not in found.axes


def test_failures_stay_null_in_the_table_and_enter_cells_at_the_floor(tmp_path: Path) -> None:
    _write(tmp_path, STUDY, _rows())
    found = from_store(tmp_path)
    failed = found.trials[found.trials["status"] == "diverged"]
    assert failed["linear_top1"].isna().all()
    family = cells(found, "digits", "nt_xent", "linear_top1")
    assert family is not None
    assert family.outcome[family.failed].tolist() == [0.1]


def test_a_planned_trial_that_is_not_stored_is_missing_and_counted(tmp_path: Path) -> None:
    _write(tmp_path, STUDY, [row for row in _rows() if row["pack_id"] == "pack0"])
    found = from_store(tmp_path)
    assert (len(found.trials) + len(found.baseline), found.num_planned) == (11, 22)


def test_a_declared_floor_wins_and_a_declared_equivalence_too(tmp_path: Path) -> None:
    wish = {**STUDY["analysis"], "floor": 0.25, "equivalence": 0.03}
    _write(tmp_path, {**STUDY, "analysis": wish}, _rows())
    found = from_store(tmp_path)
    assert (found.floor, found.equivalence) == (0.25, 0.03)


def test_an_outcome_without_a_chance_level_has_the_worst_finite_value_as_floor(tmp_path: Path) -> None:
    wish = {"outcome": "final_loss", "direction": "minimize"}
    rows = [row | {"final_loss": None if row["status"] != "ok" else 3.0 - k / 10} for k, row in enumerate(_rows())]
    _write(tmp_path, {**STUDY, "analysis": wish}, rows)
    found = from_store(tmp_path)
    assert found.selection == "final_loss"
    assert found.floor == pytest.approx(2.9)


def test_an_axis_has_the_default_of_its_own_loss(tmp_path: Path) -> None:
    shared = {"temperature": {"values": [0.1, 0.5]}, "learning_rate": {"values": [0.01, 0.1]}}
    families: dict = {name: {} for name in ("nt_xent", "alpha_entropy", "siglip")}
    families |= {"nt_xent_vrns": {"weight": {"values": [1, 30]}}, "align_uniform": {"weight": {"values": [1, 30]}}}
    write_store(tmp_path, small_study(axes=shared, families=families))
    table = from_store(tmp_path)
    defaults = {family: {axis.name: axis.default for axis in axes} for family, axes in table.axes.items()}
    assert {family: found.pop("learning_rate") for family, found in defaults.items()} == dict.fromkeys(families, 0.1)
    assert defaults == {
        "nt_xent": {"temperature": 0.2},
        "alpha_entropy": {"temperature": 0.5},
        "siglip": {"temperature": 0.1},
        "nt_xent_vrns": {"temperature": 0.2, "weight": 30.0},
        "align_uniform": {"weight": 1.0},
    }
    found = cells(table, "digits", "alpha_entropy", "linear_top1")
    assert found is not None
    assert default_point(found) == ({"temperature": 0.5, "learning_rate": 0.1}, "")


def test_a_scattered_study_has_levels_on_lists_only(tmp_path: Path) -> None:
    _write(tmp_path, {**STUDY, "design": {"kind": "sobol", "configurations": 4}}, _rows())
    axes = from_store(tmp_path).axes["nt_xent"]
    assert [axis.levels for axis in axes] == [(16, 64), ()]
    assert (axes[1].low, axes[1].high) == (0.1, 1.0)


def test_a_folder_without_trials_is_one_clear_error(tmp_path: Path) -> None:
    _write(tmp_path, STUDY, [])
    with pytest.raises(store.StoreError, match="no finished trials"):
        from_store(tmp_path)


def test_the_worst_value_is_finite_and_on_the_bad_side() -> None:
    values = pd.Series([1.0, 5.0, np.inf, -np.inf, np.nan])
    assert worst_finite(values, direction="maximize") == 1.0
    assert worst_finite(values, direction="minimize") == 5.0
    assert np.isnan(worst_finite(pd.Series([np.nan]), direction="maximize"))


def test_stopped_trials_are_left_out() -> None:
    rows = runs(GRID, hill(GRID), seeds=2, rng=np.random.default_rng(0))
    rows.loc[0, "status"] = "stopped"
    family = cells(table({"f": rows}), "digits", "f", "linear_top1")
    assert family is not None
    assert np.isnan(family.outcome).sum() == 1
    assert not family.failed.any()


def test_cells_do_not_depend_on_the_order_of_rows() -> None:
    ordered = study(num_families=1, failing=0.1)
    shuffled = Table(**{**vars(ordered), "trials": ordered.trials.sample(frac=1.0, random_state=1)})
    one, other = (all_cells(t, "digits", "linear_top1")[0] for t in (ordered, shuffled))
    assert one.outcome.tobytes() == other.outcome.tobytes()
    assert one.settings.equals(other.settings)


def test_a_column_that_was_never_measured_has_no_cells() -> None:
    rows = runs(GRID, hill(GRID), seeds=2, rng=np.random.default_rng(0), failing=0.2)
    found = table({"f": rows.assign(knn_top1=np.nan)})
    assert cells(found, "digits", "f", "knn_top1") is None


@pytest.mark.parametrize(("scale", "low", "high"), [("linear", -1.0, 3.0), ("log", 0.02, 5.0), ("log2", 0.125, 32.0)])
def test_unit_coordinates_and_axis_values_are_inverses(scale: str, low: float, high: float) -> None:
    axis = Axis("a", scale, (), low, high)
    points = np.linspace(0, 1, 7)
    np.testing.assert_allclose(unit_coordinate(axis_values(points, axis), axis), points, atol=1e-12)
    assert axis_values(np.array([0.0, 1.0]), axis) == pytest.approx([low, high])


def test_written_studies_stay_readable(tmp_path: Path) -> None:
    _write(tmp_path, STUDY, _rows())
    assert json.dumps(store.read_study(tmp_path)["analysis"]["tolerances"]) == "[0.02, 0.005, 0.01]"


def test_a_failed_trial_never_counts_as_better_than_untrained() -> None:
    found = study(num_families=1, failing=0.1)
    found = replace(found, baseline=found.baseline.assign(z_effective_rank=2.0))
    assert found.floor_of("digits", "z_effective_rank") == 2.0


def test_settings_are_chosen_on_validation_images_for_every_accuracy() -> None:
    found = study(num_families=1)
    assert found.selection_of("digits", "knn_top1") == "linear_top1_validation"
    assert found.selection_of("digits", "z_effective_rank") == "z_effective_rank"
    empty = replace(found, trials=found.trials.assign(linear_top1_validation=np.nan))
    assert empty.selection_of("digits", "linear_top1") == "linear_top1"
