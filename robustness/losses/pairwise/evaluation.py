"""The pairwise engine: evaluates a family's rule dense or tile by tile, whichever suits the number of pairs.

Dense, all anchors are seen at once and the M x M matrices are kept for the gradient: right for small batches and
for packs of members. Tiled, no more than a block of rows exists at a time, and memory is O(M tile): families that
need nothing of their negatives but a log-sum form the blocks again for the gradient (`MutualLogSumExp`), all
others have their gradient computed block by block on the way forward (`Tiled`).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robustness.losses.pairwise.anchors import Anchors, Embeddings, Hyperparameter, PerMember
from robustness.losses.pairwise.loss import Own, PairwiseLoss
from robustness.losses.pairwise.products import MutualProducts, Products
from robustness.losses.pairwise.tiles import Tiled

DENSE_PAIRS, TILE_PAIRS, MOST_TILE = 2**18, 2**21, 256
"""On a CPU: dense up to so many pairs in a direction, all members together; about so many pairs and at most so
many anchors in a tile. Beyond, more time goes to moving matrices through the caches than is saved in calls."""

ACCELERATOR_DENSE_PAIRS, ACCELERATOR_TILE_PAIRS, ACCELERATOR_MOST_TILE = 2**26, 2**25, 4096
"""Elsewhere starting a kernel costs more than the caches do: dense as long as a matrix takes 256 MiB in float32."""

LEAST_TILE = 64
"""Products of fewer rows are slow."""


def evaluate(
    loss: PairwiseLoss,
    u: Embeddings,
    v: Embeddings,
    *,
    tile: int | None,
    hyperparameters: dict[str, float | Tensor],
) -> PerMember:
    """One value per member. Embeddings in half precision are compared in float32, also under autocast.

    Args:
        loss: the family.
        u, v: embeddings of the two views, normalised here.
        tile: anchors at a time; None chooses between dense and tiled by the number of pairs.
        hyperparameters: of the rule; numbers, or tensors that broadcast against the members' axes.
    """
    members = u.shape[:-2]
    with torch.autocast(u.device.type, enabled=False):
        unit = unit_views(u, v)
        own = {name: _per_member(value, members, unit) for name, value in hyperparameters.items()}
        tile = _automatic_tile(loss, unit) if tile is None else tile
        if not loss.one_sided and (tile is None or loss.shared == "exponentials"):
            return _both_sides_at_once(loss, unit, own, tile).view(members)
        u, v = unit.unbind(1)
        value = _one_side(loss, u, v, own, tile)
        return (value if loss.one_sided else (value + _one_side(loss, v, u, own, tile)) / 2).view(members)


def unit_views(u: Embeddings, v: Embeddings) -> Tensor:
    """Both views with rows of length 1, in float32 at least: (members, 2, images, dim)."""
    views = torch.stack([view.reshape(-1, *view.shape[-2:]) for view in (u, v)], dim=1)
    unit: Tensor = _UnitRows.apply(views.float() if views.dtype.itemsize < 4 else views)
    return unit


def _automatic_tile(loss: PairwiseLoss, views: Tensor) -> int | None:
    members, _, num_images, _ = views.shape
    columns = members * num_images * loss.num_views
    dense, pairs, most = DENSE_PAIRS, TILE_PAIRS, MOST_TILE
    if views.device.type != "cpu":
        dense, pairs, most = ACCELERATOR_DENSE_PAIRS, ACCELERATOR_TILE_PAIRS, ACCELERATOR_MOST_TILE
    return None if columns * num_images <= dense else min(max(pairs // columns, LEAST_TILE), most)


def _one_side(loss: PairwiseLoss, anchors: Tensor, others: Tensor, own: Own, tile: int | None) -> Tensor:
    if tile is not None:
        value: Tensor = Tiled.apply(loss, tile, tuple(own), anchors, others, *own.values())
        return value
    products = Products(anchors, others, loss.candidates(anchors, others), loss.num_views)
    terms = loss.rule(Anchors(products, anchors.shape[1]), **own)
    return loss.pooled(terms, products.positive_distances, own)


def _both_sides_at_once(loss: PairwiseLoss, views: Tensor, own: Own, tile: int | None) -> Tensor:
    """All anchors, those of the second view as if they were further members: fewer and larger products."""
    own = {name: value.expand(-1, 2, -1, -1).reshape(-1, 1, 1, 1) for name, value in own.items()}
    products = MutualProducts(views, loss.negatives, tile)
    terms = loss.rule(Anchors(products, views.shape[2], other_views=(1, 0)), **own)
    if loss.pool is None:
        return terms.view(len(views), -1).mean(1)
    return loss.pooled(terms, products.positive_distances, own).view(-1, 2).mean(1)


class _UnitRows(torch.autograd.Function):
    """torch.nn.functional.normalize, in half the operations: at 256 images they would be a tenth of the time."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min_(1e-12)
        unit: Tensor = rows / length
        ctx.save_for_backward(unit, length)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        unit, length = ctx.saved_tensors
        along = (gradient * unit).sum(-1, keepdim=True)
        return gradient.addcmul(unit, along, value=-1).div_(length)


def _per_member(hyperparameter: float | Tensor, members: torch.Size, views: Tensor) -> Hyperparameter:
    value = hyperparameter.to(views) if isinstance(hyperparameter, Tensor) else views.new_full((), hyperparameter)
    return value.expand(members).reshape(-1, 1, 1, 1)
