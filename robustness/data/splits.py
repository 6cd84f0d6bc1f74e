"""Images with labels, in three fixed splits, and all images that encoders train on."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from sklearn.model_selection import train_test_split
from torch import Tensor

Images = Float[Tensor, "n channels height width"] | UInt8[Tensor, "n channels height width"]


class DataError(ValueError):
    """Images that can't be read, or are not what they should be; the message is one line that begins with a key."""


@dataclass(frozen=True)
class Split:
    """Images, floats of 0 to 1 or bytes of 0 to 255, and their classes."""

    images: Images
    labels: Int[Tensor, "n"]

    def to(self, device: torch.device) -> "Split":
        """The same on another device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Splits:
    """Images to train encoders on, and labelled ones to fit probes, choose their strength, and be scored once.

    Each image is held once: `train`, `fit` and `validation` are views of `images`.

    Args:
        images: those of `fit`, then those of `validation`, then those without labels.
        labels: of the images of `fit` and `validation`.
        test: images that nothing is fitted on.
        num_train: how many of `images` encoders train on, the first ones.
        num_fit: how many of `images` probes are fitted on, the first ones.
        corrupted: a folder of test images under corruptions, as `robustness.data.cifar_c` reads them.
    """

    images: Images
    labels: Int[Tensor, "labelled"]
    test: Split
    num_train: int
    num_fit: int
    corrupted: Path | None = None

    @property
    def train(self) -> Images:
        """What encoders train on, without labels."""
        return self.images[: self.num_train]

    @property
    def fit(self) -> Split:
        """What probes are fitted on."""
        return Split(self.images[: self.num_fit], self.labels[: self.num_fit])

    @property
    def validation(self) -> Split:
        """What the strength of probes is chosen on."""
        return Split(self.images[self.num_fit : len(self.labels)], self.labels[self.num_fit :])

    def to(self, device: torch.device) -> "Splits":
        """The same on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device), test=self.test.to(device))


def as_floats(images: Images, dtype: torch.dtype = torch.float32) -> Float[Tensor, "n channels height width"]:
    """Images as floats of 0 to 1: bytes divided by 255, floats as they are."""
    return images.to(dtype) / 255 if images.dtype == torch.uint8 else images.to(dtype)


def num_validation(num_labelled: int, num_classes: int) -> int:
    """A tenth of the labelled training images, and enough for one of each class."""
    return max(round(num_labelled / 10), num_classes)


def split_order(labels: Int[np.ndarray, "n"], *, size: int) -> Int[np.ndarray, "n"]:
    """An order of labelled images that ends with `size` ones to validate on: stratified by class and fixed."""
    fit, validation = train_test_split(np.arange(len(labels)), test_size=size, stratify=labels, random_state=0)
    return np.concatenate([fit, validation])


def in_splits(
    images: UInt8[np.ndarray, "n channels height width"],
    labels: Int[np.ndarray, "labelled"],
    test_images: UInt8[np.ndarray, "m channels height width"],
    test_labels: Int[np.ndarray, "m"],
) -> Splits:
    """Encoders train on all images; of the labelled ones, which come first, a tenth is for validation.

    Args:
        images: training images, those with labels first.
        labels: of the first images, 0 to K - 1, every class at least twice.
        test_images, test_labels: the test split as it is.
    """
    size = num_validation(len(labels), int(labels.max()) + 1)
    order = split_order(labels, size=size)
    ordered = np.empty(images.shape, images.dtype)
    np.take(images, order, axis=0, out=ordered[: len(order)])
    ordered[len(order) :] = images[len(order) :]
    return Splits(
        torch.from_numpy(ordered),
        torch.from_numpy(labels[order].astype(np.int64)),
        Split(torch.from_numpy(np.ascontiguousarray(test_images)), torch.from_numpy(test_labels.astype(np.int64))),
        num_train=len(images),
        num_fit=len(labels) - size,
    )
