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
    """Images to train encoders on, and labelled ones to fit probes, choose their strength, and be scored once."""

    train: Float[Tensor, "n channels height width"]
    fit: Split
    validation: Split
    test: Split

    def to(self, device: torch.device) -> "Splits":
        """The same on another device."""
        labelled = (split.to(device) for split in (self.fit, self.validation, self.test))
        return Splits(self.train.to(device), *labelled)


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
    labelled = [Split(images[part], labels[part]) for part in (fit, validation, test)]
    return Splits(labelled[0].images, *labelled)
