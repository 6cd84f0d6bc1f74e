"""Log-sums over the negatives of every row of a symmetric matrix of products, in O(rows * tile) memory.

The matrix is formed twice, once for the sums and once for their gradient, but each time only from the diagonal
on: what an anchor is to a negative, the negative is to the anchor. That makes 2 products of the whole matrix's
size; a single pass would take 3, since when it is at one row it can't know the sums of later ones.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class TiledLogSumExp(torch.autograd.Function):
    """log sum exp(scale * rows @ rows.T) along each row, without the candidates of the row's own image."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, scale: Tensor, tile: int, views: int) -> Tensor:
        """Energies of shape (groups, rows, 1).

        Args:
            rows: unit vectors of shape (groups, rows, dim), view after view.
            scale: of shape (groups, 1, 1), positive.
            tile: rows at a time.
            views: how many views the rows consist of; each row's own image is at the same place in all of them.
        """
        ctx.plain = _needs_no_shift(scale)
        ctx.tile, ctx.views = tile, views
        energies = rows.new_zeros(*rows.shape[:2], 1)
        for block, start, logits in _logits(rows, scale, tile, views, from_diagonal=ctx.plain):
            if ctx.plain:
                exponentials = logits.exp_()
                energies[:, block] += exponentials.sum(-1, keepdim=True)
                energies[:, block.stop :] += exponentials[:, :, block.stop - start :].sum(1).unsqueeze(-1)
            else:
                energies[:, block] = logits.logsumexp(-1, keepdim=True)
        energies = energies.log() if ctx.plain else energies
        ctx.save_for_backward(rows, scale, energies)
        return energies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        """The blocks once more, each with the softmax weights of both its rows and its columns."""
        rows, scale, energies = ctx.saved_tensors
        toward_rows = torch.zeros_like(rows)
        weights = gradient * energies.neg().exp() if ctx.plain else gradient
        for block, start, logits in _logits(rows, scale, ctx.tile, ctx.views, from_diagonal=ctx.plain):
            here = rows[:, block]
            if ctx.plain:
                pairs = logits.exp_().mul_(weights[:, block] + weights[:, start:].mT)
                beyond = pairs[:, :, block.stop - start :]
                toward_rows[:, block.stop :].baddbmm_(beyond.mT, here)
            else:
                pairs = logits.sub_(energies[:, block]).exp_().mul_(weights[:, block])
                toward_rows.baddbmm_(pairs.mT, here)
            toward_rows[:, block].baddbmm_(pairs, rows[:, start:])
        toward_scale = None
        if ctx.needs_input_grad[1]:
            toward_scale = (rows * toward_rows).sum((-2, -1), keepdim=True) / 2
        return toward_rows.mul_(scale), toward_scale, None, None


def _needs_no_shift(scale: Tensor) -> bool:
    """Whether exponentials of the logits as they are, at most exp(scale), and their sums stay within the dtype.

    Else each row's largest logit must come off first, and the exponentials are not symmetric. On an accelerator
    the answer would have to be waited for.
    """
    most = 40 if scale.dtype == torch.float32 else 300
    return scale.device.type == "cpu" and float(scale.detach().max()) <= most


def _logits(
    rows: Tensor, scale: Tensor, tile: int, views: int, *, from_diagonal: bool
) -> Iterator[tuple[slice, int, Tensor]]:
    """Blocks of rows, where their columns start, and scale * products with -inf for the rows' own images."""
    groups, num_rows, _ = rows.shape
    # One buffer for all tiles: fresh pages cost as much as the exponentials.
    buffer = rows.new_empty(groups * min(tile, num_rows) * num_rows)
    for first in range(0, num_rows, tile):
        block, start = slice(first, min(first + tile, num_rows)), first if from_diagonal else 0
        shape = (groups, block.stop - first, num_rows - start)
        logits = buffer[: shape[0] * shape[1] * shape[2]].view(shape)
        torch.bmm(rows[:, block] * scale, rows[:, start:].mT, out=logits)
        for view in range(1 - views, views):
            logits.diagonal(first + view * (num_rows // views) - start, 1, 2).fill_(-torch.inf)
        yield block, start, logits
