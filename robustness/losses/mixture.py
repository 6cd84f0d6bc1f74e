"""Members of several families of the InfoNCE line as one: at small batches, starting operations is what takes time."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor

from robustness.losses.info_nce import log1p_exp, log_ratio
from robustness.losses.pairwise.anchors import Anchors, Embeddings, PerMember
from robustness.losses.pairwise.evaluation import unit_views
from robustness.losses.pairwise.loss import PairwiseLoss, Views
from robustness.losses.pairwise.products import MutualProducts

Formula: TypeAlias = PairwiseLoss | Callable[..., Tensor]

MOST_PAIRS = 2**19
"""Pairs of all members, both ways, up to which families are mixed: beyond, forming pairs that a family doesn't
compare costs more than is saved."""


def can_mix(formula: Formula) -> bool:
    """Whether a family is of the InfoNCE line."""
    return isinstance(formula, PairwiseLoss) and formula.positive_in_sum is not None


def mixes(formulas: Sequence[Formula], *, num_images: int) -> bool:
    """Whether members of these families, one each, can be evaluated as one, and are few enough at this batch size."""
    return len(formulas) * (2 * num_images) ** 2 <= MOST_PAIRS and all(map(can_mix, formulas))


def evaluate_mixture(formulas: Sequence[Formula], u: Embeddings, v: Embeddings, *, temperature: Tensor) -> PerMember:
    """One value per member.

    Args:
        formulas: of the family of each member, all of the InfoNCE line.
        u, v: embeddings of the two views, of shape (members, images, dim); normalised here.
        temperature: of each member.
    """
    with torch.autocast(u.device.type, enabled=False):
        views = unit_views(u, v)
        by_anchor = temperature.to(views).repeat_interleave(2).view(-1, 1, 1, 1)
        losses = [formula for formula in formulas if isinstance(formula, PairwiseLoss)]
        hidden = _hidden(tuple(loss.negatives for loss in losses), views.shape[2], views.dtype, views.device)
        products = MutualProducts(views, "both views", tile=None, hidden=hidden)
        x = log_ratio(Anchors(products, views.shape[2]), by_anchor)
        in_sum = _by_anchor(tuple(bool(loss.positive_in_sum) for loss in losses), views.device)
        return torch.where(in_sum, log1p_exp(x), x).view(len(losses), -1).mean(1)


@lru_cache(maxsize=8)
def _by_anchor(values: tuple[bool, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).repeat_interleave(2).view(-1, 1, 1, 1)


@lru_cache(maxsize=8)
def _hidden(negatives: tuple[Views, ...], num_images: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """For each member 0 where two embeddings of both views are compared, else -inf; never of one image."""
    view = torch.arange(2 * num_images, device=device) // num_images
    image = torch.arange(2 * num_images, device=device) % num_images
    same_view, same_image = view == view.unsqueeze(1), image == image.unsqueeze(1)
    shown = {"both views": ~same_image, "same view": same_view & ~same_image, "other view": ~same_view & ~same_image}
    layers = [torch.zeros_like(same_image, dtype=dtype).masked_fill_(~shown[each], -torch.inf) for each in negatives]
    return torch.stack(layers)
