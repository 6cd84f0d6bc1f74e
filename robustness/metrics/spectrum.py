"""How many dimensions a set of vectors fills.

sigma are singular values of the n x d matrix as it is, lambda the eigenvalues of its covariance
(divisor n - 1). Both come from a float64 SVD of the matrix: a Gram matrix would square the condition number.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

Matrix = Float[Tensor, "n dim"]
Spectrum = Float[Tensor, "rank"]


def spectrum(x: Matrix) -> Spectrum:
    """Singular values of the matrix as it is, in float64, largest first."""
    sigma: Spectrum = torch.linalg.svdvals(x.double())
    return sigma


def spectral_metrics(x: Matrix, *, eps: float | None = None) -> dict[str, float]:
    """Every spectral number of a set of vectors, taken as they are.

    Args:
        eps: rounding of the numbers x was computed in; that of its own type unless given.

    Returns:
        effective_rank, effective_rank_centered: exp of the entropy of sigma / sum sigma, 1 to min(n, d).
        rankme: the same with 1e-7 added to each share, as its authors do.
        participation_ratio: (sum lambda)^2 / sum lambda^2. stable_rank: sum lambda / lambda_1.
        numerical_rank: number of sigma above max(n, d) eps sigma_1.
        released_rank: number of lambda above 1e-5; depends on the scale of x.
        mean_norm: length of the mean vector. total_variance: trace of the covariance.
        Ranks are NaN where they are 0/0: all vectors zero, or, for those of the covariance, all equal.

    Source:
        Roy & Vetterli, The effective rank, EUSIPCO 2007; Garrido et al., RankMe, ICML 2023,
        arXiv:2210.02885; the released code of Koromilas et al., ICML 2024 (released_rank).
    """
    rounding = torch.finfo(x.dtype).eps if eps is None else eps
    x = x.double()
    mean = x.mean(0)
    sigma, sigma_centered = spectrum(x), spectrum(x - mean)
    floor = max(x.shape) * sigma[0]
    # What centring leaves of equal rows is rounding, which would count as full rank.
    sigma_centered = torch.where(sigma_centered > floor * torch.finfo(torch.float64).eps, sigma_centered, 0.0)
    variances = sigma_centered.square() / max(len(x) - 1, 1)
    total = variances.sum()
    return {
        "effective_rank": effective_rank(sigma),
        "effective_rank_centered": effective_rank(sigma_centered),
        "rankme": _rankme(sigma),
        "participation_ratio": float(total.square() / variances.square().sum()),
        "stable_rank": float(total / variances[0]),
        "numerical_rank": float((sigma > floor * rounding).sum()),
        "released_rank": float((variances > 1e-5).sum()),
        "mean_norm": float(mean.norm()),
        "total_variance": float(total),
    }


def effective_rank(sigma: Spectrum) -> float:
    """exp(-sum p ln p) with p = sigma / sum sigma; 1 to the number of values, NaN if all are zero."""
    share = sigma / sigma.sum()
    return math.nan if sigma[0] == 0 else math.exp(float(torch.special.entr(share).sum()))


def _rankme(sigma: Spectrum) -> float:
    share = sigma / sigma.sum() + 1e-7
    return math.nan if sigma[0] == 0 else math.exp(float(-(share * share.log()).sum()))
