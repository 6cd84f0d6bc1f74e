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


def spectral_metrics(x: Matrix, *, sigma: Spectrum | None = None, eps: float | None = None) -> dict[str, float]:
    """Every spectral number of a set of vectors, taken as they are.

    Args:
        sigma: `spectrum(x)`, where it is known.
        eps: rounding of the numbers x was computed in; that of its own type unless given.

    Returns:
        effective_rank, effective_rank_centered: exp of the entropy of sigma / sum sigma, 1 to min(n, d).
        rankme: the same with 1e-7 added to each share, as its authors do.
        participation_ratio: (sum lambda)^2 / sum lambda^2. stable_rank: sum lambda / lambda_1.
        numerical_rank: number of sigma above max(n, d) eps sigma_1.
        released_rank: number of lambda above 1e-5; depends on the scale of x.
        alpha_req: see there.
        mean_norm: length of the mean vector. total_variance: trace of the covariance.
        Ranks are NaN where they are 0/0: all vectors zero, or, for those of the covariance, all equal.

    Source:
        Roy & Vetterli, The effective rank, EUSIPCO 2007; Garrido et al., RankMe, ICML 2023,
        arXiv:2210.02885; the released code of Koromilas et al., ICML 2024 (released_rank).
    """
    rounding = torch.finfo(x.dtype).eps if eps is None else eps
    x = x.double()
    mean = x.mean(0)
    sigma, sigma_centered = spectrum(x) if sigma is None else sigma, spectrum(x - mean)
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
        "alpha_req": alpha_req(variances, num_rows=len(x)),
        "mean_norm": float(mean.norm()),
        "total_variance": float(total),
    }


def alpha_req(variances: Spectrum, *, num_rows: int) -> float:
    """Exponent of the power law that the eigenvalues of the covariance follow: lambda_i ~ i^-alpha.

        alpha_req = -slope of ln lambda_i on ln i, least squares with weights 1/i, i = 11 .. 100

    Args:
        variances: all eigenvalues of the covariance, largest first.
        num_rows: number of vectors that it is of.

    Returns:
        0 for a flat spectrum; the faster the fall, the larger. NaN unless there are more than 100 dimensions
        and more than 10 vectors to each, or where one of these eigenvalues is 0.

    Source:
        Agrawal et al., alpha-ReQ: Assessing Representation Quality in Self-Supervised Learning by measuring
        eigenspectrum decay, NeurIPS 2022; weights and range as their released code has them.
    """
    dim = len(variances)
    if dim <= 100 or num_rows <= 10 * dim or not bool(variances[99] > 0):
        return math.nan
    index = torch.arange(11, 101, dtype=torch.float64, device=variances.device)
    weights = 1 / index
    position, height = index.log(), variances[10:100].log()
    position = position - (weights * position).sum() / weights.sum()
    return float(-(weights * position * height).sum() / (weights * position.square()).sum())


def effective_rank(sigma: Spectrum) -> float:
    """exp(-sum p ln p) with p = sigma / sum sigma; 1 to the number of values, NaN if all are zero."""
    share = sigma / sigma.sum()
    return math.nan if sigma[0] == 0 else math.exp(float(torch.special.entr(share).sum()))


def _rankme(sigma: Spectrum) -> float:
    share = sigma / sigma.sum() + 1e-7
    return math.nan if sigma[0] == 0 else math.exp(float(-(share * share.log()).sum()))
