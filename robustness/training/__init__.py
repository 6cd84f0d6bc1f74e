"""A pack -> its results."""

from robustness.training.checkpoints import Checkpoints
from robustness.training.pack import train_pack
from robustness.training.slices import Fuse

__all__ = ["Checkpoints", "Fuse", "train_pack"]
