"""Whether vectors have collapsed: not at all, into few dimensions, or into one point."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from robustness.metrics.geometry import unit_rows
from robustness.metrics.spectrum import effective_rank, spectral_metrics, spectrum

Collapse = Literal["none", "dimensional", "complete"]

_POINT = 1e-6
_SHARE_OF_ISOTROPIC = 0.5


def embedding_collapse(z: Float[Tensor, "n dim"], metrics: Mapping[str, float] | None = None) -> Collapse:
    """Collapse of embeddings, on rows of length 1.

    `complete`: |mean|^2 > 1 - 1e-6. `dimensional`: the effective rank (not centred) is below half that of
    as many isotropic points in as many dimensions; so tight class clusters (10 of them, within-norm below
    .1) and a mean cosine above .9 count as dimensional too.

    Args:
        metrics: `spectral_metrics` of the rows of length 1, where they are known.
    """
    unit = unit_rows(z)
    if _is_point(unit):
        return "complete"
    limit = _SHARE_OF_ISOTROPIC * _isotropic_rank(*unit.shape, centered=False)
    rank = effective_rank(spectrum(unit)) if metrics is None else metrics["effective_rank"]
    return "dimensional" if rank < limit else "none"


def representation_collapse(h: Float[Tensor, "n dim"], metrics: Mapping[str, float] | None = None) -> Collapse:
    """Collapse of representations, taken as they are, around their mean.

    A ReLU representation has a large mean, which says nothing about its dimensions: `dimensional` compares
    the centred effective rank. `complete`: on rows of length 1 |mean|^2 > 1 - 1e-6, or the total variance
    is at most 1e-6 of the squared length of the mean.

    Args:
        metrics: `spectral_metrics` of h, where they are known.
    """
    metrics = spectral_metrics(h) if metrics is None else metrics
    if _is_point(unit_rows(h)) or metrics["total_variance"] <= _POINT * metrics["mean_norm"] ** 2:
        return "complete"
    limit = _SHARE_OF_ISOTROPIC * _isotropic_rank(*h.shape, centered=True)
    return "dimensional" if metrics["effective_rank_centered"] < limit else "none"


def _is_point(unit: Float[Tensor, "n dim"]) -> bool:
    # Rows of zeros stay zero when normalised: all zero is one point too.
    return bool(unit.mean(0).square().sum() > 1 - _POINT) or not bool(unit.any())


@lru_cache(maxsize=16)
def _isotropic_rank(n: int, dim: int, *, centered: bool) -> float:
    points = torch.randn(n, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = points - points.mean(0) if centered else unit_rows(points)
    return effective_rank(spectrum(points))
