"""Outcomes of free embeddings, which are optimised directly: how far they are from the best that there is."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from robustness.losses import PairwiseLoss
from robustness.losses.installed import find_loss
from robustness.metrics import cross_polytope, cross_polytope_distance, simplex, simplex_distance
from robustness.metrics.geometry import unit_rows
from robustness.training.member import Member

Embeddings = Float[Tensor, "pairs dim"]

MOST_PRODUCTS = 64
"""Inner products of more pairs than this are not stored."""


def free_outcomes(member: Member, first: Embeddings, second: Embeddings) -> dict[str, Any]:
    """Columns that only free embeddings have.

    Args:
        member: whose loss is asked for.
        first, second: of both views of every pair; normalised here.
    """
    u, v = unit_rows(first), unit_rows(second)
    products, (num_pairs, dim) = u @ v.T, u.shape
    return {
        "simplex_distance": simplex_distance(products),
        "cross_polytope_distance": cross_polytope_distance(products) if num_pairs == 2 * dim else math.nan,
        "full_loss_gap": _full_loss_gap(member, u, v),
        "inner_products": products.flatten().tolist() if num_pairs <= MOST_PRODUCTS else None,
    }


def _full_loss_gap(member: Member, u: Embeddings, v: Embeddings) -> float:
    """The loss of all pairs as one batch, minus that of the best known points; NaN where none are known.

    Those are the simplex where it fits, d >= N - 1, and the cross-polytope where N = 2 d; both views equal. A family
    whose optimum they are not can fall below.
    """
    best = _best_known(*u.shape)
    if member.trial.training is None or best is None:
        return math.nan
    if not isinstance(find_loss(member.trial.loss).formula, PairwiseLoss):
        return math.nan
    best = best.to(u)
    with torch.no_grad():
        return float(member.loss(u, v) - member.loss(best, best))


def _best_known(num_pairs: int, dim: int) -> Embeddings | None:
    if dim >= num_pairs - 1:
        return simplex(num_pairs)
    return cross_polytope(num_pairs) if num_pairs == 2 * dim else None
