import errno
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
import yaml
from fake_store import small_study, write_store
from processes import robustness
from s3_for_tests import BUCKET, faulty, s3_fixture, s3_server_fixture  # noqa: F401
from studies_for_tests import TINY, changed
from upath import UPath

from robustness import store
from robustness.store import StoreError, files, objects, open_folder

FAULTS = ("refuse", "busy", "break", "lose", "fail", "stall")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(objects, "PAUSES", (0.0,) * 6)


def row(trial_id, **values):
    return {"trial_id": trial_id, "pack_id": "p", "family": "dhel", "dataset": "digits", "status": "ok"} | values


def test_a_uri_is_a_folder_and_a_path_a_path(tmp_path):
    assert open_folder("out") == Path("out")
    assert open_folder(tmp_path) == open_folder(f"file://{tmp_path}") == tmp_path
    folder = open_folder("s3://bucket/prefix/")
    assert isinstance(folder, UPath)
    assert str(folder / "plan.parquet") == "s3://bucket/prefix/plan.parquet"
    assert open_folder(folder) == folder


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("s4://bucket/x", "no such protocol: s4"),
        ("gs://bucket/x", r"pip install 'robustness\[gcs\]'"),
        ("s3://", "expected a bucket"),
        ("s3://key:secret@bucket/x", "holds no credentials"),
    ],
)
def test_a_uri_that_can_not_be_opened_is_one_line(text, rule, monkeypatch):
    def without_gcsfs(protocol):
        if protocol == "gs":
            raise ImportError
        return real(protocol)

    real = files.fsspec.get_filesystem_class
    monkeypatch.setattr(files.fsspec, "get_filesystem_class", without_gcsfs)
    with pytest.raises(StoreError, match=rule) as caught:
        open_folder(text)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_store_on_s3_reads_as_the_same_store_on_a_disk(s3, tmp_path):
    study = small_study()
    there, here = write_store(open_folder(s3), study), write_store(tmp_path, study)
    pd.testing.assert_frame_equal(store.read(there), store.read(here))
    pd.testing.assert_frame_equal(store.read_history(there), store.read_history(here))
    pd.testing.assert_frame_equal(store.read_plan(there), store.read_plan(here))
    assert store.read_study(there) == store.read_study(here)
    assert store.stored_packs(there) == store.stored_packs(here)
    assert store.verify(there) == store.verify(here) == store.Findings(0, [])


def test_a_bucket_that_is_not_there_is_one_line_and_is_not_made(s3):
    folder = open_folder("s3://misspelt/prefix")
    with pytest.raises(StoreError, match="can't write results here: The specified bucket does not exist"):
        store.prepare(folder)
    assert f"{BUCKET}" in folder.fs.ls("")
    assert "misspelt" not in folder.fs.ls("")


def test_a_storage_that_lets_a_second_writer_through_can_not_hold_results(s3, monkeypatch):
    folder = open_folder(s3)
    careless = folder.fs.pipe_file
    monkeypatch.setattr(folder.fs, "pipe_file", lambda path, content, mode="overwrite": careless(path, content))
    with pytest.raises(StoreError, match="lets a second writer replace a file"):
        store.prepare(folder)
    assert not folder.fs.find(folder.path)


def test_without_credentials_there_is_one_line_and_no_waiting(s3, monkeypatch):
    def not_logged_in(*arguments, **options):
        raise NoCredentialsError

    class NoCredentialsError(Exception):
        pass

    folder = open_folder(s3)
    monkeypatch.setattr(folder.fs, "pipe_file", not_logged_in)
    monkeypatch.setattr(objects, "PAUSES", (1e6,))
    with pytest.raises(StoreError, match="can't write results here"):
        store.prepare(folder)


@pytest.mark.parametrize(("fault", "times"), [*((fault, 1) for fault in FAULTS), ("refuse", 4), ("lose", 3)])
def test_a_write_lands_once_whatever_happens_on_the_way(s3, s3_server, fault, times):
    with faulty(s3_server) as server:
        path = open_folder(s3) / "file"
        server.faults.extend([("PUT", fault)] * times)
        assert files.write_bytes(path, b"mine", replace=False)
        assert server.met == [fault] * times
        server.faults.extend([("PUT", fault)] * times)
        assert not files.write_bytes(path, b"another's", replace=False)
        assert files.read_bytes(path) == b"mine"
        server.faults.extend([("PUT", fault)] * times)
        version = files.file_version(path)
        landed = files.replace_bytes(path, b"new", version=version)
        assert files.read_bytes(path) == b"new"
        # A replacement whose answer was lost may be told that it was not the first: it was its own.
        assert landed or fault in ("lose", "fail", "stall")
        assert not files.replace_bytes(path, b"stale", version=version)


@pytest.mark.parametrize(("method", "fault"), list(product(["GET", "DELETE"], ["refuse", "break", "lose"])))
def test_reading_listing_and_deleting_outlive_faults(s3, s3_server, method, fault):
    with faulty(s3_server) as server:
        path = open_folder(s3) / "file"
        files.write_bytes(path, b"mine", replace=True)
        for act, outcome in (
            (lambda: files.file_names(path.parent), {"file"}),
            (lambda: files.read_bytes(path), b"mine"),
            (lambda: files.remove(path), None),
        ):
            server.faults.extend([(method, fault)] * 3)
            assert act() == outcome
            server.faults.clear()
        assert files.file_names(path.parent) == set()
        assert len(server.met) >= 3


def test_packs_are_stored_once_on_a_bad_line(s3, s3_server):
    with faulty(s3_server) as server:
        folder = open_folder(s3)
        server.faults.extend(("PUT", fault) for fault in FAULTS)
        store.prepare(folder)
        for pack in "pqr":
            epoch = {"trial_id": pack, "pack_id": pack, "epoch": 1.0}
            assert store.write_pack(folder, pack, [row(pack, pack_id=pack, linear_top1=0.5)], [epoch]) is None
        assert "equal results" in store.write_pack(folder, "p", [row("p", linear_top1=0.5)], [])
        assert not server.faults
        assert store.read(folder)["trial_id"].tolist() == ["p", "q", "r"]
        assert store.read_history(folder)["trial_id"].tolist() == ["p", "q", "r"]


def test_an_object_store_that_is_gone_is_one_line(s3, s3_server):
    with faulty(s3_server) as server:
        folder = open_folder(s3)
        server.faults.extend([("PUT", "refuse")] * 1000)
        with pytest.raises(OSError, match="Internal Server Error") as caught:
            store.write_pack(folder, "p", [row("a")], [])
        assert caught.value.errno != errno.ENOENT
        assert "\n" not in str(caught.value)
        server.faults.clear()
        server.faults.extend([("GET", "refuse")] * 1000)
        with pytest.raises(StoreError, match="Internal Server Error"):
            store.read(folder)


def test_a_whole_study_on_a_bad_line_has_the_rows_of_one_on_a_disk(s3, s3_server, tmp_path):
    changes = {"training": {"epochs": 2}, "evaluation": {"every": 1, "keep": "all"}, "pack": {"size": 2}}
    changes["resources"] = {"checkpoint_minutes": 0.001}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(changed(TINY, changes)))
    assert robustness("sweep", "study.yaml", "--out", "out", cwd=tmp_path).returncode == 0
    with faulty(s3_server) as server:
        server.faults.extend((method, fault) for _ in range(2) for fault in FAULTS for method in ("PUT", "GET"))
        done = robustness("sweep", "study.yaml", "--out", s3, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(server.met) == 4 * len(FAULTS)
        again = robustness("sweep", "study.yaml", "--out", s3, cwd=tmp_path)
        assert "18 trials planned, 0 trained now" in again.stdout
    remote, local = open_folder(s3), open_folder(tmp_path / "out")
    outcomes = ["trial_id", "status", *store.OUTCOMES]
    pd.testing.assert_frame_equal(store.read(remote, outcomes), store.read(local, outcomes), check_exact=True)
    assert store.verify(remote).problems == []
    assert not files.file_names(remote / "checkpoints")
    history = [store.read_history(folder).drop(columns="finished_at") for folder in (remote, local)]
    pd.testing.assert_frame_equal(*history, check_exact=True)
    assert files.file_names(remote / "encoders") == files.file_names(local / "encoders") != set()
