"""Kernel contrastive losses: a kernel pulls positives together, a kernel's energy spreads all images apart.

With r(a, b) = |a - b|^2 on unit vectors and kernels K_A and K_U of r,

    loss = -mean_i K_A(r(u_i, v_i)) + gamma * (E_u + E_v) / 2,    E_w = mean_{i != j} K_U(r(w_i, w_j))

The energy is a mean over pairs, so its expectation does not depend on the batch size. Each rule returns one
term per anchor; lower is better. `gamma`, the weight of the energy, is positive.

Source:
    Koromilas et al., Bridging Mini-Batch and Asymptotic Analysis in Contrastive Learning, ICML 2024,
    arXiv:2405.18045. The authors' released code multiplies all of it by 2, and the alignment of the
    logarithmic kernel by another 2, which halves gamma there; we follow the paper.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from robustness.losses.pairwise.anchors import Anchors, Hyperparameter, PerAnchor

Kernel = Callable[..., Tensor]


def kcl_gaussian(anchors: Anchors, *, bandwidth: Hyperparameter, gamma: Hyperparameter) -> PerAnchor:
    """Gaussian kernel: K_A = K_U = exp(-bandwidth r).

    Args:
        bandwidth: inverse squared width; positive. 1 / (2 temperature) matches an InfoNCE temperature.
        gamma: weight of the energy; positive.
    """
    return _kernel_loss(anchors, gaussian, gamma, bandwidth=bandwidth)


def kcl_log(anchors: Anchors, *, bandwidth: Hyperparameter, gamma: Hyperparameter) -> PerAnchor:
    """Logarithmic kernel: K_A = K_U = -1/2 log(1 + bandwidth r).

    Args:
        bandwidth: inverse squared width; positive.
        gamma: weight of the energy; positive.
    """
    return _kernel_loss(anchors, logarithmic, gamma, bandwidth=bandwidth)


def kcl_imq(anchors: Anchors, *, kernel_scale: Hyperparameter, gamma: Hyperparameter) -> PerAnchor:
    """Inverse multiquadric kernel: K_A = K_U = c / sqrt(c^2 + r).

    Args:
        kernel_scale: c, the distance at which the kernel bends; positive.
        gamma: weight of the energy; positive.
    """
    return _kernel_loss(anchors, inverse_multiquadric, gamma, kernel_scale=kernel_scale)


def kcl_riesz(anchors: Anchors, *, kernel_order: Hyperparameter, gamma: Hyperparameter) -> PerAnchor:
    """Riesz kernel: K_A = K_U = -r^(order/2).

    Its slope at r = 0 is infinite: squared distances that are rounding (at most 8 eps) count as 0, without slope.

    Args:
        kernel_order: between 0 and 2, both excluded: the kernel is conditionally positive definite only there.
        gamma: weight of the energy; positive.
    """
    return _kernel_loss(anchors, riesz, gamma, kernel_order=kernel_order)


def kcl_gaussian_riesz(anchors: Anchors, *, kernel_order: Hyperparameter, gamma: Hyperparameter) -> PerAnchor:
    """Gaussian pull and inverse Riesz energy: K_A = exp(-2 r), K_U = r^(-order/2).

    K_U has a pole at r = 0: squared distances below 8 eps are raised to 8 eps. As K_A it would be unbounded,
    so the pull is Gaussian.

    Args:
        kernel_order: positive; the energy diverges with this power of the distance.
        gamma: weight of the energy; positive.
    """

    def energy(r: Tensor) -> Tensor:
        return r.clamp_min(_rounding(r)).pow(kernel_order / -2)

    return gamma * anchors.mean(energy(anchors.distances)) - torch.exp(-2 * anchors.positive_distance)


def kcl_laplace(anchors: Anchors, *, bandwidth: Hyperparameter, gamma: Hyperparameter) -> PerAnchor:
    """Laplace kernel: K_A = K_U = exp(-bandwidth sqrt(r)).

    Its slope at r = 0 is infinite: squared distances that are rounding (at most 8 eps) count as 0, without slope.

    Args:
        bandwidth: inverse width; positive.
        gamma: weight of the energy; positive.
    """
    return _kernel_loss(anchors, laplace, gamma, bandwidth=bandwidth)


def kcl_linear_gaussian(anchors: Anchors, *, bandwidth: Hyperparameter, gamma: Hyperparameter) -> PerAnchor:
    """Linear pull and Gaussian energy: K_A = s(u, v), K_U = exp(-bandwidth r).

    A kernel's pull vanishes for positives that lie opposite each other; this one's does not.

    Args:
        bandwidth: inverse squared width of the energy's kernel; positive.
        gamma: weight of the energy; positive.
    """
    return gamma * anchors.mean(torch.exp(-bandwidth * anchors.distances)) - anchors.positive


def power(r: Tensor, exponent: Hyperparameter | float) -> Tensor:
    """r^exponent, with value and slope 0 where r is rounding: below 1 the slope at 0 is infinite."""
    rounding = r <= _rounding(r)
    return torch.where(rounding, 0.0, torch.where(rounding, 1.0, r).pow(exponent))


def _rounding(r: Tensor) -> float:
    return 8 * torch.finfo(r.dtype).eps


def gaussian(r: Tensor, *, bandwidth: Hyperparameter) -> Tensor:
    """The Gaussian kernel of squared distances."""
    return torch.exp(-bandwidth * r)


def logarithmic(r: Tensor, *, bandwidth: Hyperparameter) -> Tensor:
    """The logarithmic kernel of squared distances."""
    return torch.log1p(bandwidth * r) / -2


def inverse_multiquadric(r: Tensor, *, kernel_scale: Hyperparameter) -> Tensor:
    """The inverse multiquadric kernel of squared distances."""
    return torch.rsqrt(1 + r / kernel_scale**2)


def riesz(r: Tensor, *, kernel_order: Hyperparameter) -> Tensor:
    """The Riesz kernel of squared distances."""
    return -power(r, kernel_order / 2)


def laplace(r: Tensor, *, bandwidth: Hyperparameter) -> Tensor:
    """The Laplace kernel of squared distances."""
    return torch.exp(-bandwidth * power(r, 0.5))


def _kernel_loss(anchors: Anchors, kernel: Kernel, gamma: Hyperparameter, **own: Hyperparameter) -> PerAnchor:
    return gamma * anchors.mean(kernel(anchors.distances, **own)) - kernel(anchors.positive_distance, **own)
