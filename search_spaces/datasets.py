"""What is known of a data set before it is loaded: enough to plan a study and to read its results."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Dataset:
    """Sizes of a data set.

    Args:
        summary: one line: what it is and where it comes from.
        shape: channels, height, width.
        num_train: images that encoders train on, without labels.
        num_fit, num_validation: labelled images that probes are fitted on, and that choose their strength.
        num_test: images that are scored once.
        num_classes: classes are 0 .. num_classes - 1; 0 where there are none, of free pairs.
        mean, deviation: of the training pixels, per channel, on a scale of 0 to 1; networks see images
            standardised by them.
        augmentation: the preset that makes its views unless a study names another.
    """

    summary: str
    shape: tuple[int, int, int]
    num_train: int
    num_fit: int
    num_validation: int
    num_test: int
    num_classes: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    augmentation: str

    @property
    def is_free(self) -> bool:
        """Whether these are pairs without pixels and classes, for embeddings that are optimised directly."""
        return self.num_classes == 0


PAIRS = "pairs"
"""The data set of free embeddings, and how its two views are made."""

MOST_PAIRS = 4096
"""An image of N pairs has 2 N pixels."""

DATASETS: Mapping[str, Dataset] = {
    "digits": Dataset(
        summary="1,797 real handwritten digits, 8 x 8, that ship with scikit-learn",
        shape=(1, 8, 8),
        num_train=1024,
        num_fit=1024,
        num_validation=273,
        num_test=500,
        num_classes=10,
        mean=(0.3053,),
        deviation=(0.376,),
        augmentation="affine_erasing",
    ),
    "cifar10": Dataset(
        summary="60,000 colour photographs of animals and vehicles, 32 x 32 (Krizhevsky, 2009)",
        shape=(3, 32, 32),
        num_train=50_000,
        num_fit=45_000,
        num_validation=5_000,
        num_test=10_000,
        num_classes=10,
        mean=(0.4914, 0.4822, 0.4465),
        deviation=(0.247, 0.2435, 0.2616),
        augmentation="cifar",
    ),
    "cifar100": Dataset(
        summary="60,000 colour photographs of a hundred kinds of things, 32 x 32 (Krizhevsky, 2009)",
        shape=(3, 32, 32),
        num_train=50_000,
        num_fit=45_000,
        num_validation=5_000,
        num_test=10_000,
        num_classes=100,
        mean=(0.5071, 0.4865, 0.4409),
        deviation=(0.2673, 0.2564, 0.2762),
        augmentation="cifar",
    ),
    "stl10": Dataset(
        summary="113,000 colour photographs, 96 x 96, of which 13,000 have labels (Coates, Ng & Lee, AISTATS 2011)",
        shape=(3, 96, 96),
        num_train=105_000,
        num_fit=4_500,
        num_validation=500,
        num_test=8_000,
        num_classes=10,
        mean=(0.4409, 0.4279, 0.3868),
        deviation=(0.2683, 0.261, 0.2687),
        augmentation="stl",
    ),
    "fashion_mnist": Dataset(
        summary="70,000 grey photographs of clothes, 28 x 28 (Xiao, Rasul & Vollgraf, arXiv:1708.07747)",
        shape=(1, 28, 28),
        num_train=60_000,
        num_fit=54_000,
        num_validation=6_000,
        num_test=10_000,
        num_classes=10,
        mean=(0.286,),
        deviation=(0.353,),
        augmentation="crop_flip",
    ),
    "mnist": Dataset(
        summary="70,000 grey handwritten digits, 28 x 28 (LeCun, Bottou, Bengio & Haffner, 1998)",
        shape=(1, 28, 28),
        num_train=60_000,
        num_fit=54_000,
        num_validation=6_000,
        num_test=10_000,
        num_classes=10,
        mean=(0.1307,),
        deviation=(0.3081,),
        augmentation="affine",
    ),
}
"""Data sets of images that are known by name; planning with them needs no files."""


def pairs_name(num_pairs: int) -> str:
    """The name of a data set of so many free pairs, such as pairs_8."""
    return f"{PAIRS}_{num_pairs}"


def known_dataset(name: str) -> Dataset | None:
    """The data set of this name, of `DATASETS` or of free pairs; None if there is none."""
    if name in DATASETS:
        return DATASETS[name]
    found = re.fullmatch(rf"{PAIRS}_([1-9]\d*)", name)
    return None if found is None else _free_pairs(int(found[1]))


def _free_pairs(num_pairs: int) -> Dataset:
    """Image i is the i-th unit vector of 2 N pixels, and its other view the (N + i)-th: a linear map is a table."""
    return Dataset(
        summary=f"{num_pairs:,} pairs without pixels or classes, whose embeddings are optimised directly",
        shape=(1, 1, 2 * num_pairs),
        num_train=num_pairs,
        num_fit=num_pairs,
        num_validation=0,
        num_test=num_pairs,
        num_classes=0,
        mean=(0.0,),
        deviation=(1.0,),
        augmentation=PAIRS,
    )


def chance(outcome: str, dataset: Dataset) -> float:
    """The accuracy of a guess: of a class, or where one view has to find the other, of an image.

    Args:
        outcome: a column of accuracies.
    """
    return 1.0 / (dataset.num_test if outcome.startswith("retrieval") else dataset.num_classes)


def dataset_of(data: Mapping[str, Any]) -> Dataset:
    """What is known of the data of a trial: by its name, or what the trial says of the files themselves.

    Args:
        data: of a trial; files have a `content` hash, and every field of `Dataset` but the summary.
    """
    if "content" not in data:
        known = known_dataset(data["dataset"])
        if known is None:
            raise KeyError(data["dataset"])
        return known
    told = {field.name: data[field.name] for field in fields(Dataset) if field.name != "summary"}
    triple = {name: tuple(told[name]) for name in ("shape", "mean", "deviation")}
    return Dataset(summary=f"files with content {data['content']}", **(told | triple))


def written(dataset: Dataset, content: str) -> dict[str, Any]:
    """The facts of files as a trial tells them; `dataset_of` reads them back."""
    return {"content": content, **{name: value for name, value in asdict(dataset).items() if name != "summary"}}
