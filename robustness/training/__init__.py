"""A pack -> its results."""

from robustness.training.pack import train_pack

__all__ = ["train_pack"]
