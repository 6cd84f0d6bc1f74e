"""CIFAR-10-C and CIFAR-100-C: the test images under nineteen corruptions, where the user has them.

Source:
    Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR 2019,
    arXiv:1903.12261. A file a corruption, of all test images in their order at severity 1, then at severity 2, up to 5.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from robustness.data.corruptions import SEVERITIES
from robustness.data.splits import DataError
from search_spaces.datasets import DATASETS

FOLDERS: Mapping[str, str] = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}
"""Data set -> the folder beside it."""

_LABELS = "labels.npy"


def find(name: str, root: Path) -> Path:
    """The folder of a data set's corrupted test images, checked.

    Args:
        name: of `FOLDERS`.
        root: the folder that torchvision's data sets lie in.

    Raises:
        DataError: it is not there, or a file is not what it should be, in one line.
    """
    folder = root / FOLDERS[name]
    files = _files(folder)
    if not files:
        raise DataError(f"data.root: {root}: expected {FOLDERS[name]} in this folder, with a .npy file a corruption")
    facts = DATASETS[name]
    channels, height, width = facts.shape
    expected = (SEVERITIES * facts.num_test, height, width, channels)
    for file in files:
        try:
            images = np.load(file, mmap_mode="r", allow_pickle=False)
        except Exception as error:
            raise DataError(f"data.root: {file}: can't read this array: {' '.join(str(error).split())[:200]}") from None
        if images.shape != expected or images.dtype != np.uint8:
            rule = f"expected {facts.num_test:,} images at {SEVERITIES} severities, uint8 {expected}"
            raise DataError(f"data.root: {file}: {rule}, got {images.dtype} {images.shape}")
    return folder


def corrupted_test_images(folder: Path, *, num_images: int) -> Iterator[UInt8[Tensor, "n channels height width"]]:
    """The first test images under each corruption at each severity, one after another."""
    for file in _files(folder):
        every = np.load(file, mmap_mode="r", allow_pickle=False)
        size = len(every) // SEVERITIES
        for severity in range(SEVERITIES):
            images = every[severity * size : severity * size + min(num_images, size)]
            yield torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, 3, 1)))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.npy") if file.name != _LABELS)
