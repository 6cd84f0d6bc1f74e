"""What is told of files of images: sizes, and mean and deviation of their pixels."""

import numpy as np

from robustness.data.splits import DataError, num_validation
from search_spaces.datasets import Dataset

SMALLEST_SIDE = 8
_DECIMALS = 4
"""Of mean and deviation, as published for known data sets; decoders of JPEG differ by less."""


def facts_of(images: np.ndarray, labels: np.ndarray, *, num_test: int, place: str) -> Dataset:
    """The facts of files.

    Args:
        images: unsigned bytes, [n, channels, height, width]: training images, or a sample of them.
        labels: of all training images, 0 to K - 1.
        num_test: how many test images there are.
        place: begins the message of an error.

    Raises:
        DataError: a channel has the same value everywhere, so that it can't be standardised.
    """
    num_classes = int(labels.max()) + 1
    validation = num_validation(len(labels), num_classes)
    mean, deviation = _moments(images)
    if min(deviation) == 0:
        channel = deviation.index(0)
        raise DataError(
            f"{place}: expected training images that differ, got {mean[channel]:g} all over channel {channel}"
        )
    _, channels, height, width = images.shape
    return Dataset(
        summary="",
        shape=(channels, height, width),
        num_train=len(labels),
        num_fit=len(labels) - validation,
        num_validation=validation,
        num_test=num_test,
        num_classes=num_classes,
        mean=mean,
        deviation=deviation,
        augmentation=_augmentation(channels, min(height, width)),
    )


def _augmentation(channels: int, side: int) -> str:
    """The preset that was made for images of about this size."""
    if channels != 3:
        return "crop_flip"
    return "cifar" if side <= 64 else "stl" if side <= 128 else "imagenet"


def _moments(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel on a scale of 0 to 1, from counts of its values: no rounding adds up."""
    counts = np.zeros((images.shape[1], 256), np.int64)
    for image_block in np.array_split(images, -(-len(images) // 1000)):
        for channel, count in enumerate(counts):
            count += np.bincount(image_block[:, channel].ravel(), minlength=256)
    shares, values = counts / counts.sum(1, keepdims=True), np.arange(256) / 255
    means = shares @ values
    deviations = np.sqrt(((values - means[:, None]) ** 2 * shares).sum(1))
    return tuple(round(float(x), _DECIMALS) for x in means), tuple(round(float(x), _DECIMALS) for x in deviations)
