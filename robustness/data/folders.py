"""A folder of image files: train/CLASS/* and test/CLASS/* or val/CLASS/*."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.datasets.folder import IMG_EXTENSIONS

from robustness.data.facts import facts_of
from robustness.data.splits import DataError, Split, Splits, num_validation, split_order
from search_spaces.datasets import Dataset

DEFAULT_SIDE = 224
_MOST_SAMPLED = 2000
"""Training images from which mean and deviation are taken, evenly spaced."""


@dataclass(frozen=True)
class Folder:
    """What a folder holds.

    Args:
        path: the folder.
        train, test: image files, sorted by class and name.
        train_labels, test_labels: their classes, in the order of the names of classes.
        content: BLAKE2b of the sorted paths below the folder with the sizes of their files, in hexadecimal.
    """

    path: Path
    train: Sequence[Path]
    train_labels: np.ndarray
    test: Sequence[Path]
    test_labels: np.ndarray
    content: str


def listed(path: Path) -> Folder:
    """List a folder; no image is opened.

    Raises:
        DataError: there is no such folder, or its classes are not as they should be.
    """
    place = f"data.imagefolder: {path}"
    train = _classes(path / "train", place)
    test = _classes(path / "test" if (path / "test").is_dir() else path / "val", place)
    if len(train) < 2:
        raise DataError(f"{place}: train: expected a folder for each of at least two classes, got {len(train)}")
    unknown, missing = sorted(set(test) - set(train)), sorted(set(train) - set(test))
    if unknown or missing:
        rule = "expected the same classes to train and to test"
        raise DataError(f"{place}: {rule}, got {(unknown or missing)[0]} in {'test' if unknown else 'train'} only")
    for name, files in train.items():
        if len(files) < 2:
            raise DataError(f"{place}: train/{name}: expected at least two images of each class, got one")
    names = list(train)
    listing = [[file for name in names for file in part[name]] for part in (train, test)]
    labels = [np.repeat(np.arange(len(names)), [len(part[name]) for name in names]) for part in (train, test)]
    return Folder(path, listing[0], labels[0], listing[1], labels[1], _content(path, [*listing[0], *listing[1]]))


def facts(folder: Folder, *, side: int) -> Dataset:
    """Sizes of a folder; mean and deviation are those of at most 2,000 evenly spaced training images.

    Raises:
        DataError: one of these images can't be read.
    """
    count = len(folder.train)
    sample = np.unique(np.linspace(0, count - 1, min(count, _MOST_SAMPLED)).astype(int))
    images = _decoded(folder.path, [folder.train[k] for k in sample], side=side)
    place = f"data.imagefolder: {folder.path}"
    return facts_of(images, folder.train_labels, num_test=len(folder.test), place=place)


def read(folder: Folder, *, side: int) -> Splits:
    """Decode every image: the shorter side becomes `side` pixels, and the middle is cut out.

    Raises:
        DataError: an image can't be read.
    """
    size = num_validation(len(folder.train), int(folder.train_labels.max()) + 1)
    order = split_order(folder.train_labels, size=size)
    test = Split(torch.from_numpy(_decoded(folder.path, folder.test, side=side)), torch.from_numpy(folder.test_labels))
    return Splits(
        torch.from_numpy(_decoded(folder.path, [folder.train[k] for k in order], side=side)),
        torch.from_numpy(folder.train_labels[order]),
        test,
        num_train=len(order),
        num_fit=len(order) - size,
    )


def _classes(path: Path, place: str) -> dict[str, list[Path]]:
    """Classes, sorted, with their image files, sorted; names that begin with a dot are passed over."""
    try:
        folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        rule = "expected the folders train/CLASS and test/CLASS or val/CLASS"
        raise DataError(f"{place}: {rule}; can't list {path.name}: {error.strerror}") from None
    classes = {}
    for folder in folders:
        files = (file for file in folder.rglob("*") if not file.name.startswith(".") and file.is_file())
        classes[folder.name] = sorted(file for file in files if file.suffix.lower() in IMG_EXTENSIONS)
        if not classes[folder.name]:
            kinds = ", ".join(IMG_EXTENSIONS)
            raise DataError(f"{place}: {path.name}/{folder.name}: expected images ({kinds}), got none")
    return classes


def _content(path: Path, files: Sequence[Path]) -> str:
    hashed = blake2b(digest_size=16)
    for name, size in sorted((file.relative_to(path).as_posix(), file.stat().st_size) for file in files):
        hashed.update(f"{name}\0{size}\0".encode())
    return hashed.hexdigest()


def _decoded(path: Path, files: Sequence[Path], *, side: int) -> np.ndarray:
    """Images as bytes, [n, 3, side, side]; Pillow lets threads run while it decodes."""
    images = np.empty((len(files), 3, side, side), np.uint8)

    def decode(k: int) -> None:
        try:
            with Image.open(files[k]) as image:
                fitted = ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.BILINEAR)
        except Exception as error:
            # Pillow's readers raise kinds of their own, SyntaxError among them.
            file, reason = files[k].relative_to(path), " ".join(str(error).split())[:200]
            raise DataError(f"data.imagefolder: {path}: {file}: can't read this image: {reason}") from None
        images[k] = np.moveaxis(np.asarray(fitted), 2, 0)

    with ThreadPoolExecutor() as threads:
        for _ in threads.map(decode, range(len(files))):
            pass
    return images
