"""Pair-weighted losses, alpha-CL: the weights say which negatives push, and carry no gradient themselves.

With q = 1 - s, half the squared distance, and weights alpha that sum to 1 over each anchor's negatives,

    loss = -mean_i sum_{negatives j} alpha_ij (d_ij^2 - d_i^2) = mean_i [ sum_j alpha_ij s_ij - s_i+ ]

Negatives are the other images' embeddings in both views; only their distances enter alpha. Each rule returns one
term per anchor, of 2M anchors; lower is better.

Source:
    Tian, Understanding Deep Contrastive Learning via Coordinate-wise Optimization, NeurIPS 2022,
    arXiv:2201.12680.
"""

from torch import Tensor

from robustness.losses.kernel import power
from robustness.losses.pairwise.anchors import Anchors, Hyperparameter, Pairs, PerAnchor


def alpha_entropy(anchors: Anchors, *, temperature: Hyperparameter) -> PerAnchor:
    """alpha proportional to exp(-q / temperature): the gradient is temperature times that of `dcl`.

    Args:
        temperature: positive; weight of the entropy that alpha maximises beside the distances.
    """
    return _weighted(anchors, anchors.softmax(-_half_squared(anchors).detach() / temperature).detach())


def alpha_direct(anchors: Anchors, *, exponent: Hyperparameter, temperature: Hyperparameter) -> PerAnchor:
    """alpha proportional to exp(-q^(exponent/2) / temperature).

    Args:
        exponent: of the distance; positive. 2 is `alpha_entropy`.
        temperature: positive.
    """
    return _weighted(anchors, _direct(_half_squared(anchors).detach(), anchors, exponent, temperature).detach())


def alpha_inverse(anchors: Anchors, *, power: Hyperparameter, temperature: Hyperparameter) -> PerAnchor:
    """alpha proportional to (q + temperature)^-power.

    Args:
        power: positive.
        temperature: keeps the weight of near negatives finite; positive.
    """
    logits = -power * (_half_squared(anchors).detach() + temperature).log()
    return _weighted(anchors, anchors.softmax(logits).detach())


def alpha_square(anchors: Anchors, *, temperature: Hyperparameter) -> PerAnchor:
    """alpha = max(mu - q, 0) / temperature: the nearest point of the simplex to -q / temperature.

    Far negatives weigh exactly 0. The authors' code is off by one when it fills up mu: its rows sum to 1.0 to
    1.3 at temperature .5 and 2 to 9 at .01; these sum to 1.

    Args:
        temperature: positive; the larger, the more negatives have a weight.
    """
    return _weighted(anchors, anchors.project(-_half_squared(anchors).detach() / temperature).detach())


def alpha_direct_backprop(anchors: Anchors, *, exponent: Hyperparameter, temperature: Hyperparameter) -> PerAnchor:
    """`alpha_direct` with the gradient through the weights: the ablation, the same value, another gradient.

    Below exponent 2 the weights have infinite slope at q = 0: a q that is rounding counts as 0, without slope.

    Args:
        exponent: of the distance; positive.
        temperature: positive.
    """
    return _weighted(anchors, _direct(_half_squared(anchors), anchors, exponent, temperature))


def _half_squared(anchors: Anchors) -> Pairs:
    return (1 - anchors.similarities).clamp_min(0)


def _direct(q: Pairs, anchors: Anchors, exponent: Hyperparameter, temperature: Hyperparameter) -> Pairs:
    return anchors.softmax(-power(q, exponent / 2) / temperature)


def _weighted(anchors: Anchors, weights: Tensor) -> PerAnchor:
    return (weights * anchors.similarities).sum((-2, -1), keepdim=True) - anchors.positive
