"""A tile of anchors, as every pairwise loss sees it, and the reductions over an anchor's negatives.

An anchor is one view of an image. It has one positive, the other view of the same image, and negatives: the
embeddings of all other images, in the views that the family compares with. Pairs have shape (members, rows,
views, images), what there is one of per anchor (members, rows, 1, 1), hyperparameters (members, 1, 1, 1): so a
rule that is written on scalars broadcasts as it stands.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from robustness.losses.pairwise.products import MutualProducts, Products

Embeddings: TypeAlias = Float[Tensor, "*members images dim"]
PerMember: TypeAlias = Float[Tensor, "*members"]

Pairs: TypeAlias = Float[Tensor, "members rows views images"]
PerAnchor: TypeAlias = Float[Tensor, "members rows 1 1"]
Hyperparameter: TypeAlias = Float[Tensor, "members 1 1 1"]


@dataclass(frozen=True)
class Anchors:
    """Some anchors, and what they are compared with.

    Args:
        products: inner products with the positives, and with every image's embeddings, one layer per view compared
            with. Those with the anchor's own image are among the latter, and are no negatives.
        num_images: M, of the whole batch.
        other_views: the layer of the other view, for members in turn.
        symmetric: the products reach from the rows' own images to the last; those before stand for their mirror
            images, so that what lies beyond the rows counts twice.
    """

    products: Products | MutualProducts
    num_images: int
    other_views: tuple[int, ...] = (0,)
    symmetric: bool = False

    @cached_property
    def similarities(self) -> Pairs:
        """Inner products with all candidates: -1 to 1."""
        return self.products.similarities()

    @cached_property
    def positive(self) -> PerAnchor:
        """Similarity with the positive."""
        return self.products.positives()

    @property
    def positive_distance(self) -> PerAnchor:
        """Squared distance to the positive; from the difference, which stays exact as the two become equal."""
        return self.products.positive_distances()

    @property
    def with_other_view(self) -> Pairs:
        """The similarities with the other view's embeddings only."""
        turns = self.similarities.unflatten(0, (-1, len(self.other_views)))  # type: ignore[no-untyped-call]
        layers = [turns[:, turn, :, layer, None] for turn, layer in enumerate(self.other_views)]
        return torch.stack(layers, dim=1).flatten(0, 1)

    @property
    def distances(self) -> Pairs:
        """Squared distances, 2 - 2 similarities: 0 to 4."""
        return (2 - 2 * self.similarities).clamp_min(0)

    def energy(self, scale: Hyperparameter) -> PerAnchor:
        """log of the sum over negatives of exp(scale * similarity), the fastest way."""
        return self.products.log_sum_exp(scale)

    def log_sum_exp(self, pairs: Pairs) -> PerAnchor:
        """log of the sum over negatives of exp(pairs)."""
        return self._negatives(pairs, -torch.inf).logsumexp((-2, -1), keepdim=True)

    def sum(self, pairs: Pairs) -> PerAnchor:
        """The sum over negatives."""
        negatives = self._negatives(pairs, 0.0)
        total = negatives.sum((-2, -1), keepdim=True)
        beyond = negatives.shape[1]
        return total + negatives[..., beyond:].sum((-2, -1), keepdim=True) if self.symmetric else total

    def mean(self, pairs: Pairs) -> PerAnchor:
        """The mean over negatives."""
        return self.sum(pairs) / (pairs.shape[-2] * (self.num_images - 1))

    def softmax(self, pairs: Pairs) -> Pairs:
        """exp(pairs), divided by its sum over negatives; 0 for the anchor's own image."""
        return self._negatives(pairs, -torch.inf).flatten(-2).softmax(-1).view_as(pairs)

    def project(self, pairs: Pairs) -> Pairs:
        """The nearest weights >= 0 with sum 1 over negatives: max(pairs - mu, 0); 0 for the own image.

        Source:
            Duchi et al., Efficient Projections onto the l1-Ball, ICML 2008, figure 1.
        """
        x = self._negatives(pairs, -torch.inf).flatten(-2)
        x = x - x.amax(-1, keepdim=True)
        largest_first = x.sort(-1, descending=True).values
        count = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
        # mu if the first `count` weights are positive; they are as long as the last of them is above it.
        mu = (largest_first.cumsum(-1) - 1) / count
        # 0 only for NaN, which is for the training loop to find.
        support = (largest_first > mu).sum(-1, keepdim=True)
        return (x - mu.gather(-1, (support - 1).clamp_min(0))).clamp_min(0).view_as(pairs)

    def _negatives(self, pairs: Pairs, fill: float) -> Pairs:
        negatives: Tensor = _FillOwn.apply(pairs, self.products.start, fill)
        return negatives


class _FillOwn(torch.autograd.Function):
    """Pairs with `fill` at the anchor's own image; a mask would cost a tensor of booleans for each tile."""

    @staticmethod
    def forward(ctx: Any, pairs: Tensor, start: int, fill: float) -> Tensor:
        ctx.start = start
        filled = pairs.clone()
        filled.diagonal(start, -3, -1).fill_(fill)
        return filled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _FillOwn.apply(gradient, ctx.start, 0.0), None, None
