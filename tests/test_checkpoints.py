import os
import pickle

import pytest
import torch
import yaml
from s3_for_tests import s3_fixture, s3_server_fixture  # noqa: F401

from robustness import store
from robustness.store import StoreError, open_folder
from robustness.training import Checkpoints

CPU = torch.device("cpu")


class Hostile:
    """Makes a folder as soon as somebody unpickles it."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture(params=["disk", "s3"])
def folder(request, tmp_path):
    return tmp_path / "pack" if request.param == "disk" else open_folder(request.getfixturevalue("s3")) / "pack"


def test_a_state_comes_back_bit_by_bit_and_is_gone_once_removed(folder):
    checkpoints = Checkpoints(folder, seconds=1)
    assert checkpoints.load(CPU) is None
    weights = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    for step in (1, 2):
        checkpoints.save({"weights": weights + step, "step": step, "results": [{"linear_top1": None}]})
    state = checkpoints.load(CPU)
    assert torch.equal(state.pop("weights"), weights + 2)
    assert state == {"step": 2, "results": [{"linear_top1": None}]}
    assert store.files.file_names(folder) == {"checkpoint.pt"}
    checkpoints.remove()
    assert checkpoints.load(CPU) is None
    checkpoints.remove()


def test_a_hostile_checkpoint_is_ignored_and_runs_nothing(folder, tmp_path):
    mark, checkpoints = tmp_path / "mark", Checkpoints(folder, seconds=1)
    checkpoints.save({"step": 1})
    torch.save({"step": Hostile(mark)}, tmp_path / "hostile.pt")
    for content in ((tmp_path / "hostile.pt").read_bytes(), pickle.dumps(Hostile(mark))):
        store.write_bytes(checkpoints.path, content, replace=True)
        assert checkpoints.load(CPU) is None
        assert not mark.exists()
    pickle.loads(content)
    assert mark.exists()


def test_a_damaged_checkpoint_is_ignored(folder):
    checkpoints = Checkpoints(folder, seconds=1)
    checkpoints.save({"weights": torch.zeros(1000)})
    content = store.files.read_bytes(checkpoints.path)
    for damaged in (b"", content[: len(content) // 2], b"\x00" * len(content)):
        store.write_bytes(checkpoints.path, damaged, replace=True)
        assert checkpoints.load(CPU) is None


def test_training_goes_on_where_a_checkpoint_can_not_be_written(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    checkpoints = Checkpoints(tmp_path / "pack", seconds=1)
    checkpoints.save({"step": 1})
    monkeypatch.setattr(os, "fsync", full)
    checkpoints.save({"step": 2})
    assert checkpoints.load(CPU) == {"step": 1}
    assert [path.name for path in (tmp_path / "pack").iterdir()] == ["checkpoint.pt"]


def test_nothing_in_a_store_is_unpickled(tmp_path):
    mark = tmp_path / "mark"
    store.prepare(tmp_path)
    hostile = pickle.dumps(Hostile(mark))
    (tmp_path / "encoders").mkdir()
    places = ("plan.parquet", "study.yaml", "trials/p.parquet", "history/p.parquet", "encoders/t.safetensors")
    for place in places:
        (tmp_path / place).write_bytes(hostile)
    readers = (
        store.read_plan, store.read_study, store.read, store.read_history, store.verify, store.migrate, store.compact,
        lambda folder: store.read_encoder(folder, "t"),
    )  # fmt: skip
    for read in readers:
        with pytest.raises(StoreError) as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)
    (tmp_path / "study.yaml").write_text(yaml.dump({"name": Hostile(mark)}))
    assert "python/object" in (tmp_path / "study.yaml").read_text()
    with pytest.raises(StoreError):
        store.read_study(tmp_path)
    assert len(store.set_aside_damaged(tmp_path)) == 2
    assert not mark.exists()
