"""What nearest neighbours, by cosine, make of frozen features."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from robustness.metrics.geometry import unit_rows

_ROWS_AT_ONCE = 2048


def knn_top1(
    train_x: Float[Tensor, "train dim"],
    train_y: Int[Tensor, "train"],
    test_x: Float[Tensor, "test dim"],
    test_y: Int[Tensor, "test"],
    *,
    num_classes: int,
    k: int | None = None,
) -> float:
    """Share of test images whose nearest training images, by cosine, vote for their class.

    Args:
        k: number of neighbours; 20 by default, 5 for training sets under 5,000. Ties go to the smallest class.

    Returns:
        0 to 1, higher is better.
    """
    neighbours = k if k is not None else (5 if len(train_x) < 5_000 else 20)
    train, test = unit_rows(train_x), unit_rows(test_x)
    # Less than one vote in all, and more for a larger class: it decides ties and nothing else.
    preference = torch.arange(num_classes, device=train.device) / num_classes
    correct = 0
    for rows, classes in zip(torch.split(test, _ROWS_AT_ONCE), torch.split(test_y, _ROWS_AT_ONCE), strict=True):
        nearest = (rows @ train.T).topk(min(neighbours, len(train)), dim=1).indices
        votes = F.one_hot(train_y[nearest], num_classes).sum(1)
        correct += int(((votes - preference).argmax(1) == classes).sum())
    return correct / len(test)


def retrieval_top1(x: Float[Tensor, "n dim"], x_other: Float[Tensor, "n dim"]) -> float:
    """Share of images whose first view has its own second view as nearest of all images' second views, by cosine.

    Also called recall at 1. A tie with another image counts as missed, so encoders that tell nothing apart score 0.

    Args:
        x, x_other: features of the two views, image by image.

    Returns:
        0 to 1, higher is better.
    """
    first, second = unit_rows(x), unit_rows(x_other)
    found = 0
    for start in range(0, len(first), _ROWS_AT_ONCE):
        similarity = first[start : start + _ROWS_AT_ONCE] @ second.T
        own = similarity.diagonal(start)
        found += int(((similarity >= own.unsqueeze(1)).sum(1) == 1).sum())
    return found / len(first)
