"""Inner products of anchors with candidates, and their log-sums: the losses' share of the arithmetic.

The gradients are written by hand, to do with fewer passes over the M x M matrices than autograd would.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robustness.losses.tiled_log_sum_exp import TiledLogSumExp


@dataclass(frozen=True)
class Products:
    """Anchors and the candidates that they are compared with; products are formed when a rule asks for them.

    Args:
        rows: anchors of shape (groups, row_views * rows, dim), view after view.
        candidates: of shape (groups, views * images, dim), view after view; None where they are the rows
            themselves, whose matrix is symmetric.
        row_views, views: of how many views rows and candidates consist.
        start: the image of the first row of a view, counted from the first candidate's.
        total: where the gradient toward the candidates is added in place; None leaves it to autograd.
        tile: of a symmetric matrix, rows at a time when log-sums are formed, and formed again for their gradient;
            None keeps the exponentials.
    """

    rows: Tensor
    candidates: Tensor | None
    row_views: int = 1
    views: int = 1
    start: int = 0
    total: Tensor | None = None
    tile: int | None = None

    def similarities(self) -> Tensor:
        """Inner products, of shape (groups * row_views, rows, views, images)."""
        products: Tensor = _Similarities.apply(self.rows, self.candidates, self.total)
        groups, rows, columns = products.shape
        return products.view(groups * self.row_views, rows // self.row_views, self.views, columns // self.views)

    def log_sum_exp(self, scale: Tensor) -> Tensor:
        """log sum exp(scale * products) over other images' candidates, of shape (groups * row_views, rows, 1, 1).

        Args:
            scale: of shape (groups * row_views, 1, 1, 1), the same for all views of a group.
        """
        by_group = scale[:: self.row_views, :, :, 0]
        if self.tile is None:
            energies: Tensor = _LogSumExp.apply(self.rows, self.candidates, self.total, by_group, self)
        else:
            energies = TiledLogSumExp.apply(self.rows, by_group, self.tile, self.views)
        return energies.view(len(scale), -1, 1, 1)

    def own(self, products: Tensor) -> Tensor:
        """A view of each row's products with the candidates of its own image."""
        groups, rows, columns = products.shape
        by_view = products.view(groups, self.row_views, rows // self.row_views, self.views, columns // self.views)
        return by_view.diagonal(self.start, 2, 4)


class _Similarities(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, candidates: Tensor | None, total: Tensor | None) -> Tensor:
        ctx.total = total
        ctx.save_for_backward(rows, candidates)
        return rows @ (rows if candidates is None else candidates).mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        rows, candidates = ctx.saved_tensors
        if candidates is None:
            return _plus_transposed(gradient) @ rows, None, None
        return gradient @ candidates, _toward_candidates(gradient, rows, ctx.total), None


class _LogSumExp(torch.autograd.Function):
    """Keeps the exponentials; the gradient needs them, and a factor for each row that goes to the small matrices."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, candidates: Tensor | None, total: Tensor | None, scale: Tensor, products: Products
    ) -> Tensor:
        logits = (rows * scale) @ (rows if candidates is None else candidates).mT
        products.own(logits).fill_(-torch.inf)
        largest = logits.amax(-1, keepdim=True)
        exponentials = logits.sub_(largest).exp_()
        summed = exponentials.sum(-1, keepdim=True)
        ctx.total = total
        ctx.save_for_backward(rows, candidates, scale, exponentials, summed)
        return largest + summed.log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None, Tensor | None, None]:
        rows, candidates, scale, exponentials, summed = ctx.saved_tensors
        factor = gradient / summed * scale
        if candidates is None:
            toward_rows, toward_candidates = _plus_transposed(exponentials * factor) @ rows, None
        else:
            toward_rows = (exponentials @ candidates).mul_(factor)
            toward_candidates = _toward_candidates(exponentials, rows * factor, ctx.total)
        toward_scale = None
        if ctx.needs_input_grad[3]:
            # The value depends on scale * rows, in the symmetric case on two factors rows.
            toward_scale = (rows * toward_rows).sum((-2, -1), keepdim=True) / scale / (2 if candidates is None else 1)
        return toward_rows, toward_candidates, None, toward_scale, None


def _toward_candidates(gradient: Tensor, rows: Tensor, total: Tensor | None) -> Tensor | None:
    if total is None:
        return gradient.mT @ rows
    total.baddbmm_(gradient.mT, rows)
    return None


def _plus_transposed(gradient: Tensor) -> Tensor:
    # torch transposes a matrix fast, but not a batch of them: 0.2 against 0.6 ms for one of 512 x 512.
    transposed = gradient[0].T.contiguous()[None] if len(gradient) == 1 else gradient.mT.contiguous()
    return transposed.add_(gradient)
