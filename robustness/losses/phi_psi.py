"""The (phi, psi) table: L = mean_i phi( sum_{negatives j} psi(d_i^2 - d_ij^2) ), and its named rows.

d_ij^2 is half the squared distance, so d_i^2 - d_ij^2 = s_ij - s_i+: how much nearer the negative is than the
positive, from -2 to 2. Negatives are the other images' embeddings in both views. Each rule returns one term per
anchor, of 2M anchors; lower is better. t is the temperature.

Source:
    Tian, Understanding Deep Contrastive Learning via Coordinate-wise Optimization, NeurIPS 2022, table 1,
    arXiv:2201.12680. The paper sums over anchors, we average.
"""

import torch
from torch import Tensor

from robustness.losses.info_nce import log1p_exp, log_ratio, log_ratio_at_1
from robustness.losses.pairwise.anchors import Anchors, Hyperparameter, PerAnchor


def info_nce_epsilon(anchors: Anchors, *, temperature: Hyperparameter, epsilon: Hyperparameter) -> PerAnchor:
    """phi(x) = t log(epsilon + x), psi(x) = e^(x/t).

    Args:
        temperature: t, positive.
        epsilon: how much of the positive stands in the log-sum, at least 0: at 1 it is t times `nt_xent`, at 0
            t times `dcl`.
    """
    x = log_ratio(anchors, temperature)
    return temperature * torch.logaddexp(x, epsilon.log())


def mine(anchors: Anchors) -> PerAnchor:
    """phi(x) = log x, psi(x) = e^x: `dcl` at temperature 1."""
    return log_ratio_at_1(anchors)


def triplet(anchors: Anchors, *, margin: Hyperparameter) -> PerAnchor:
    """phi(x) = x, psi(x) = max(x + margin, 0): summed over all negatives, none is mined.

    Args:
        margin: on half squared distances; at least 0.
    """
    return anchors.sum((_nearer(anchors) + margin).clamp_min(0))


def soft_triplet(anchors: Anchors, *, temperature: Hyperparameter, margin: Hyperparameter) -> PerAnchor:
    """phi(x) = t log(1 + x), psi(x) = e^(x/t + margin).

    Args:
        temperature: t, positive.
        margin: on the exponent; at least 0.
    """
    return temperature * log1p_exp(log_ratio(anchors, temperature) + margin)


def n_plus_one_tuplet(anchors: Anchors) -> PerAnchor:
    """phi(x) = log(1 + x), psi(x) = e^x: `nt_xent` at temperature 1."""
    return log1p_exp(log_ratio_at_1(anchors))


def lifted_structured(anchors: Anchors, *, margin: Hyperparameter) -> PerAnchor:
    """phi(x) = max(log x, 0)^2, psi(x) = e^(x + margin).

    Args:
        margin: on the exponent; at least 0.
    """
    return (log_ratio_at_1(anchors) + margin).clamp_min(0).square()


def modified_triplet(anchors: Anchors, *, slope: Hyperparameter) -> PerAnchor:
    """phi(x) = x, psi(x) = sigmoid(slope x): a triplet loss that saturates on both sides.

    Args:
        slope: of the sigmoid's argument; positive.
    """
    return anchors.sum(torch.sigmoid(slope * _nearer(anchors)))


def triplet_contrastive(anchors: Anchors) -> PerAnchor:
    """phi(x) = psi(x) = x: every pair weighs the same, a quadratic form of the embeddings."""
    return anchors.sum(_nearer(anchors))


def _nearer(anchors: Anchors) -> Tensor:
    return anchors.similarities - anchors.positive
