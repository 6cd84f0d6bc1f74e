"""Images, their splits, their random views, and their batches."""

from robustness.data.augmentation import AUGMENTATIONS, COLOUR_AUGMENTATIONS, two_views
from robustness.data.policies import shuffled_batches
from robustness.data.sources import describe, load
from robustness.data.splits import DataError, Split, Splits, as_floats

__all__ = [
    "AUGMENTATIONS",
    "COLOUR_AUGMENTATIONS",
    "DataError",
    "Split",
    "Splits",
    "as_floats",
    "describe",
    "load",
    "shuffled_batches",
    "two_views",
]
