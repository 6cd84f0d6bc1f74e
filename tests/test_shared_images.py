import json

import numpy as np
import pytest
import torch
import yaml
from processes import robustness
from studies_for_tests import TINY, changed, tiny

from analysis.table.store import from_store
from robustness import store
from robustness.data import load
from robustness.plan import plan
from robustness.sweep import cluster
from robustness.sweep.cluster import connected
from robustness.sweep.images import share, splits_of, stored_bytes
from robustness.sweep.place import Place
from robustness.training import train_pack
from robustness.trial import Trial
from search_spaces import StudyError
from search_spaces.sections import Data

import ray  # isort: skip


def study_file(folder, **changes):
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(changed(TINY, {key.replace("__", "."): value for key, value in changes.items()})))
    return path


@pytest.fixture(scope="module")
def swept_file(tmp_path_factory):
    """A study of a file of colour images in three classes, swept; then the file is taken away."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    parts = {}
    for part, count in (("train", 120), ("test", 30)):
        labels = np.arange(count) % 3
        noise = rng.integers(0, 120, (count, 8, 8, 3))
        parts[f"{part}_images"] = (noise + 135 * np.eye(3, dtype=int)[labels][:, None, None]).astype(np.uint8)
        parts[f"{part}_labels"] = labels
    np.savez(folder / "hues.npz", **parts)
    path = study_file(folder, data={"npz": "hues.npz"}, axes__batch_size={"values": [32]})
    done = robustness("run", path, "--out", "out", cwd=folder)
    data = Data(npz=str(folder / "hues.npz"))
    splits = load(json.loads(store.read_plan(folder / "out")["trial"].iloc[0])["data"], data)
    (folder / "hues.npz").unlink()
    return folder, done, splits


def test_a_study_of_a_file_stores_what_its_packs_give(swept_file):
    folder, done, splits = swept_file
    assert done.returncode == 0, done.stderr
    rows = store.read_plan(folder / "out")
    pack = rows[rows["pack_id"] == rows["pack_id"].iloc[0]]
    here = train_pack([Trial.from_json(text) for text in pack["trial"]], splits=splits)
    stored = store.read(folder / "out").set_index("trial_id")
    assert set(stored["dataset"]) == {"hues"}
    for trial_id, result in zip(pack["trial_id"], here, strict=True):
        for name in ("linear_top1", "knn_top1", "final_loss"):
            assert stored.loc[trial_id, name] == result.outcomes[name]
        assert stored.loc[trial_id, "linear_top1"] > 0.6


def test_a_report_needs_no_files_and_knows_chance_and_the_number_of_test_images(swept_file):
    folder, _, _ = swept_file
    done = robustness("report", "out", "--out", "again", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "hues: 30 images, 4.0 points" in (folder / "again" / "index.html").read_text()
    table = from_store(folder / "out")
    assert (table.floor, table.floors) == (1 / 3, {"hues": 1 / 3})


def test_images_that_are_missing_end_a_sweep_before_any_trial(tmp_path):
    path = study_file(tmp_path, data={"dataset": ["digits", "mnist"], "root": "here", "augmentation": "affine"})
    done = robustness("sweep", path, "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{path}: data.root: {tmp_path}/here: expected mnist in this folder" in done.stderr
    assert store.read(tmp_path / "out").empty


def test_workers_share_one_read_only_copy_of_the_images():
    study = tiny()
    todo = plan(study)
    with connected(Place(), image_bytes=stored_bytes(todo)):
        here, there = (share(study, todo, local=local)["digits"] for local in (True, False))
        arrays = [ray.get(reference) for reference in (here, here, there)]
        assert not arrays[0]["images"].flags.writeable
        assert len({array["images"].ctypes.data for array in arrays[:2]}) == 1
        shared = [splits_of(array) for array in arrays]
        assert shared[0].images.data_ptr() == arrays[0]["images"].ctypes.data
        expected = load({"dataset": "digits"})
        for splits in shared:
            assert torch.equal(splits.train, expected.train)
            for part in ("fit", "validation", "test"):
                assert torch.equal(getattr(splits, part).images, getattr(expected, part).images)
                assert torch.equal(getattr(splits, part).labels, getattr(expected, part).labels)
        missing = tiny(data={"dataset": "mnist", "root": "no/where"})
        with pytest.raises(StudyError, match=r"^tiny.yaml: data.root: /.*/no/where: expected mnist in this folder"):
            share(missing, plan(missing), local=False)


def test_images_are_counted_by_data_set_and_byte():
    many = plan(tiny(data__dataset=["digits", "stl10", "cifar10"], data__augmentation="crop_flip"))
    digits, stl, cifar = 1797 * 64, 113_000 * 3 * 96 * 96, 60_000 * 3 * 32 * 32
    assert stored_bytes(many) == digits + stl + cifar
    assert stored_bytes(many.head(1)) == digits


@pytest.mark.parametrize(
    ("patched", "message"),
    [
        ("_memory_bytes", "data: the images need 2.0 GiB of memory while they are read, this machine has 1.5 GiB"),
        ("_shared_memory_bytes", "data: the images need 1.0 GiB of shared memory, /dev/shm has 0.5 GiB left"),
    ],
)
def test_images_that_memory_can_not_hold_are_one_line(patched, message, monkeypatch):
    free = {"_memory_bytes": 1.5, "_shared_memory_bytes": 0.5}
    with monkeypatch.context() as patch:
        for name in ("_memory_bytes", "_shared_memory_bytes"):
            patch.setattr(cluster, name, lambda name=name: 2**30 * (free[name] if name == patched else 100))
        with pytest.raises(StudyError, match=message), connected(Place(), image_bytes=2**30):
            pass
