"""What every pairwise loss starts from: unit vectors, similarities, and rows without their own pair."""

from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Embeddings: TypeAlias = Float[Tensor, "*members images dim"]
Pairs: TypeAlias = Float[Tensor, "*members images images"]
PerImage: TypeAlias = Float[Tensor, "*members images"]
PerMember: TypeAlias = Float[Tensor, "*members"]
Hyperparameter: TypeAlias = float | Tensor


def unit_rows(u: Embeddings, v: Embeddings) -> tuple[Embeddings, Embeddings]:
    """Both views' embeddings, scaled to length 1.

    Raises:
        ValueError: the views differ in shape, or there are fewer than two images: no negatives.
    """
    if u.shape != v.shape:
        raise ValueError(f"expected two views of one shape, got {tuple(u.shape)} and {tuple(v.shape)}")
    if u.shape[-2] < 2:
        raise ValueError(f"a contrastive loss needs at least 2 images, got {u.shape[-2]}")
    return F.normalize(u, dim=-1), F.normalize(v, dim=-1)


def similarities(a: Embeddings, b: Embeddings) -> Pairs:
    """Inner products of every row of `a` with every row of `b`."""
    return a @ b.mT


def positives(u: Embeddings, v: Embeddings) -> PerImage:
    """Inner products of the two views of each image."""
    return (u * v).sum(-1)


def without_diagonal(pairs: Pairs, *, fill: float = -torch.inf) -> Pairs:
    """The same with `fill` on the diagonal: an image is not its own negative."""
    diagonal = torch.eye(pairs.shape[-1], dtype=torch.bool, device=pairs.device)
    return pairs.masked_fill(diagonal, fill)


def per_member(hyperparameter: Hyperparameter, trailing_axes: int) -> Hyperparameter:
    """A hyperparameter shaped so that it broadcasts over `trailing_axes` axes behind the members'."""
    if isinstance(hyperparameter, Tensor):
        return hyperparameter.reshape(*hyperparameter.shape, *(1,) * trailing_axes)
    return hyperparameter
