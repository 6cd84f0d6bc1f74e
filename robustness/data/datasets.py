"""Known data sets: how each one of `search_spaces.datasets.DATASETS` is read."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torchvision import datasets as torchvision

from robustness.data.splits import DataError, Split, Splits, in_splits
from search_spaces.datasets import DATASETS, Dataset, known_dataset

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Training images [n, channels, height, width], labels of the first of them, test images, test labels."""


def digits() -> Splits:
    """Scikit-learn's 1,797 real handwritten digits: 1,024 to train, 273 to validate, 500 to test.

    The split is stratified and fixed. 1,024 training images divide into whole batches of every power of
    two, so no batch size sees fewer images than another.

    Source:
        Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998, by way of scikit-learn.
    """
    bunch = load_digits()
    indices = list(range(len(bunch.target)))
    rest, test = train_test_split(indices, test_size=500, stratify=bunch.target, random_state=0)
    fit, validation = train_test_split(rest, test_size=273, stratify=bunch.target[rest], random_state=0)
    images = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16
    labels = torch.from_numpy(bunch.target).long()
    labelled = [*fit, *validation]
    return Splits(
        images[labelled], labels[labelled], Split(images[test], labels[test]), num_train=len(fit), num_fit=len(fit)
    )


def free_pairs(facts: Dataset) -> Splits:
    """N unit vectors of 2 N pixels, the first views of free pairs: the same to train on and to measure."""
    images = torch.eye(facts.num_train, 2 * facts.num_train)[:, None, None, :]
    labels = torch.zeros(len(images), dtype=torch.long)
    return Splits(images, labels, Split(images, labels), num_train=len(images), num_fit=len(images))


def _cifar(kind: type[torchvision.CIFAR10], root: str, download: bool) -> Arrays:
    train, test = (kind(root, train=part, download=download) for part in (True, False))
    images = [np.moveaxis(part.data, 3, 1) for part in (train, test)]
    return images[0], np.asarray(train.targets, np.int64), images[1], np.asarray(test.targets, np.int64)


def _mnist(kind: type[torchvision.MNIST], root: str, download: bool) -> Arrays:
    train, test = (kind(root, train=part, download=download) for part in (True, False))
    images = [part.data.numpy()[:, None] for part in (train, test)]
    return images[0], train.targets.numpy(), images[1], test.targets.numpy()


def _stl(kind: type[torchvision.STL10], root: str, download: bool) -> Arrays:
    train, test = (kind(root, split=part, download=download) for part in ("train+unlabeled", "test"))
    assert train.labels is not None
    assert test.labels is not None
    labels = train.labels[train.labels >= 0]
    return train.data, labels.astype(np.int64), test.data, test.labels.astype(np.int64)


_KINDS: Mapping[str, tuple[Callable[[Any, str, bool], Arrays], Any, str]] = {
    "cifar10": (_cifar, torchvision.CIFAR10, "cifar-10-batches-py/data_batch_1"),
    "cifar100": (_cifar, torchvision.CIFAR100, "cifar-100-python/train"),
    "stl10": (_stl, torchvision.STL10, "stl10_binary/train_X.bin"),
    "fashion_mnist": (_mnist, torchvision.FashionMNIST, "FashionMNIST/raw/train-images-idx3-ubyte"),
    "mnist": (_mnist, torchvision.MNIST, "MNIST/raw/train-images-idx3-ubyte"),
}
"""How to read each data set of torchvision, its class there, and one of the files that it needs."""


def read_known(name: str, *, root: Path, download: bool) -> Splits:
    """Read a known data set.

    Args:
        name: that `search_spaces.datasets.known_dataset` knows.
        root: the folder that torchvision's data sets lie in; digits and free pairs need none.
        download: fetch what is missing into `root`.

    Raises:
        DataError: files are missing or damaged, in one line.
    """
    if name == "digits":
        return digits()
    if name not in DATASETS:
        facts = known_dataset(name)
        assert facts is not None
        return free_pairs(facts)
    read, kind, file = _KINDS[name]
    try:
        arrays = read(kind, str(root), download)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        if download:
            raise DataError(f"data.download: can't fetch {name} into {root}: {reason}") from None
        rule = f"expected {name} in this folder ({file} and the files beside it), whole and undamaged"
        raise DataError(f"data.root: {root}: {rule}; data.download: true would fetch it") from None
    _check_sizes(name, root, arrays)
    return in_splits(*arrays)


def _check_sizes(name: str, root: Path, arrays: Arrays) -> None:
    facts, (images, labels, test_images, test_labels) = DATASETS[name], arrays
    expected = (facts.num_train, facts.num_fit + facts.num_validation, facts.num_test, facts.num_test)
    sizes = (len(images), len(labels), len(test_images), len(test_labels))
    if sizes != expected or images.shape[1:] != facts.shape or test_images.shape[1:] != facts.shape:
        rule = f"expected {name} with {expected[0]:,} training and {expected[2]:,} test images of {facts.shape}"
        found = f"{sizes[0]:,} of {images.shape[1:]} and {sizes[2]:,} of {test_images.shape[1:]}"
        raise DataError(f"data.root: {root}: {rule}, got {found}")
