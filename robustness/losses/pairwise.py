"""The pairwise engine: a family is a rule on a tile of anchors, evaluated dense or tile by tile.

Dense, the rule sees all anchors at once and autograd keeps the M x M similarities: right for small batches
and for packs of members. Tiled, it sees a block of anchors at a time; the gradient with respect to the block's
similarities is carried over to the embeddings and the block is dropped: O(M tile) memory, one pass, no second
forward.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from robustness.losses.anchors import Anchors, Embeddings, Hyperparameter, PerMember

Views = Literal["other view", "same view", "both views"]
Named: TypeAlias = Mapping[str, Tensor]

DENSE_PAIRS = 2**18
"""Up to so many pairs in a direction, all members together, the similarities are kept."""

TILE_PAIRS, LEAST_TILE = 2**20, 64
"""About so many pairs in a tile, but not fewer anchors than make a product of matrices fast."""


@dataclass(frozen=True)
class PairwiseLoss:
    """A loss that depends on unit embeddings through inner products, anchor by anchor.

    Args:
        rule: from a tile of anchors and the hyperparameters to one term per anchor.
        negatives: the views whose embeddings of other images an anchor is compared with.
        one_sided: anchors in view 1 only; else the mean of both directions.
        pool: from all anchors' terms and squared distances to their positives to the value of a direction; the
            mean of the terms unless given.
    """

    rule: Callable[..., Tensor]
    negatives: Views
    one_sided: bool = False
    pool: Callable[..., Tensor] | None = None

    def __call__(
        self, u: Embeddings, v: Embeddings, *, tile: int | None = None, **hyperparameters: float | Tensor
    ) -> PerMember:
        """One value per member. Embeddings in half precision are compared in float32, also under autocast.

        Args:
            u, v: embeddings of the two views, normalised here.
            tile: anchors at a time; None chooses between dense and tiled by the number of pairs.
            hyperparameters: of the rule; numbers, or tensors that broadcast against the members' axes.
        """
        members = u.shape[:-2]
        with torch.autocast(u.device.type, enabled=False):
            u, v = _unit(u), _unit(v)
            own = {name: _per_member(value, members, u) for name, value in hyperparameters.items()}
            tile = self._automatic_tile(u) if tile is None else tile
            value = self._direction(u, v, own, tile)
            if not self.one_sided:
                value = (value + self._direction(v, u, own, tile)) / 2
            return value.view(members)

    def _automatic_tile(self, u: Tensor) -> int | None:
        columns = u.shape[0] * u.shape[1] * self.num_views
        return None if columns * u.shape[1] <= DENSE_PAIRS else max(LEAST_TILE, TILE_PAIRS // columns)

    def _direction(self, anchors: Tensor, others: Tensor, own: Named, tile: int | None) -> Tensor:
        if tile is None:
            similarities = anchors @ self.candidates(anchors, others).mT
            return self.pooled(self.terms(similarities, anchors, others, start=0, own=own), anchors, others, own)
        value: Tensor = _Tiled.apply(self, tile, tuple(own), anchors, others, *own.values())
        return value

    @property
    def num_views(self) -> int:
        """How many views an anchor is compared with."""
        return 2 if self.negatives == "both views" else 1

    def candidates(self, anchors: Tensor, others: Tensor) -> Tensor:
        """What anchors are compared with, view after view, the other view first."""
        if self.negatives == "both views":
            return torch.cat([others, anchors], dim=-2)
        return others if self.negatives == "other view" else anchors

    def terms(self, similarities: Tensor, rows: Tensor, partners: Tensor, *, start: int, own: Named) -> Tensor:
        """The rule on the anchors from image `start` on, by their similarities with all candidates."""
        pairs = similarities.view(*similarities.shape[:2], self.num_views, -1)
        return self.rule(Anchors(rows, partners, pairs, start), **own)

    def pooled(self, terms: Tensor, anchors: Tensor, others: Tensor, own: Named) -> Tensor:
        """The value of a direction from the terms of all anchors."""
        if self.pool is None:
            return terms.mean((1, 2, 3))
        return self.pool(terms, (anchors - others).square().sum(-1)[..., None, None], **own).flatten()


def _unit(view: Tensor) -> Tensor:
    """Rows of length 1, in float32 or better, of shape (members, images, dim)."""
    precise = view.float() if view.dtype.itemsize < 4 else view
    return F.normalize(precise, dim=-1).reshape(-1, *view.shape[-2:])


def _per_member(hyperparameter: float | Tensor, members: torch.Size, u: Tensor) -> Hyperparameter:
    """One value for each member."""
    value = torch.as_tensor(hyperparameter, dtype=u.dtype, device=u.device)
    return value.expand(members).reshape(-1, 1, 1, 1)


class _Tiled(torch.autograd.Function):
    """One direction, tile by tile. Its gradient is computed on the way: backward only scales it."""

    @staticmethod
    def forward(
        ctx: Any, loss: PairwiseLoss, tile: int, names: Sequence[str], anchors: Tensor, others: Tensor, *values: Tensor
    ) -> Tensor:
        ctx.has_gradient = [True, True, *(value.requires_grad for value in values)]
        own = dict(zip(names, (value.detach().requires_grad_(value.requires_grad) for value in values), strict=True))
        if not any(ctx.needs_input_grad):
            return loss.pooled(_terms(loss, tile, anchors, others, own), anchors, others, own)
        value, gradients = _value_and_gradients(loss, tile, anchors, others, own)
        ctx.save_for_backward(*gradients)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (x * upstream.view(-1, *(1,) * (x.dim() - 1)) for x in ctx.saved_tensors)
        return None, None, None, *(next(scaled) if given else None for given in ctx.has_gradient)


def _blocks(tile: int, anchors: Tensor, others: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    for start in range(0, anchors.shape[1], tile):
        yield start, anchors[:, start : start + tile], others[:, start : start + tile]


def _terms(loss: PairwiseLoss, tile: int, anchors: Tensor, others: Tensor, own: Named) -> Tensor:
    """The terms of all anchors."""
    candidates = loss.candidates(anchors, others)
    terms = [
        loss.terms(rows @ candidates.mT, rows, partners, start=start, own=own)
        for start, rows, partners in _blocks(tile, anchors, others)
    ]
    return torch.cat(terms, dim=1)


def _value_and_gradients(
    loss: PairwiseLoss, tile: int, anchors: Tensor, others: Tensor, own: Named
) -> tuple[Tensor, list[Tensor]]:
    """The value of a direction, and its gradients for anchors, others and the hyperparameters that need one."""
    learnt = [value for value in own.values() if value.requires_grad]
    # What a term weighs in the value depends on the terms themselves only where they are not averaged.
    terms = _terms(loss, tile, anchors, others, own) if loss.pool else anchors.new_zeros(*anchors.shape[:2], 1, 1)
    pooled = partial(loss.pooled, own=own)
    _, (weights, *totals) = _differentiate(pooled, (terms.detach(), anchors, others), learnt)
    candidates = loss.candidates(anchors, others)
    candidates_total = torch.zeros_like(candidates)
    for start, rows, partners in _blocks(tile, anchors, others):
        block = slice(start, start + tile)
        rule = partial(loss.terms, start=start, own=own)
        inputs = (rows @ candidates.mT, rows, partners)
        terms[:, block], (pairs, *direct) = _differentiate(rule, inputs, learnt, weights[:, block])
        totals[0][:, block] += direct[0].baddbmm_(pairs, candidates)
        totals[1][:, block] += direct[1]
        candidates_total.baddbmm_(pairs.mT, rows)
        for total, gradient in zip(totals[2:], direct[2:], strict=True):
            total += gradient
    _, through_candidates = _differentiate(loss.candidates, (anchors, others), [], candidates_total)
    for total, gradient in zip(totals, through_candidates, strict=False):
        total += gradient
    return loss.pooled(terms, anchors, others, own).detach(), totals


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
