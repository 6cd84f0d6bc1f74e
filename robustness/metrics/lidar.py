"""How many dimensions tell images apart, once what views of one image do is taken out."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

NUM_VIEWS = 10
IMAGES_PER_DIMENSION = 10

_DELTA = 1e-4


def lidar(views: Sequence[Float[Tensor, "n dim"]]) -> float:
    """Effective rank of the linear discriminant analysis that takes every image as a class of its views.

        Sigma_b = covariance of the images' means      Sigma_w = mean covariance of an image's views
        M = (Sigma_w + delta)^-1/2 Sigma_b (Sigma_w + delta)^-1/2,   delta = 1e-4
        lidar = exp(-sum_k p_k ln p_k),   p_k = lambda_k(M) / sum lambda(M) + 1e-7

    Args:
        views: each of the same images in the same order, two or more. It takes `NUM_VIEWS` views of each of
            `IMAGES_PER_DIMENSION` images a dimension: fewer bias it.

    Returns:
        1 to dim. NaN where tr Sigma_b <= tr Sigma_w: then views differ more than images do, and noise counts
        as rank (pure noise would score 59.6 of 64).

    Source:
        Thilak et al., LiDAR: Sensing Linear Probing Performance in Joint Embedding SSL Architectures, ICLR 2024,
        arXiv:2312.04000; NaN is ours.
    """
    mean = torch.stack([view.double().mean(0) for view in views]).mean(0)
    images = sum(view.double() - mean for view in views) / len(views)
    assert isinstance(images, Tensor)
    between = images.T @ images / len(images)
    within = torch.zeros_like(between)
    for view in views:
        deviations = view.double() - mean - images
        within += deviations.T @ deviations / (len(images) * len(views))
    if not bool(between.trace() > within.trace()):
        return math.nan
    within.diagonal().add_(_DELTA)
    # L^-1 Sigma_b L^-T has the eigenvalues of M for any L with L L^T = Sigma_w + delta.
    factor = torch.linalg.cholesky(within)
    half = torch.linalg.solve_triangular(factor, between, upper=False)
    eigenvalues = torch.linalg.eigvalsh(torch.linalg.solve_triangular(factor, half.T, upper=False)).clamp_min(0)
    share = eigenvalues / eigenvalues.sum() + 1e-7
    return math.exp(float(-(share * share.log()).sum()))
