"""Inner products of anchors with candidates, formed when and as a rule asks for them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robustness.losses.pairwise.log_sums import LogSumExp, MaskedLogSumExp, MutualLogSumExp
from robustness.losses.pairwise.loss import Views


@dataclass(frozen=True)
class Products:
    """Of some anchors of one view with all candidates.

    Args:
        rows: the anchors, of length 1, of shape (members, rows, dim).
        partners: their positives, likewise.
        candidates: of shape (members, views * images, dim), view after view.
        num_views: of how many views the candidates are.
        start: the image of the first row, counted from the first candidate's.
        total: where the gradient toward the candidates is added in place; None leaves it to autograd.
    """

    rows: Tensor
    partners: Tensor
    candidates: Tensor
    num_views: int
    start: int = 0
    total: Tensor | None = None

    def positives(self) -> Tensor:
        """Inner products with the positives, of shape (members, rows, 1, 1)."""
        return (self.rows * self.partners).sum(-1)[..., None, None]

    def positive_distances(self) -> Tensor:
        """Squared distances to the positives, in the same shape."""
        return squared_distances(self.rows, self.partners)

    def similarities(self) -> Tensor:
        """Inner products, of shape (members, rows, views, images)."""
        products: Tensor = _Similarities.apply(self.rows, self.candidates, self.total)
        return products.view(*products.shape[:2], self.num_views, -1)

    def log_sum_exp(self, scale: Tensor) -> Tensor:
        """log sum exp(scale * products) over other images' candidates, of shape (members, rows, 1, 1)."""
        own = [self.start + view * self.candidates.shape[1] // self.num_views for view in range(self.num_views)]
        by_member = scale[..., 0]
        energies: Tensor = LogSumExp.apply(self.rows, self.candidates, by_member, own, self.total)
        return energies.unsqueeze(-1)


@dataclass(frozen=True)
class MutualProducts:
    """Of all anchors of both views, first those of view 1 for each member: what is mutual is formed once.

    Args:
        views: of shape (members, 2, images, dim).
        negatives: which views an anchor is compared with; `both views` is view 1 first, for either.
        tile: rows at a time of the matrix whose log-sums are asked for; None keeps it for the gradient.
        hidden: of shape (members, 2 * images, 2 * images): 0, and -inf for pairs that are not compared, whatever
            `negatives` says; for log-sums alone.
    """

    views: Tensor
    negatives: Views
    tile: int | None
    hidden: Tensor | None = None
    start: int = 0

    def positives(self) -> Tensor:
        """Inner products with the positives, of shape (members * 2, images, 1, 1)."""
        positives: Tensor = _MutualPositives.apply(self.views)
        return positives.view(-1, positives.shape[2], 1, 1)

    def positive_distances(self) -> Tensor:
        """Squared distances to the positives, in the same shape."""
        return squared_distances(*self.views.unbind(1)).repeat_interleave(2, dim=0)

    def similarities(self) -> Tensor:
        """Inner products, of shape (members * 2, images, views, images)."""
        num_images = self.views.shape[2]
        if self.negatives == "other view":
            return (self.views @ self.views.flip(1).mT).view(-1, num_images, 1, num_images)
        rows = self.views.flatten(1, 2) if self.negatives == "both views" else self.views.flatten(0, 1)
        products: Tensor = _MutualSimilarities.apply(rows)
        return products.view(2 * len(self.views), num_images, -1, num_images)

    def log_sum_exp(self, scale: Tensor) -> Tensor:
        """log sum exp(scale * products) over other images' candidates, of shape (members * 2, images, 1, 1).

        Args:
            scale: of shape (members * 2, 1, 1, 1), the same for both views of a member.
        """
        rows, by_group = self.views.flatten(1, 2), scale[::2, :, :, 0]
        if self.hidden is not None:
            energies: Tensor = MaskedLogSumExp.apply(rows, by_group, self.hidden)
            return energies.view(len(scale), -1, 1, 1)
        if self.negatives == "same view":
            rows, by_group = self.views.flatten(0, 1), scale[..., 0]
        energies = MutualLogSumExp.apply(rows, by_group, self.negatives, self.tile)
        return energies.view(len(scale), -1, 1, 1)


def squared_distances(rows: Tensor, partners: Tensor) -> Tensor:
    """Between rows of (members, rows, dim), as (members, rows, 1, 1); from differences, which are exact near 0."""
    return (rows - partners).square().sum(-1)[..., None, None]


class _MutualPositives(torch.autograd.Function):
    """Inner products of the views, (members, 2, images): once for both, and without a copy with views exchanged."""

    @staticmethod
    def forward(ctx: Any, views: Tensor) -> Tensor:
        ctx.save_for_backward(views)
        return (views[:, 0] * views[:, 1]).sum(-1).unsqueeze(1).expand(-1, 2, -1).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (views,) = ctx.saved_tensors
        both, toward_views = gradient.sum(1).unsqueeze(-1), torch.empty_like(views)
        for view, other in ((0, 1), (1, 0)):
            torch.mul(views[:, other], both, out=toward_views[:, view])
        return toward_views


class _Similarities(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, candidates: Tensor, total: Tensor | None) -> Tensor:
        ctx.total = total
        ctx.save_for_backward(rows, candidates)
        return rows @ candidates.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        rows, candidates = ctx.saved_tensors
        toward_candidates = None
        if ctx.total is None:
            toward_candidates = gradient.mT @ rows
        else:
            ctx.total.baddbmm_(gradient.mT, rows)
        return gradient @ candidates, toward_candidates, None


class _MutualSimilarities(torch.autograd.Function):
    """rows @ rows.T, whose gradient takes one product of matrices where autograd takes two."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return rows @ rows.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        # torch transposes a matrix fast, but not a batch of them: 0.2 against 0.6 ms for one of 512 x 512.
        by_columns = gradient[0].T if len(gradient) == 1 else gradient.mT
        transposed = by_columns.clone(memory_format=torch.contiguous_format).view_as(gradient)
        toward_rows: Tensor = transposed.add_(gradient) @ rows
        return toward_rows
