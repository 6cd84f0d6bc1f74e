"""Retrieval on CIFAR-10-C and CIFAR-100-C, with files of a few images in their layout."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from studies_for_tests import tiny

from robustness.data import DataError, Split, Splits, cifar_c, load
from robustness.plan import plan
from robustness.sweep.images import _arrays as arrays_of
from robustness.sweep.images import splits_of
from robustness.training import train_pack
from robustness.trial import Trial
from search_spaces import StudyError
from search_spaces.datasets import DATASETS
from search_spaces.sections import Data

COUNT = 20


@pytest.fixture
def images(monkeypatch):
    """As many test images as the files have."""
    monkeypatch.setitem(DATASETS, "cifar10", replace(DATASETS["cifar10"], num_train=64, num_test=COUNT))
    return np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3)).astype(np.uint8)


def write(root, **files):
    folder = root / "CIFAR-10-C"
    folder.mkdir()
    for name, array in files.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def severities(images, *changes):
    return np.concatenate([change(images) for change in changes])


def same(images):
    return images


def turned(images):
    """Every image at the place of another one."""
    return np.roll(images, 1, axis=0)


def trial():
    study = tiny(
        data={"dataset": "cifar10"},
        model={"encoder": "convnet_small", "projector": [8]},
        families={"nt_xent": {}},
        axes={"batch_size": 16},
        seeds=1,
        training={"updates": 1},
        evaluation={"probes": ["cifar_c"]},
        analysis={"outcome": "retrieval_cifar_c_top1"},
    )
    (text,) = plan(study)["trial"]
    return Trial.from_json(text)


def splits(images, folder):
    tensor = torch.from_numpy(np.moveaxis(images, 3, 1).copy())
    labels = torch.arange(COUNT) % 10
    train = torch.cat([tensor] * 4)[:64]
    return Splits(train, torch.arange(64) % 10, Split(tensor, labels), num_train=64, num_fit=50, corrupted=folder)


def test_a_corrupted_image_finds_the_clean_one_at_its_own_place(tmp_path, images):
    folder = write(
        tmp_path,
        fog=severities(images, same, same, same, same, same),
        snow=severities(images, same, same, turned, turned, turned),
        labels=np.zeros(5 * COUNT),
    )
    (result,) = train_pack([trial()], splits=splits(images, folder))
    assert result.status == "ok"
    assert result.outcomes["retrieval_cifar_c_top1"] == pytest.approx(7 / 10)


def test_workers_are_told_where_the_files_are(tmp_path, images):
    before = splits(images, tmp_path)
    after = splits_of(arrays_of(before))
    assert after.corrupted == tmp_path
    assert torch.equal(after.test.images, before.test.images)


def test_images_come_by_file_and_severity(tmp_path, images):
    folder = write(tmp_path, b=severities(images, *[same] * 5), a=severities(images, same, turned, same, same, same))
    found = list(cifar_c.corrupted_test_images(folder, num_images=7))
    assert len(found) == 10
    assert all(part.shape == (7, 3, 32, 32) for part in found)
    expected = torch.from_numpy(np.moveaxis(turned(images)[:7], 3, 1).copy())
    assert [torch.equal(part, expected) for part in found] == [k == 1 for k in range(10)]


def test_files_are_looked_for_where_the_images_are(tmp_path, images, monkeypatch):
    plain = splits(images, None)
    monkeypatch.setattr("robustness.data.sources.read_known", lambda name, root, download: plain)
    source = Data(dataset="cifar10", root=str(tmp_path))
    with pytest.raises(DataError, match="expected CIFAR-10-C in this folder"):
        load({"dataset": "cifar10"}, source, probes=["cifar_c"])
    assert load({"dataset": "cifar10"}, source, probes=["knn"]) is plain
    folder = write(tmp_path, fog=severities(images, *[same] * 5))
    assert load({"dataset": "cifar10"}, source, probes=["cifar_c"]).corrupted == folder


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((7, 32, 32, 3), np.uint8),
            "expected 20 images at 5 severities, uint8 (100, 32, 32, 3), got uint8 (7,",
        ),
        (np.zeros((100, 32, 32, 3)), "got float64 (100, 32, 32, 3)"),
    ],
)
def test_files_that_are_not_as_they_should_be_are_one_line(tmp_path, images, array, message):
    folder = write(tmp_path, fog=array)
    with pytest.raises(DataError) as error:
        cifar_c.find("cifar10", tmp_path)
    assert message in str(error.value)
    (folder / "fog.npy").write_bytes(b"\x93NUMPY damaged")
    with pytest.raises(DataError, match="can't read this array"):
        cifar_c.find("cifar10", tmp_path)


def test_other_data_have_no_such_files():
    with pytest.raises(StudyError, match="cifar_c measures cifar10 and cifar100 alone; corruptions suits all images"):
        plan(tiny(evaluation={"probes": ["knn", "cifar_c"]}, analysis={"outcome": "knn_top1"}))
