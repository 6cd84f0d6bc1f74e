"""Losses without negatives, on embeddings as they are: references for surfaces of collapse.

They compare dimensions, not images: the cost is O(images * dim^2), and no row is normalised. Not invariant to
rotations of the embedding space, since the dimensions themselves are decorrelated.
"""

import torch
from torch import Tensor

from robustness.losses.pairwise.anchors import Embeddings, PerMember


def barlow_twins(u: Embeddings, v: Embeddings, *, redundancy_weight: float | Tensor) -> PerMember:
    """Barlow Twins: each dimension agrees with itself across views, and with no other.

        loss = sum_k (1 - C_kk)^2 + redundancy_weight sum_{k != l} C_kl^2

    with C the cross-correlation of the two views' dimensions over the batch.

    Args:
        u, v: embeddings of the two views; at least two images.
        redundancy_weight: of what lies off the diagonal; at least 0.

    Returns:
        One value per member, >= 0; lower is better.

    Source:
        Zbontar et al., Barlow Twins, ICML 2021, equation 1, arXiv:2103.03230. As in the released code, 1e-5 is
        added to the (biased) variance of each dimension: finite at collapse.
    """
    u, v = _float32(u), _float32(v)
    with torch.autocast(u.device.type, enabled=False):
        correlation = _standardised(u).mT @ _standardised(v) / u.shape[-2]
        diagonal = correlation.diagonal(dim1=-2, dim2=-1)
        redundant = correlation.square().sum((-2, -1)) - diagonal.square().sum(-1)
        return (1 - diagonal).square().sum(-1) + redundancy_weight * redundant


def vicreg(
    u: Embeddings,
    v: Embeddings,
    *,
    invariance_weight: float | Tensor,
    variance_weight: float | Tensor,
    covariance_weight: float | Tensor,
) -> PerMember:
    """VICReg: equal views, every dimension of standard deviation 1 at least, no two of them correlated.

        loss = invariance_weight mean_i |u_i - v_i|^2
             + variance_weight sum_{w in {u, v}} mean_k max(0, 1 - sqrt(Var(w)_k + 1e-4))
             + covariance_weight sum_{w in {u, v}} 1/dim sum_{k != l} Cov(w)_kl^2

    Args:
        u, v: embeddings of the two views; at least two images.
        invariance_weight, variance_weight, covariance_weight: at least 0.

    Returns:
        One value per member, >= 0; lower is better.

    Source:
        Bardes et al., VICReg, ICLR 2022, equations 1 to 6, arXiv:2105.04906. The released code divides the first
        term by dim as well, and the second by 2.
    """
    u, v = _float32(u), _float32(v)
    with torch.autocast(u.device.type, enabled=False):
        invariance = (u - v).square().sum(-1).mean(-1)
        (u_variance, u_covariance), (v_variance, v_covariance) = _spread(u), _spread(v)
    return (
        invariance_weight * invariance
        + variance_weight * (u_variance + v_variance)
        + covariance_weight * (u_covariance + v_covariance)
    )


def _float32(view: Tensor) -> Tensor:
    return view.float() if view.dtype.itemsize < 4 else view


def _standardised(view: Tensor) -> Tensor:
    centred = view - view.mean(-2, keepdim=True)
    return centred * (centred.square().mean(-2, keepdim=True) + 1e-5).rsqrt()


def _spread(view: Tensor) -> tuple[Tensor, Tensor]:
    centred = view - view.mean(-2, keepdim=True)
    covariance = centred.mT @ centred / (view.shape[-2] - 1)
    variances = covariance.diagonal(dim1=-2, dim2=-1)
    shortfall = (1 - (variances + 1e-4).sqrt()).clamp_min(0).mean(-1)
    correlated = (covariance.square().sum((-2, -1)) - variances.square().sum(-1)) / view.shape[-1]
    return shortfall, correlated
