import multiprocessing
import os

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from studies_for_tests import tiny

from robustness import store
from robustness.store import HISTORY_SCHEMA, TRIALS_SCHEMA, StoreError

CONTRACT = """
trial_id pack_id study design family loss status error seed batch_size projector_dim batch_policy learning_rate
weight_decay temperature bandwidth gamma kernel_scale kernel_order epsilon margin slope exponent power bias weight
scale redundancy_weight invariance_weight variance_weight covariance_weight extra_hyperparameters dataset encoder
epochs updates images linear_top1 linear_top1_validation knn_top1 retrieval_top1 linear_sgd_top1 z_linear_top1
z_knn_top1 retrieval_noise_top1 retrieval_blur_top1 retrieval_contrast_top1 retrieval_brightness_top1
retrieval_pixelate_top1 retrieval_corrupted_top1 retrieval_cifar_c_top1 retrieval_severities gradient_norm
gradient_squared_bias gradient_variance simplex_distance cross_polytope_distance full_loss_gap inner_products
collapse final_loss h_collapse train_seconds evaluate_seconds selection_seconds images_per_second
peak_memory_bytes device threads slice_size fused code_version protocol_version torch_version finished_at
"""
GEOMETRY = """
alignment uniformity wasserstein effective_rank effective_rank_centered rankme participation_ratio stable_rank
numerical_rank released_rank alpha_req lidar mean_norm total_variance spectrum
"""


def row(trial_id, **values):
    return {"trial_id": trial_id, "pack_id": "p", "family": "dhel", "dataset": "digits", "status": "ok"} | values


def test_trials_have_exactly_the_columns_that_readers_rely_on():
    assert set(TRIALS_SCHEMA.names) == {
        *CONTRACT.split(),
        *(f"{space}_{name}" for space in "hz" for name in GEOMETRY.split()),
    }


@given(
    seed=st.integers(0, 2**62),
    value=st.one_of(st.none(), st.floats(allow_nan=False)),
    text=st.one_of(st.none(), st.text(max_size=20)),
    spectrum=st.lists(st.floats(allow_nan=False), max_size=4),
)
@settings(derandomize=True, deadline=None, max_examples=25)
def test_rows_come_back_as_they_were_written(tmp_path_factory, seed, value, text, spectrum):
    folder = tmp_path_factory.mktemp("store")
    store.prepare(folder)
    written = row("t", seed=seed, linear_top1=value, error=text, z_spectrum=spectrum)
    assert store.write_pack(folder, "p", [written], []) is None
    table = pq.read_table(folder / "trials").to_pylist()
    assert table == [{name: written.get(name) for name in TRIALS_SCHEMA.names}]


def test_pandas_reads_the_folder_as_it_is_even_while_files_are_being_written(tmp_path):
    store.prepare(tmp_path)
    store.write_pack(tmp_path, "p", [row("a"), row("b")], [])
    store.write_pack(tmp_path, "q", [row("c")], [])
    (tmp_path / "trials" / ".r.parquet.123").write_bytes(b"half a file")
    frame = pd.read_parquet(tmp_path / "trials")
    assert sorted(frame["trial_id"]) == ["a", "b", "c"]
    assert list(frame.columns) == TRIALS_SCHEMA.names
    assert store.stored_packs(tmp_path) == {"p", "q"}


def test_the_first_result_wins_and_an_equal_second_one_is_dropped(tmp_path):
    store.prepare(tmp_path)
    assert store.write_pack(tmp_path, "p", [row("a", linear_top1=0.5)], []) is None
    assert "equal results" in store.write_pack(tmp_path, "p", [row("a", linear_top1=0.5)], [])


def test_a_different_second_result_of_an_equal_machine_is_an_error(tmp_path):
    store.prepare(tmp_path)
    store.write_pack(tmp_path, "p", [row("a", device="cpu", linear_top1=0.5)], [])
    with pytest.raises(StoreError, match="differs in 'linear_top1'; kept the first"):
        store.write_pack(tmp_path, "p", [row("a", device="cpu", linear_top1=0.5 + 1e-16 * 2)], [])
    assert "another kind of machine" in store.write_pack(tmp_path, "p", [row("a", device="gpu", linear_top1=0.6)], [])
    assert store.read(tmp_path)["linear_top1"].tolist() == [0.5]


def _write(folder, number):
    return store.write_pack(folder, "p", [row("a", seed=number, device=str(number))], []) is None


def test_of_many_writers_exactly_one_stores_the_pack(tmp_path):
    store.prepare(tmp_path)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        stored = pool.starmap(_write, [(tmp_path, number) for number in range(8)])
    assert sum(stored) == 1
    assert len(store.read(tmp_path)) == 1
    assert not [path for path in (tmp_path / "trials").iterdir() if path.name.startswith(".")]


def _add(folder, numbers):
    for number in numbers:
        _, added = store.add_to_plan(folder, planned_rows([str(number)]))
        assert added


def planned_rows(trial_ids):
    return pd.DataFrame({"trial_id": trial_ids}, columns=store.PLAN_SCHEMA.names)


def test_of_many_who_extend_a_plan_none_is_lost(tmp_path):
    store.prepare(tmp_path)
    store.write_plan(tmp_path, planned_rows([]), tiny().written())
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.starmap(_add, [(tmp_path, range(number, 60, 3)) for number in range(3)])
    assert sorted(map(int, store.read_plan(tmp_path)["trial_id"])) == list(range(60))
    planned, added = store.add_to_plan(tmp_path, planned_rows(["7", "60"]))
    assert (len(planned), added) == (61, True)
    assert not store.add_to_plan(tmp_path, planned_rows(["7", "60"]))[1]


def test_a_failing_disk_leaves_no_file_behind(tmp_path, monkeypatch):
    store.prepare(tmp_path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write_pack(tmp_path, "p", [row("a")], [])
    assert not list((tmp_path / "trials").iterdir())


def test_a_damaged_file_is_one_line_that_names_it(tmp_path):
    store.prepare(tmp_path)
    store.write_pack(tmp_path, "p", [row("a")], [])
    path = tmp_path / "trials" / "p.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match=r"p\.parquet: damaged or not Parquet") as caught:
        store.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_with_other_columns_is_one_line_that_names_it(tmp_path):
    store.prepare(tmp_path)
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "trials" / "p.parquet")
    with pytest.raises(StoreError, match=r"p\.parquet: its columns are not those of this version"):
        store.read(tmp_path)


@pytest.mark.parametrize("read", [store.read_plan, store.read_study])
def test_a_folder_without_a_study_is_one_line(tmp_path, read):
    with pytest.raises(StoreError, match="no study here"):
        read(tmp_path)


def test_a_folder_that_is_a_file_can_not_hold_results(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="can't write results here"):
        store.prepare(tmp_path / "file")


def test_the_study_comes_back_as_it_was_written(tmp_path):
    store.prepare(tmp_path)
    store.write_plan(tmp_path, pd.DataFrame(columns=store.PLAN_SCHEMA.names), tiny().written())
    assert store.read_study(tmp_path) == tiny().written()


def test_history_of_a_pack_that_was_not_stored_is_not_read(tmp_path):
    store.prepare(tmp_path)
    epoch = {"trial_id": "a", "pack_id": "p", "epoch": 1.0}
    store.write_pack(tmp_path, "p", [row("a")], [epoch])
    assert list(store.read_history(tmp_path).columns) == HISTORY_SCHEMA.names
    assert len(store.read_history(tmp_path)) == 1
    (tmp_path / "trials" / "p.parquet").unlink()
    assert store.read_history(tmp_path).empty
