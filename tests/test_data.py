import pickle
from dataclasses import replace
from hashlib import md5

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.data import AUGMENTATIONS, DataError, as_floats, load, shuffled_batches
from robustness.data.splits import in_splits, num_validation
from robustness.models import ENCODERS, TABLE, build
from robustness.seeds import derive
from search_spaces.datasets import DATASETS
from search_spaces.sections import Data

LABELLED = ("fit", "validation", "test")


def digits():
    return load({"dataset": "digits"})


def rows(images):
    return [image.numpy().tobytes() for image in images]


def test_every_data_set_has_a_preset_that_there_is():
    assert {entry.augmentation for entry in DATASETS.values()} <= set(AUGMENTATIONS)


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"digits"}))
def test_a_tenth_of_the_labelled_images_of_a_known_data_set_validates(name):
    entry = DATASETS[name]
    labelled = entry.num_fit + entry.num_validation
    assert entry.num_validation == num_validation(labelled, entry.num_classes) == labelled / 10
    assert entry.num_train >= labelled
    assert len(entry.mean) == len(entry.deviation) == entry.shape[0]


def test_digits_are_what_their_entry_says():
    entry, splits = DATASETS["digits"], digits()
    sizes = (len(splits.train), len(splits.fit.images), len(splits.validation.images), len(splits.test.images))
    assert sizes == (entry.num_train, entry.num_fit, entry.num_validation, entry.num_test)
    for split in (getattr(splits, part) for part in LABELLED):
        assert split.images.shape[1:] == entry.shape
        assert 0 <= split.images.min() < split.images.max() <= 1
        assert set(split.labels.tolist()) == set(range(entry.num_classes))


def test_splits_of_digits_are_disjoint_stratified_and_fixed():
    first, again = digits(), digits()
    assert torch.equal(first.train, again.train)
    assert torch.equal(first.train, first.fit.images)
    held = {part: set(rows(getattr(first, part).images)) for part in LABELLED}
    assert not held["fit"] & held["test"]
    assert not held["validation"] & (held["fit"] | held["test"])
    shares = [np.bincount(getattr(first, part).labels) / len(getattr(first, part).labels) for part in held]
    assert np.ptp(shares, axis=0).max() < 0.01


@given(
    num_classes=st.integers(2, 5), labelled=st.integers(20, 60), unlabelled=st.integers(0, 9), seed=st.integers(0, 99)
)
@settings(derandomize=True, deadline=None, max_examples=25)
def test_encoders_train_on_all_images_and_probes_on_nine_tenths_of_the_labelled(
    num_classes, labelled, unlabelled, seed
):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(labelled) % num_classes)
    images = rng.integers(0, 256, (labelled + unlabelled, 1, 8, 8)).astype(np.uint8)
    splits = in_splits(images, labels, images[:3], labels[:3])
    assert sorted(rows(splits.train)) == sorted(image.tobytes() for image in images)
    assert len(splits.validation.labels) == max(round(labelled / 10), num_classes)
    assert len(splits.fit.labels) + len(splits.validation.labels) == labelled
    label_of = {image.tobytes(): label for image, label in zip(images, labels, strict=False)}
    for split in (splits.fit, splits.validation):
        assert [label_of[row] for row in rows(split.images)] == split.labels.tolist()
    assert not set(rows(splits.fit.images)) & set(rows(splits.validation.images))
    share = np.bincount(splits.validation.labels, minlength=num_classes) / len(splits.validation.labels)
    assert np.abs(share - np.bincount(labels) / labelled).max() <= 1 / len(splits.validation.labels)
    again = in_splits(images, labels, images[:3], labels[:3])
    assert torch.equal(splits.images, again.images)


def test_images_that_splits_share_are_held_once():
    splits = digits().to(torch.device("cpu"))
    base = splits.images.untyped_storage().data_ptr()
    for images in (splits.train, splits.fit.images, splits.validation.images):
        assert images.untyped_storage().data_ptr() == base


def test_bytes_become_floats_of_0_to_1_and_floats_stay():
    values = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)
    for dtype in (torch.float32, torch.float64):
        floats = as_floats(values, dtype)
        assert floats.dtype == dtype
        assert floats.flatten().tolist() == pytest.approx([k / 255 for k in range(256)], abs=1e-7)
        assert torch.equal(as_floats(floats, dtype), floats)


# Torchvision's data sets, a few images of each, in the files that it expects.

SIZES = {"cifar10": 40, "cifar100": 400, "stl10": 40, "fashion_mnist": 40, "mnist": 40}


def tiny_images(name, seed):
    """20 test images or as many training images as `SIZES` says, as bytes, and labels of every class."""
    rng, entry = np.random.default_rng(seed), DATASETS[name]
    count = SIZES[name]
    return rng.integers(0, 256, (count, *entry.shape)).astype(np.uint8), np.arange(count) % entry.num_classes


def write_cifar(folder, name, monkeypatch):
    kind = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]
    key = {"cifar10": "labels", "cifar100": "fine_labels"}[name]
    (folder / kind.base_folder).mkdir(parents=True)

    def written(file, content):
        data = pickle.dumps(content)
        (folder / kind.base_folder / file).write_bytes(data)
        return md5(data).hexdigest()

    images, labels = tiny_images(name, 0)
    parts = np.array_split(np.arange(len(images)), len(kind.train_list))
    batches = [{"data": images[part].reshape(len(part), -1), key: labels[part].tolist()} for part in parts]
    sums = [[file, written(file, batch)] for (file, _), batch in zip(kind.train_list, batches, strict=True)]
    images, labels = tiny_images(name, 1)
    test = {"data": images.reshape(len(images), -1), key: labels.tolist()}
    monkeypatch.setattr(kind, "train_list", sums)
    monkeypatch.setattr(kind, "test_list", [[file, written(file, test)] for file, _ in kind.test_list])
    names = {kind.meta["key"]: [str(k) for k in range(DATASETS[name].num_classes)]}
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": written(kind.meta["filename"], names)})


def write_mnist(folder, name, monkeypatch):
    raw = folder / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name] / "raw"
    raw.mkdir(parents=True)
    for prefix, seed in (("train", 0), ("t10k", 1)):
        images, labels = tiny_images(name, seed)
        for file, kind, array in (("images-idx3", 3, images[:, 0]), ("labels-idx1", 1, labels.astype(np.uint8))):
            header = np.array([0x800 + kind, *array.shape], ">i4").tobytes()
            (raw / f"{prefix}-{file}-ubyte").write_bytes(header + array.tobytes())


def write_stl(folder, name, monkeypatch):
    kind = torchvision.datasets.STL10
    (folder / kind.base_folder).mkdir(parents=True)

    def written(file, content):
        (folder / kind.base_folder / file).write_bytes(content)
        return [file, md5(content).hexdigest()]

    parts = [tiny_images(name, seed) for seed in (0, 1, 2)]
    (train, test, free), labels = [x.transpose(0, 1, 3, 2).tobytes() for x, _ in parts], parts[0][1]
    marks = (labels + 1).astype(np.uint8).tobytes()
    contents = {"train_X.bin": train, "train_y.bin": marks, "unlabeled_X.bin": free}
    monkeypatch.setattr(kind, "train_list", [written(file, content) for file, content in contents.items()])
    monkeypatch.setattr(kind, "test_list", [written("test_X.bin", test), written("test_y.bin", marks)])
    written("class_names.txt", b"airplane\n")


WRITE = {"stl10": write_stl, "mnist": write_mnist, "fashion_mnist": write_mnist}


@pytest.fixture(params=sorted(SIZES))
def tiny_known(request, tmp_path, monkeypatch):
    name, count = request.param, SIZES[request.param]
    WRITE.get(name, write_cifar)(tmp_path / "root", name, monkeypatch)
    size = num_validation(count, DATASETS[name].num_classes)
    sizes = {"num_train": count * (2 if name == "stl10" else 1), "num_fit": count - size, "num_validation": size}
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], num_test=count, **sizes))
    return name, tmp_path / "root"


def read(name, root, **options):
    return load({"dataset": name}, Data(dataset=name, root=str(root), **options))


def test_known_data_sets_are_read_as_bytes_with_their_labels(tiny_known):
    name, root = tiny_known
    splits = read(name, root)
    (images, labels), (test_images, test_labels) = tiny_images(name, 0), tiny_images(name, 1)
    everything = [*images, *tiny_images(name, 2)[0]] if name == "stl10" else images
    assert sorted(rows(splits.train)) == sorted(image.tobytes() for image in everything)
    assert torch.equal(splits.test.images, torch.from_numpy(test_images))
    assert splits.test.labels.tolist() == test_labels.tolist()
    label_of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    for split in (splits.fit, splits.validation):
        assert [label_of[row] for row in rows(split.images)] == split.labels.tolist()


def test_missing_files_of_a_known_data_set_are_one_line_that_says_where_and_how(tiny_known):
    name, root = tiny_known
    with pytest.raises(DataError, match=f"^data.root: {root}/no: expected {name} in this folder .*download: true"):
        read(name, root / "no")
    assert not (root / "no").exists()


def test_damaged_files_of_a_known_data_set_are_one_line(tiny_known):
    name, root = tiny_known
    for file in root.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DataError, match=f"^data.root: {root}: expected {name} .*") as caught:
        read(name, root)
    assert "\n" not in str(caught.value)


def test_known_data_of_another_size_are_one_line(tiny_known, monkeypatch):
    name, root = tiny_known
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], num_test=7))
    with pytest.raises(
        DataError, match=f"expected {name} with .* and 7 test images of .*, got .* and {SIZES[name]} of"
    ):
        read(name, root)


def test_what_can_not_be_fetched_is_one_line(monkeypatch, tmp_path):
    def unreachable(self):
        raise RuntimeError("no route\nto host")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", unreachable)
    with pytest.raises(DataError, match=f"^data.download: can't fetch cifar10 into {tmp_path}: no route to host$"):
        read("cifar10", tmp_path, download=True)


def test_networks_see_standardised_images():
    images = digits().train
    pixels = images.transpose(0, 1).flatten(1)
    assert pixels.mean(1).tolist() == pytest.approx(DATASETS["digits"].mean, abs=1e-3)
    assert pixels.std(1).tolist() == pytest.approx(DATASETS["digits"].deviation, abs=1e-3)
    network = build("mlp", [8], dataset=DATASETS["digits"], batch_norm=False, seed=0)
    seen = []
    network.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(images)
    assert seen[0].mean().item() == pytest.approx(0, abs=0.01)
    assert seen[0].std().item() == pytest.approx(1, abs=0.01)


@given(size=st.integers(2, 300), count=st.integers(300, 1100), seed=st.integers(0, 2**40), epoch=st.integers(0, 99))
@settings(derandomize=True, deadline=None, max_examples=25)
def test_an_epoch_shows_no_image_twice_and_only_whole_batches(size, count, seed, epoch):
    batches = shuffled_batches(count, batch_size=size, seed=seed, epoch=epoch)
    assert batches.shape == (count // size, size)
    assert len(set(batches.flatten().tolist())) == batches.numel()


def test_every_epoch_and_seed_has_its_own_order():
    orders = {
        tuple(shuffled_batches(64, batch_size=8, seed=seed, epoch=epoch).flatten().tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


@pytest.mark.parametrize("encoder", sorted(set(ENCODERS) - {TABLE}))
def test_initial_weights_depend_on_seed_encoder_and_projector_only(encoder):
    def weights(seed, widths):
        network = build(encoder, widths, dataset=DATASETS["digits"], batch_norm=False, seed=seed)
        return torch.cat([w.flatten() for w in network.parameters()])

    assert torch.equal(weights(0, [128, 32]), weights(0, [128, 32]))
    assert not torch.equal(weights(0, [128, 32]), weights(1, [128, 32]))


@pytest.mark.parametrize("encoder", sorted(set(ENCODERS) - {TABLE}))
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_network_gives_representations_and_embeddings(encoder, batch_norm):
    network = build(encoder, [64, 16, 8], dataset=DATASETS["digits"], batch_norm=batch_norm, seed=0)
    h, z = network(torch.rand(5, 1, 8, 8))
    assert h.shape == (5, ENCODERS[encoder]((1, 8, 8))[1])
    assert z.shape == (5, 8)
    assert sum(isinstance(m, torch.nn.BatchNorm1d) for m in network.projector) == 2 * batch_norm


def test_derived_seeds_are_the_same_on_any_machine_and_differ_by_purpose():
    assert derive(0, "order", 16, 3) == 3232729795097351905
    assert len({derive(s, p, *parts) for s in (0, 1) for p in ("order", "augment") for parts in ((1, 2), (2, 1))}) == 8
