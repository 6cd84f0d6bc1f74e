"""Images, their splits, their random views, and their batches."""

from collections.abc import Callable, Mapping

from robustness.data.augmentation import AUGMENTATIONS, two_views
from robustness.data.batches import epoch_batches
from robustness.data.datasets import Split, Splits, digits

LOADERS: Mapping[str, Callable[[], Splits]] = {"digits": digits}
"""How to read each data set of `search_spaces.datasets.DATASETS`."""

__all__ = ["AUGMENTATIONS", "LOADERS", "Split", "Splits", "epoch_batches", "two_views"]
