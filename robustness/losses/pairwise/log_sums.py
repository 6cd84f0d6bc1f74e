"""Log-sums of exponentials of scaled products: what most contrastive losses need of their negatives.

The gradients are written by hand: where autograd would pass over an M x M matrix for every operation, these do
so for the exponentials and the products of matrices alone.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robustness.losses.pairwise.loss import Views

KEPT_TILE = 256
"""Rows of a block that is kept for the gradient."""


class LogSumExp(torch.autograd.Function):
    """log sum exp(scale * rows @ candidates.T) along each row, but for the candidates of the row's own image."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, candidates: Tensor, scale: Tensor, own: Sequence[int], total: Tensor | None
    ) -> Tensor:
        """Energies of shape (members, rows, 1).

        Args:
            rows: of shape (members, rows, dim).
            candidates: of shape (members, candidates, dim).
            scale: of shape (members, 1, 1).
            own: the first row's own image among the candidates; the next row's is the next one.
            total: where the gradient toward the candidates is added in place; None returns it.
        """
        logits = (rows * scale) @ candidates.mT
        for offset in own:
            logits.diagonal(offset, 1, 2).fill_(-torch.inf)
        largest = logits.amax(-1, keepdim=True)
        exponentials = logits.sub_(largest).exp_()
        summed = exponentials.sum(-1, keepdim=True)
        ctx.total = total
        ctx.save_for_backward(rows, candidates, scale, exponentials, summed)
        return largest + summed.log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None, None]:
        """A row's factor goes to the small matrices, so that the exponentials serve as they are."""
        rows, candidates, scale, exponentials, summed = ctx.saved_tensors
        factor = gradient / summed * scale
        toward_rows = (exponentials @ candidates).mul_(factor)
        toward_candidates = toward_scale = None
        if ctx.total is None:
            toward_candidates = exponentials.mT @ (rows * factor)
        else:
            ctx.total.baddbmm_(exponentials.mT, rows * factor)
        if ctx.needs_input_grad[2]:
            toward_scale = (rows * toward_rows).sum((-2, -1), keepdim=True) / scale
        return toward_rows, toward_candidates, toward_scale, None, None


class MutualLogSumExp(torch.autograd.Function):
    """The same for rows that are each other's candidates: what an anchor is to a negative, that is to the anchor.

    Blocks of rows are formed from the diagonal on and kept for the gradient, or in tiles formed again for it: then
    2 products of the matrix's size in all. A single pass over tiles would take 3, since when it is at one row it
    can't know the sums of later ones.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, scale: Tensor, negatives: Views, tile: int | None) -> Tensor:
        """Energies of shape (groups, rows, 1).

        Args:
            rows: unit vectors of shape (groups, rows, dim): those of one view for `same view`, else of both.
            scale: of shape (groups, 1, 1), positive.
            negatives: which views a row is compared with.
            tile: rows at a time, in O(rows * tile) memory; None keeps the blocks for the gradient.
        """
        ctx.negatives, ctx.tile, ctx.mutual = negatives, tile, _needs_no_shift(scale)
        blocks = _blocks(rows.shape[1], negatives, tile or KEPT_TILE, mutual=ctx.mutual)
        energies = rows.new_zeros(*rows.shape[:2], 1)
        kept = []
        for block, logits in _logits(rows, scale, negatives, blocks, keep=tile is None):
            if ctx.mutual:
                exponentials = logits.exp_()
                energies[:, block.rows] += exponentials.sum(-1, keepdim=True)
                if block.mirrored.start < block.mirrored.stop:
                    energies[:, block.mirrored] += exponentials[:, :, block.columns_mirrored].sum(1).unsqueeze(-1)
            else:
                energies[:, block.rows] = logits.logsumexp(-1, keepdim=True)
            kept += [logits] if tile is None else []
        if ctx.mutual:
            energies = energies.log()
        ctx.save_for_backward(rows, scale, energies, *kept)
        return energies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        """Each block with the softmax weights of its rows and, where it is mutual, of its columns."""
        rows, scale, energies, *kept = ctx.saved_tensors
        blocks = _blocks(rows.shape[1], ctx.negatives, ctx.tile or KEPT_TILE, mutual=ctx.mutual)
        tiles = zip(blocks, kept, strict=True) if kept else _logits(rows, scale, ctx.negatives, blocks, keep=False)
        weights = gradient * scale
        if ctx.mutual:
            weights *= energies.neg().exp_()
        toward_rows, scratch = torch.zeros_like(rows), _Buffer(rows)
        for block, logits in tiles:
            if ctx.mutual:
                exponentials = logits if kept else logits.exp_()
                pairs = scratch.take(logits.shape)
                torch.add(weights[:, block.rows], weights[:, block.columns].mT, out=pairs).mul_(exponentials)
            else:
                pairs = (logits - energies[:, block.rows]).exp_().mul_(weights[:, block.rows])
            toward_rows[:, block.rows].baddbmm_(pairs, rows[:, block.columns])
            if block.mirrored.start < block.mirrored.stop:
                toward_rows[:, block.mirrored].baddbmm_(pairs[:, :, block.columns_mirrored].mT, rows[:, block.rows])
        toward_scale = None
        if ctx.needs_input_grad[1]:
            toward_scale = (rows * toward_rows).sum((-2, -1), keepdim=True) / (2 * scale)
        return toward_rows, toward_scale, None, None


class MaskedLogSumExp(torch.autograd.Function):
    """The same where every group has its own negatives: all pairs are formed, in as few operations as possible."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, scale: Tensor, hidden: Tensor) -> Tensor:
        """Energies of shape (groups, rows, 1).

        Args:
            rows: unit vectors of both views, of shape (groups, rows, dim).
            scale: of shape (groups, 1, 1), positive.
            hidden: symmetric, of shape (groups, rows, rows): 0, and -inf for pairs that are not compared.
        """
        logits = torch.baddbmm(hidden, rows * scale, rows.mT)
        if _needs_no_shift(scale):
            weights = logits.exp_()
            sums = weights.sum(-1, keepdim=True)
            energies, weights = sums.log(), weights / sums
        else:
            energies = logits.logsumexp(-1, keepdim=True)
            weights = logits.sub_(energies).exp_()
        ctx.save_for_backward(rows, scale, weights)
        return energies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Of a pair of rows: the softmax weights that each has for the other."""
        rows, scale, weights = ctx.saved_tensors
        pairs = weights * (gradient * scale)
        toward_rows = (pairs + pairs.mT) @ rows
        toward_scale = None
        if ctx.needs_input_grad[1]:
            toward_scale = (rows * toward_rows).sum((-2, -1), keepdim=True) / (2 * scale)
        return toward_rows, toward_scale, None


class _Block(NamedTuple):
    """Some rows, the columns they are compared with, and those columns whose own rows are not visited."""

    rows: slice
    columns: slice
    mirrored: slice

    @property
    def columns_mirrored(self) -> slice:
        return slice(self.mirrored.start - self.columns.start, None)


def _blocks(num_rows: int, negatives: Views, tile: int, *, mutual: bool) -> Iterator[_Block]:
    """Blocks that cover each pair once if sums are mutual; else each row with all its columns."""
    half = num_rows // 2
    sides = [(0, num_rows)]
    if negatives == "other view":
        sides = [(0, half)] if mutual else [(0, half), (half, num_rows)]
    for begin, end in sides:
        for first in range(begin, end, tile):
            rows = slice(first, min(first + tile, end))
            columns, mirrored = slice(0, num_rows), slice(0, num_rows)
            if negatives == "other view":
                columns = slice(half, num_rows) if first < half else slice(0, half)
                mirrored = columns
            elif mutual:
                columns, mirrored = slice(first, num_rows), slice(rows.stop, num_rows)
            yield _Block(rows, columns, mirrored)


def _logits(
    rows: Tensor, scale: Tensor, negatives: Views, blocks: Iterator[_Block], *, keep: bool
) -> Iterator[tuple[_Block, Tensor]]:
    """scale * products of each block, -inf for the rows' own images. Unless kept, one buffer serves all blocks."""
    groups, num_rows, _ = rows.shape
    buffer = _Buffer(rows)
    for block in blocks:
        here, there = rows[:, block.rows], rows[:, block.columns]
        shape = torch.Size((groups, here.shape[1], there.shape[1]))
        logits = rows.new_empty(shape) if keep else buffer.take(shape)
        torch.bmm(here * scale, there.mT, out=logits)
        distances = (0,) if negatives == "same view" else (-num_rows // 2, 0, num_rows // 2)
        for first_own in (block.rows.start + distance - block.columns.start for distance in distances):
            if -shape[1] < first_own < shape[2]:
                logits.diagonal(first_own, 1, 2).fill_(-torch.inf)
        yield block, logits


class _Buffer:
    """Memory for the blocks of a loop, one after another: fresh pages cost more than the exponentials."""

    def __init__(self, like: Tensor) -> None:
        self.memory = like.new_empty(0)

    def take(self, shape: torch.Size) -> Tensor:
        """Uninitialised, of this shape; what was taken before is lost."""
        if self.memory.numel() < shape.numel():
            self.memory = self.memory.new_empty(shape.numel())
        return self.memory[: shape.numel()].view(shape)


def _needs_no_shift(scale: Tensor) -> bool:
    """Whether exponentials of the logits as they are, at most exp(scale), and their sums stay within the dtype.

    Else each row's largest logit must come off first, and the exponentials are not mutual. On an accelerator the
    answer would have to be waited for.
    """
    most = 40 if scale.dtype == torch.float32 else 300
    return scale.device.type == "cpu" and float(scale.detach().max()) <= most
