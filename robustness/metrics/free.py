"""How far free embeddings are from the two configurations that are known to be optimal."""

import math

import networkx
import torch
from jaxtyping import Float
from torch import Tensor

FREE_OUTCOMES = ("simplex_distance", "cross_polytope_distance", "full_loss_gap")
"""Numeric outcome columns that free pairs fill, besides those of all data."""


def simplex(num_points: int) -> Float[Tensor, "n n"]:
    """Unit vectors with all inner products -1 / (n - 1): the corners of a regular simplex, of n - 1 dimensions."""
    centred = torch.eye(num_points, dtype=torch.float64) - 1 / num_points
    return centred * math.sqrt(num_points / (num_points - 1))


def cross_polytope(num_points: int) -> Float[Tensor, "n half"]:
    """The unit vectors along every axis, forward and back: point k and point k + n / 2 are antipodes."""
    axes = torch.eye(num_points // 2, dtype=torch.float64)
    return torch.cat([axes, -axes])


def simplex_distance(products: Float[Tensor, "n n"]) -> float:
    """Frobenius distance of inner products from those of the regular simplex.

    Args:
        products: of view 1 of every pair with view 2 of every pair, unit vectors.

    Returns:
        0 where both views are the simplex; no order of the pairs changes it.

    Source:
        Cho et al., Mini-Batch Optimization of Contrastive Loss, 2023, arXiv:2307.05906, section 6.
    """
    corners = simplex(len(products)).to(products)
    return float((products - corners @ corners.T).norm())


def cross_polytope_distance(products: Float[Tensor, "n n"]) -> float:
    """Frobenius distance of inner products from those of the cross-polytope whose antipodes suit them best.

    One permutation orders rows and columns together: which pairs are antipodes is a perfect matching of the least total
    product, found exactly.

    Args:
        products: as of `simplex_distance`, of an even number of pairs.

    Returns:
        0 where both views are the cross-polytope.

    Source:
        Cho et al., 2023, arXiv:2307.05906, section 6, who choose the best column for each row by itself.
    """
    graph, both = networkx.Graph(), (products + products.T).tolist()
    graph.add_weighted_edges_from((i, j, -both[i][j]) for i in range(len(both)) for j in range(i))
    target = torch.eye(len(both)).to(products)
    for i, j in networkx.max_weight_matching(graph, maxcardinality=True):
        target[i, j] = target[j, i] = -1.0
    return float((products - target).norm())
