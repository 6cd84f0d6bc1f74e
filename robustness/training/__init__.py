"""A pack -> its results."""

from robustness.training.checkpoints import Checkpoints
from robustness.training.pack import Interrupted, train_pack
from robustness.training.slices import Fuse

__all__ = ["Checkpoints", "Fuse", "Interrupted", "train_pack"]
