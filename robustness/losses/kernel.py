"""Kernel contrastive losses: a kernel pulls positives together, the same kernel's energy spreads all apart.

With r(a, b) = |a - b|^2 on unit vectors and a kernel K of r,

    loss = -mean_i K(r(u_i, v_i)) + gamma * (E_u + E_v) / 2,    E_w = mean_{i != j} K(r(w_i, w_j))

The energy is a mean over pairs, so its expectation does not depend on the batch size.

Source:
    Koromilas et al., Bridging Mini-Batch and Asymptotic Analysis in Contrastive Learning, ICML 2024,
    arXiv:2405.18045. The authors' released code multiplies all of it by 2, and the alignment of the
    logarithmic kernel by another 2, which halves gamma there; we follow the paper.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from robustness.losses.embeddings import (
    Embeddings,
    Hyperparameter,
    PerMember,
    per_member,
    positives,
    similarities,
    unit_rows,
    without_diagonal,
)

Kernel = Callable[[Tensor, Hyperparameter], Tensor]


def kcl_gaussian(u: Embeddings, v: Embeddings, *, bandwidth: Hyperparameter, gamma: Hyperparameter) -> PerMember:
    """Kernel contrastive loss with the Gaussian kernel K(r) = exp(-bandwidth r).

    Args:
        u, v: embeddings of the two views, normalised here; at least two images.
        bandwidth: inverse squared width; positive. 1 / (2 temperature) matches an InfoNCE temperature.
        gamma: weight of the energy; positive.

    Returns:
        One value per member; lower is better. Source: see the module.
    """
    return _kernel_loss(u, v, lambda r, width: torch.exp(-width * r), bandwidth, gamma)


def kcl_log(u: Embeddings, v: Embeddings, *, bandwidth: Hyperparameter, gamma: Hyperparameter) -> PerMember:
    """Kernel contrastive loss with the logarithmic kernel K(r) = -1/2 log(1 + bandwidth r).

    Args:
        u, v: embeddings of the two views, normalised here; at least two images.
        bandwidth: inverse squared width; positive.
        gamma: weight of the energy; positive.

    Returns:
        One value per member; lower is better. Source: see the module.
    """
    return _kernel_loss(u, v, lambda r, width: -torch.log1p(width * r) / 2, bandwidth, gamma)


def kcl_imq(u: Embeddings, v: Embeddings, *, kernel_scale: Hyperparameter, gamma: Hyperparameter) -> PerMember:
    """Kernel contrastive loss with the inverse multiquadric kernel K(r) = c / sqrt(c^2 + r).

    Args:
        u, v: embeddings of the two views, normalised here; at least two images.
        kernel_scale: c, the distance at which the kernel bends; positive.
        gamma: weight of the energy; positive.

    Returns:
        One value per member; lower is better. Source: see the module.
    """
    return _kernel_loss(u, v, lambda r, c: (1 + r / c**2) ** -0.5, kernel_scale, gamma)


def _kernel_loss(
    u: Embeddings, v: Embeddings, kernel: Kernel, width: Hyperparameter, gamma: Hyperparameter
) -> PerMember:
    u, v = unit_rows(u, v)
    aligned = kernel(_squared_distance(positives(u, v)), per_member(width, 1)).mean(-1)
    energies = [_energy(w, kernel, per_member(width, 2)) for w in (u, v)]
    return gamma * (energies[0] + energies[1]) / 2 - aligned


def _energy(w: Embeddings, kernel: Kernel, width: Hyperparameter) -> PerMember:
    pairs = kernel(_squared_distance(similarities(w, w)), width)
    num_images = w.shape[-2]
    return without_diagonal(pairs, fill=0.0).sum((-2, -1)) / (num_images * (num_images - 1))


def _squared_distance(similarity: Tensor) -> Tensor:
    # Rounding puts s a little above 1, and 1 + bandwidth * r must stay positive.
    return (2 - 2 * similarity).clamp_min(0)
