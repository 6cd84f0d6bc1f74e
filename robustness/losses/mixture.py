"""Members of several related families as one: at small batches, starting operations is what takes time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from robustness.losses.info_nce import log1p_exp, log_ratio
from robustness.losses.pairwise.anchors import Anchors, Embeddings, PerMember
from robustness.losses.pairwise.evaluation import unit_views
from robustness.losses.pairwise.loss import PairwiseLoss, Views
from robustness.losses.pairwise.products import MutualProducts

Formula: TypeAlias = PairwiseLoss | Callable[..., Tensor]
Terms: TypeAlias = Callable[[Tensor], Tensor]
"""From unit embeddings of shape (members, 2, images, dim) to one term per anchor, those of a member together."""

MOST_PAIRS = 2**19
"""Pairs of all members, both ways, up to which families are mixed: beyond, forming pairs that a family doesn't
compare costs more than is saved."""


@dataclass(frozen=True)
class Family:
    """Members of one family.

    Args:
        loss: the family.
        hyperparameters: of each member, by name; in the precision in which embeddings are compared.
    """

    loss: PairwiseLoss
    hyperparameters: Mapping[str, Tensor]

    @property
    def size(self) -> int:
        """The number of members."""
        return len(next(iter(self.hyperparameters.values())))

    @property
    def by_anchor(self) -> dict[str, Tensor]:
        """Hyperparameters of both views of each member, as rules take them."""
        return {name: own.repeat_interleave(2).view(-1, 1, 1, 1) for name, own in self.hyperparameters.items()}


def line_of(formula: Formula) -> Literal["InfoNCE", "kernel"] | None:
    """Which families this one can be evaluated with; None if with no others."""
    if not isinstance(formula, PairwiseLoss):
        return None
    if formula.positive_in_sum is not None:
        return "InfoNCE"
    return None if formula.kernel is None else "kernel"


def is_small(num_members: int, *, num_images: int) -> bool:
    """Whether so many members should be evaluated as one at this batch size."""
    return num_members * (2 * num_images) ** 2 <= MOST_PAIRS


def mixture(families: Sequence[Family], *, num_images: int) -> Callable[[Embeddings, Embeddings], PerMember]:
    """The losses of all members of families of one line, one family after another.

    Returns:
        A function of the embeddings of two views, of shape (members, images, dim), normalised there.
    """
    terms = _info_nce_line if families[0].loss.kernel is None else _kernels
    return partial(_evaluate, terms(families, num_images))


def _evaluate(terms: Terms, u: Embeddings, v: Embeddings) -> PerMember:
    with torch.autocast(u.device.type, enabled=False):
        return terms(unit_views(u, v)).reshape(len(u), -1).mean(1)


def _info_nce_line(families: Sequence[Family], num_images: int) -> Terms:
    temperature = torch.cat([family.by_anchor["temperature"] for family in families])
    hidden = torch.cat([_hidden(family, num_images).expand(family.size, -1, -1) for family in families])
    in_sum = torch.cat([torch.full_like(f.by_anchor["temperature"], bool(f.loss.positive_in_sum)) for f in families])
    in_sum = in_sum.bool()

    def terms(views: Tensor) -> Tensor:
        x = log_ratio(Anchors(MutualProducts(views, "both views", None, hidden=hidden), num_images), temperature)
        return torch.where(in_sum, log1p_exp(x), x)

    return terms


def _hidden(family: Family, num_images: int) -> Tensor:
    """0 where two embeddings of both views are compared, else -inf: never of one image."""
    like = family.by_anchor["temperature"]
    image = torch.arange(num_images, device=like.device).repeat(2)
    view = torch.arange(2, device=like.device).repeat_interleave(num_images)
    same_view = view == view.unsqueeze(1)
    everything = torch.ones_like(same_view)
    compared: dict[Views, Tensor] = {"both views": everything, "same view": same_view, "other view": ~same_view}
    shown = compared[family.loss.negatives] & (image != image.unsqueeze(1))
    return torch.zeros_like(shown, dtype=like.dtype).masked_fill_(~shown, -torch.inf)


def _kernels(families: Sequence[Family], num_images: int) -> Terms:
    """Each kernel once for all pairs: an anchor's distances to its negatives and, last, to its positive."""
    gamma = torch.cat([family.by_anchor["gamma"] for family in families])
    others = (1 - torch.eye(num_images).to(gamma)).view(1, num_images, 1, num_images)
    positive = torch.ones_like(others[..., :1]).expand(len(gamma), -1, -1, -1)
    weights = torch.cat([gamma * others / (num_images - 1), -positive], dim=-1)
    sizes = [2 * family.size for family in families]
    kernels = [
        partial(family.loss.kernel, **{name: own for name, own in family.by_anchor.items() if name != "gamma"})
        for family in families
        if family.loss.kernel is not None
    ]

    def terms(views: Tensor) -> Tensor:
        anchors = Anchors(MutualProducts(views, "same view", None), num_images)
        distances = torch.cat([anchors.distances, anchors.positive_distance], dim=-1)
        parts = [kernel(part) for kernel, part in zip(kernels, torch.split(distances, sizes), strict=True)]
        return (torch.cat(parts) * weights).sum(-1)

    return terms
