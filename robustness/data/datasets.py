"""Images with labels, in three fixed splits."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Images, 0 to 1, and their classes."""

    images: Float[Tensor, "n channels height width"]
    labels: Int[Tensor, "n"]

    def to(self, device: torch.device) -> "Split":
        """The same on another device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Splits:
    """Training, validation (chooses the probe's strength) and test images (scored once)."""

    train: Split
    validation: Split
    test: Split

    def to(self, device: torch.device) -> "Splits":
        """The same on another device."""
        return Splits(self.train.to(device), self.validation.to(device), self.test.to(device))


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
    train, validation = train_test_split(rest, test_size=273, stratify=bunch.target[rest], random_state=0)
    images = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16
    labels = torch.from_numpy(bunch.target).long()
    return Splits(*(Split(images[part], labels[part]) for part in (train, validation, test)))
