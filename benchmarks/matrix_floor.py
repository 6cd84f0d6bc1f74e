"""The floor of a pairwise loss: its matrix products alone, in preallocated buffers.

Anchors A (n x d), candidates C (n x d), similarities S = A C^T, their gradient G: a loss needs three products of
n x n x d, forward S and backward G C and G^T A, over every anchor and candidate. The floor runs these three, a block
of anchors at a time, with S in place of G and nothing between, at block heights 64, 128, 256 and all rows; the
fastest counts. For `nt_xent`, `dcl` and what else takes negatives from both views, n = 2M and there is one matrix.
For the same-view and the two-sided cross-view losses, n = M and there are two. For one-sided ones, and those of one
cross-view matrix (`siglip`, `spectral`), n = M and there is one.

It is the floor of code that computes every row. The matrix of embeddings with themselves is symmetric: half of S,
and one product with G + G^T in place of two, would do, so that a loss can lie below its floor (a share above 1).
"""

from collections.abc import Callable

import torch

from robustness.losses import LOSSES, PairwiseLoss

HEIGHTS = (64, 128, 256)
# A block of more bytes is far outside every cache: all rows at once are then not tried.
LARGEST_BLOCK = 2**30
# As many anchors are enough to rank the heights, against all candidates.
RANKING_ANCHORS = 1024


def floors(
    family: str, size: int, dim: int, seconds: Callable[[Callable[[], None]], float]
) -> dict[str, Callable[[], None]]:
    """The two fastest floors of a family by block height, for the caller to time beside the losses.

    Args:
        size: M.
        seconds: times one call.

    Returns:
        Label to work, empty where the family is not pairwise.
    """
    formula = LOSSES[family].formula
    if not isinstance(formula, PairwiseLoss):
        return {}
    rows = formula.num_views * size
    count = 1 if formula.one_sided or formula.num_views == 2 else 2
    heights = {min(height, rows) for height in HEIGHTS}
    if 4 * rows * rows <= LARGEST_BLOCK:
        heights.add(rows)
    anchors = {height: rows if height == rows else min(rows, max(height, RANKING_ANCHORS)) for height in heights}
    ranking = {height: products(rows, anchors[height], 1, dim, height) for height in heights}
    per_anchor = {height: min(seconds(work) for _ in range(2)) / anchors[height] for height, work in ranking.items()}
    fastest = sorted(heights, key=per_anchor.__getitem__)[:2]
    return {f"floor {height}": products(rows, rows, count, dim, height) for height in fastest}


def products(rows: int, anchors: int, count: int, dim: int, height: int) -> Callable[[], None]:
    """The three products for each of `count` matrices of anchors x rows, `height` anchors at a time."""
    generator = torch.Generator().manual_seed(0)
    operands = [torch.nn.functional.normalize(torch.randn(rows, dim, generator=generator), dim=1) for _ in range(count)]
    block = torch.empty(height, rows)
    to_anchors, to_candidates = torch.empty(rows, dim), torch.empty(rows, dim)

    def all_products() -> None:
        for z in operands:
            to_candidates.zero_()
            for start in range(0, anchors, height):
                anchor = z[start : min(start + height, anchors)]
                similarities = block[: len(anchor)]
                torch.mm(anchor, z.T, out=similarities)
                torch.mm(similarities, z, out=to_anchors[start : start + len(anchor)])
                to_candidates.addmm_(similarities.T, anchor)

    return all_products
