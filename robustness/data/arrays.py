"""Images and labels in one .npz file of arrays."""

from dataclasses import dataclass
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import BinaryIO

import numpy as np

from robustness.data.facts import SMALLEST_SIDE, facts_of
from robustness.data.splits import DataError, Splits, in_splits
from search_spaces.datasets import Dataset

KEYS = ("train_images", "train_labels", "test_images", "test_labels")


def content_of(path: Path) -> str:
    """BLAKE2b of the file's bytes, as 32 hexadecimal digits.

    Raises:
        DataError: the file can't be read.
    """
    try:
        with path.open("rb") as file:
            return file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise DataError(f"data.npz: {path}: can't read this file: {error.strerror}") from None


def facts(path: Path) -> Dataset:
    """Sizes, mean and deviation of a file.

    Raises:
        DataError: it is not as `read` expects.
    """
    arrays = _Arrays.read(path)
    return facts_of(
        arrays.train_images, arrays.train_labels, num_test=len(arrays.test_labels), place=f"data.npz: {path}"
    )


def read(path: Path) -> Splits:
    """Read train_images, train_labels, test_images and test_labels of a file.

    Images are unsigned bytes, [n, height, width] or [n, height, width, channels] with 1 or 3 channels, at least
    8 x 8. Labels are whole numbers from 0 to K - 1, every class at least twice in training.

    Raises:
        DataError: the file can't be read, or breaks one of these rules.
    """
    arrays = _Arrays.read(path)
    return in_splits(arrays.train_images, arrays.train_labels, arrays.test_images, arrays.test_labels)


@dataclass(frozen=True)
class _Arrays:
    """Checked: images [n, channels, height, width] and their labels."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @classmethod
    def read(cls, path: Path) -> "_Arrays":
        found = _load(path)
        for part in ("train", "test"):
            images, labels = found[f"{part}_images"], found[f"{part}_labels"]
            _check_images(path, f"{part}_images", images)
            _check_labels(path, part, labels, count=len(images))
            found[f"{part}_labels"] = labels.astype(np.int64)
        train, test = found["train_images"], found["test_images"]
        if train.shape[1:] != test.shape[1:]:
            rule = f"expected images of the shape of train_images, {train.shape[1:]}"
            raise DataError(f"data.npz: {path}: test_images: {rule}, got {test.shape[1:]}")
        _check_classes(found["train_labels"], found["test_labels"], place=f"data.npz: {path}")
        train, test = (np.moveaxis(x, 3, 1) if x.ndim == 4 else x[:, None] for x in (train, test))
        return cls(train, found["train_labels"], test, found["test_labels"])


def _check_classes(train_labels: np.ndarray, test_labels: np.ndarray, *, place: str) -> None:
    """Classes are 0 .. K - 1, at least two; each is trained at least twice, once to fit and once to validate."""
    low = int(min(train_labels.min(), test_labels.min()))
    if low < 0:
        raise DataError(f"{place}: labels: expected whole numbers from 0, got {low}")
    classes = np.unique(train_labels)
    if len(classes) < 2:
        raise DataError(f"{place}: train_labels: expected at least two classes, got {len(classes)}")
    gaps = np.flatnonzero(classes != np.arange(len(classes)))
    if len(gaps):
        rule = f"expected every class from 0 to {classes.max()}, got none of {gaps[0]}"
        raise DataError(f"{place}: train_labels: {rule}")
    counts = np.bincount(train_labels)
    if counts.min() < 2:
        rule = f"expected at least two images of each class, got one of class {counts.argmin()}"
        raise DataError(f"{place}: train_labels: {rule}")
    unknown = test_labels[test_labels >= len(classes)]
    if len(unknown):
        rule = f"expected the classes of train_labels, 0 to {len(classes) - 1}, got {unknown[0]}"
        raise DataError(f"{place}: test_labels: {rule}")


def _load(path: Path) -> dict[str, np.ndarray]:
    place = f"data.npz: {path}"
    try:
        with path.open("rb") as file:
            return _held(file, place)
    except OSError as error:
        raise DataError(f"{place}: can't read this file: {error.strerror}") from None


def _held(file: BinaryIO, place: str) -> dict[str, np.ndarray]:
    try:
        archive = np.load(file, allow_pickle=False)
    except Exception:
        rule = "expected an .npz file, as numpy.savez writes it"
        raise DataError(f"{place}: {rule}, got another kind or a damaged one") from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{place}: expected an .npz file with {', '.join(KEYS)}, got a single array")
    missing = [key for key in KEYS if key not in archive]
    if missing:
        found = ", ".join(archive.files[:8]) or "nothing"
        raise DataError(f"{place}: expected arrays {', '.join(KEYS)}; {missing[0]} is missing, got {found}")
    return {key: _array(archive, key, place) for key in KEYS}


def _array(archive: np.lib.npyio.NpzFile, key: str, place: str) -> np.ndarray:
    try:
        array = archive[key]
    except Exception as error:
        # numpy, zipfile and zlib each raise kinds of their own for damaged bytes and for pickled objects.
        raise DataError(f"{place}: {key}: can't read this array: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{place}: {key}: expected an array, as numpy.savez writes it")
    return array


def _check_images(path: Path, key: str, images: np.ndarray) -> None:
    place, layout = f"data.npz: {path}: {key}", "[n, height, width] or [n, height, width, channels]"
    if images.dtype != np.uint8:
        raise DataError(f"{place}: expected unsigned bytes (uint8), 0 to 255, got {images.dtype}")
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise DataError(f"{place}: expected {layout} with 1 or 3 channels, got shape {images.shape}")
    if len(images) == 0:
        raise DataError(f"{place}: expected at least one image, got shape {images.shape}")
    if min(images.shape[1:3]) < SMALLEST_SIDE:
        raise DataError(
            f"{place}: expected images of at least {SMALLEST_SIDE} x {SMALLEST_SIDE}, got shape {images.shape}"
        )


def _check_labels(path: Path, part: str, labels: np.ndarray, *, count: int) -> None:
    place = f"data.npz: {path}: {part}_labels"
    if labels.dtype.kind not in "iu":
        raise DataError(f"{place}: expected whole numbers, got {labels.dtype}")
    if labels.shape != (count,):
        raise DataError(
            f"{place}: expected one label for each of the {count:,} {part}_images, got shape {labels.shape}"
        )
