"""A direction of any pairwise loss, a tile of anchors at a time: one pass, no second forward.

Inside a tile autograd differentiates the rule; the tile's gradient is carried over to the embeddings and the tile
is dropped.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robustness.losses.pairwise.anchors import Anchors
from robustness.losses.pairwise.loss import Own, PairwiseLoss
from robustness.losses.pairwise.products import Products, squared_distances


class Tiled(torch.autograd.Function):
    """One direction of a pairwise loss. Its gradient is computed on the way: backward only scales it."""

    @staticmethod
    def forward(
        ctx: Any, loss: PairwiseLoss, tile: int, names: Sequence[str], anchors: Tensor, others: Tensor, *values: Tensor
    ) -> Tensor:
        """One value per member.

        Args:
            loss: the family.
            tile: anchors at a time.
            names: of the hyperparameters.
            anchors, others: unit vectors of shape (members, images, dim).
            values: of the hyperparameters, of shape (members, 1, 1, 1).
        """
        ctx.has_gradient = [True, True, *(value.requires_grad for value in values)]
        own = dict(zip(names, (value.detach().requires_grad_(value.requires_grad) for value in values), strict=True))
        if not any(ctx.needs_input_grad):
            return _pooled(loss, own, _terms(loss, tile, anchors, others, own), anchors, others)
        value, gradients = _value_and_gradients(loss, tile, anchors, others, own)
        ctx.save_for_backward(*gradients)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of `forward`, times each member's."""
        scaled = (x * upstream.view(-1, *(1,) * (x.dim() - 1)) for x in ctx.saved_tensors)
        return None, None, None, *(next(scaled) if given else None for given in ctx.has_gradient)


def _tile_terms(
    loss: PairwiseLoss, candidates: Tensor, own: Own, total: Tensor | None, num_images: int, first: int
) -> Callable[[Tensor, Tensor], Tensor]:
    """The terms of the anchors from image `first` on, as a function of them and their positives."""
    symmetric = loss.shared == "pairs"
    # A symmetric matrix is covered from the diagonal on.
    skipped = first if symmetric else 0
    compared, toward = candidates[:, skipped:], None if total is None else total[:, skipped:]

    def terms(rows: Tensor, partners: Tensor) -> Tensor:
        products = Products(rows, partners, compared, loss.num_views, start=first - skipped, total=toward)
        return loss.rule(Anchors(products, num_images, symmetric=symmetric), **own)

    return terms


def _tiles(
    loss: PairwiseLoss, tile: int, anchors: Tensor, others: Tensor, own: Own, total: Tensor | None = None
) -> Iterator[tuple[slice, Callable[[Tensor, Tensor], Tensor]]]:
    """Each tile's images and its terms; `total` takes up the gradient toward the candidates."""
    candidates, num_images = loss.candidates(anchors, others), anchors.shape[1]
    for first in range(0, num_images, tile):
        yield slice(first, first + tile), _tile_terms(loss, candidates, own, total, num_images, first)


def _terms(loss: PairwiseLoss, tile: int, anchors: Tensor, others: Tensor, own: Own) -> Tensor:
    """The terms of all anchors."""
    tiles = _tiles(loss, tile, anchors, others, own)
    return torch.cat([terms(anchors[:, images], others[:, images]) for images, terms in tiles], dim=1)


def _pooled(loss: PairwiseLoss, own: Own, terms: Tensor, anchors: Tensor, others: Tensor) -> Tensor:
    return loss.pooled(terms, lambda: squared_distances(anchors, others), own)


def _value_and_gradients(
    loss: PairwiseLoss, tile: int, anchors: Tensor, others: Tensor, own: Own
) -> tuple[Tensor, list[Tensor]]:
    """The value of a direction, and its gradients for anchors, others and the hyperparameters that need one."""
    learnt = [value for value in own.values() if value.requires_grad]
    # What a term weighs in the value depends on the terms themselves only where they are not averaged.
    found = _terms(loss, tile, anchors, others, own) if loss.pool else anchors.new_zeros(*anchors.shape[:2], 1, 1)
    _, (weights, *totals) = _differentiate(partial(_pooled, loss, own), (found.detach(), anchors, others), learnt)
    toward_candidates = torch.zeros_like(loss.candidates(anchors, others))
    for images, terms in _tiles(loss, tile, anchors, others, own, toward_candidates):
        inputs = (anchors[:, images], others[:, images])
        found[:, images], (rows, partners, *toward) = _differentiate(terms, inputs, learnt, weights[:, images])
        totals[0][:, images] += rows
        totals[1][:, images] += partners
        for total, gradient in zip(totals[2:], toward, strict=True):
            total += gradient
    _, through_candidates = _differentiate(loss.candidates, (anchors, others), [], toward_candidates)
    for total, gradient in zip(totals, through_candidates, strict=False):
        total += gradient
    return _pooled(loss, own, found, anchors, others).detach(), totals


def _differentiate(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    parameters: Sequence[Tensor],
    upstream: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """A function's value and the gradients of its sum, weighed by `upstream`, for inputs and parameters."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    with torch.enable_grad():
        value = function(*leaves)
        weights = torch.ones_like(value) if upstream is None else upstream
        gradients = torch.autograd.grad(value, [*leaves, *parameters], weights, materialize_grads=True)
    return value.detach(), list(gradients)
