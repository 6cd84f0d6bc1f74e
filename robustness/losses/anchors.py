"""A tile of anchors, as every pairwise loss sees it, and the reductions over an anchor's negatives.

An anchor is one view of an image. It has one positive, the other view of the same image, and negatives: the
embeddings of all other images, in the views that the family compares with. Pairs have shape (members, rows,
views, images), what there is one of per anchor (members, rows, 1, 1), hyperparameters (members, 1, 1, 1): so a
rule that is written on scalars broadcasts as it stands.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

Embeddings: TypeAlias = Float[Tensor, "*members images dim"]
PerMember: TypeAlias = Float[Tensor, "*members"]

Rows: TypeAlias = Float[Tensor, "members rows dim"]
Pairs: TypeAlias = Float[Tensor, "members rows views images"]
PerAnchor: TypeAlias = Float[Tensor, "members rows 1 1"]
Hyperparameter: TypeAlias = Float[Tensor, "members 1 1 1"]


@dataclass(frozen=True)
class Anchors:
    """Some anchors of one view, and all that they are compared with.

    Args:
        rows: the anchors, of length 1.
        partners: their positives, of length 1.
        similarities: inner products with every image's embedding, one layer per view compared with: the other
            view first. Those with the anchor's own image are among them, and are no negatives.
        start: the first anchor's image; the k-th anchor's own image is `start + k`.
    """

    rows: Rows
    partners: Rows
    similarities: Pairs
    start: int

    @property
    def positive(self) -> PerAnchor:
        """Similarity with the positive."""
        return (self.rows * self.partners).sum(-1)[..., None, None]

    @property
    def positive_distance(self) -> PerAnchor:
        """Squared distance to the positive; from the difference, which stays exact as the two become equal."""
        return (self.rows - self.partners).square().sum(-1)[..., None, None]

    @property
    def distances(self) -> Pairs:
        """Squared distances, 2 - 2 similarities: 0 to 4."""
        return (2 - 2 * self.similarities).clamp_min(0)

    def log_sum_exp(self, pairs: Pairs, scale: Hyperparameter | float = 1.0) -> PerAnchor:
        """log of the sum over negatives of exp(scale * pairs). No second derivative."""
        value: Tensor = _LogSumExp.apply(pairs, scale, self.start)
        return value

    def sum(self, pairs: Pairs) -> PerAnchor:
        """The sum over negatives."""
        return self._negatives(pairs, 0.0).sum((-2, -1), keepdim=True)

    def mean(self, pairs: Pairs) -> PerAnchor:
        """The mean over negatives."""
        return self.sum(pairs) / (pairs.shape[-2] * (pairs.shape[-1] - 1))

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
        support = (largest_first > mu).sum(-1, keepdim=True)
        return (x - mu.gather(-1, support - 1)).clamp_min(0).view_as(pairs)

    def _negatives(self, pairs: Pairs, fill: float) -> Pairs:
        negatives: Tensor = _FillOwn.apply(pairs, self.start, fill)
        return negatives


def _own(pairs: Tensor, start: int) -> Tensor:
    """A view of the pairs of every anchor with its own image."""
    return pairs.diagonal(start, -3, -1)


class _FillOwn(torch.autograd.Function):
    """Pairs with `fill` at the anchor's own image; a mask would cost a tensor of booleans for each tile."""

    @staticmethod
    def forward(ctx: Any, pairs: Tensor, start: int, fill: float) -> Tensor:
        ctx.start = start
        filled = pairs.clone()
        _own(filled, start).fill_(fill)
        return filled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _FillOwn.apply(gradient, ctx.start, 0.0), None, None


class _LogSumExp(torch.autograd.Function):
    """torch.logsumexp, but the softmax that its gradient needs is kept and not computed twice."""

    @staticmethod
    def forward(ctx: Any, pairs: Tensor, scale: float | Tensor, start: int) -> Tensor:
        logits = pairs * scale
        _own(logits, start).fill_(-torch.inf)
        flat = logits.flatten(-2)
        probabilities = flat.softmax(-1)
        ctx.scale, ctx.shape = scale, pairs.shape
        ctx.save_for_backward(probabilities, pairs if ctx.needs_input_grad[1] else None)
        # The largest probability is exp(largest logit - log-sum-exp), and at least 1 / (number of negatives).
        return (flat.amax(-1) - probabilities.amax(-1).log())[..., None, None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        probabilities, pairs = ctx.saved_tensors
        weights = probabilities.view(ctx.shape)
        scale_gradient = None
        if pairs is not None:
            scale_gradient = (gradient * weights * pairs).sum_to_size(ctx.scale.shape)
        return weights * (gradient * ctx.scale), scale_gradient, None
