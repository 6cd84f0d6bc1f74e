"""Images, their splits, their random views, and their batches."""

from collections.abc import Mapping

from robustness.data.augmentation import AUGMENTATIONS, two_views
from robustness.data.batches import epoch_batches
from robustness.data.datasets import Dataset, Split, Splits, digits

DATASETS: Mapping[str, Dataset] = {
    "digits": Dataset(
        summary="1,797 real handwritten digits, 8 x 8, that ship with scikit-learn",
        shape=(1, 8, 8),
        num_train=1024,
        num_validation=273,
        num_test=500,
        num_classes=10,
        augmentation="affine_erasing",
        load=digits,
    ),
}

__all__ = ["AUGMENTATIONS", "DATASETS", "Dataset", "Split", "Splits", "epoch_batches", "two_views"]
