"""What is known of a data set before it is loaded: enough to plan a study and to read its results."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """Sizes of a data set.

    Args:
        summary: one line: what it is and where it comes from.
        shape: channels, height, width.
        num_train, num_validation, num_test: images in the splits.
        num_classes: classes are 0 .. num_classes - 1.
        mean, deviation: of the training pixels, per channel, on a scale of 0 to 1; networks see images
            standardised by them.
        augmentation: the preset that makes its views unless a study names another.
    """

    summary: str
    shape: tuple[int, int, int]
    num_train: int
    num_validation: int
    num_test: int
    num_classes: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    augmentation: str


DATASETS: Mapping[str, Dataset] = {
    "digits": Dataset(
        summary="1,797 real handwritten digits, 8 x 8, that ship with scikit-learn",
        shape=(1, 8, 8),
        num_train=1024,
        num_validation=273,
        num_test=500,
        num_classes=10,
        mean=(0.3053,),
        deviation=(0.376,),
        augmentation="affine_erasing",
    ),
}
