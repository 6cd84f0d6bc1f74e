"""Pairwise losses beside the three papers' that a reader will ask about."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from robustness.losses.info_nce import log1p_exp, nt_xent
from robustness.losses.kernel import power
from robustness.losses.pairwise.anchors import Anchors, Hyperparameter, PerAnchor


def uniformity(
    anchors: Anchors, *, exponent: Hyperparameter, bandwidth: Hyperparameter, weight: Hyperparameter
) -> PerAnchor:
    """An anchor's energy in `align_uniform`: log sum_{j != i} exp(-bandwidth r(w_i, w_j))."""
    del exponent, weight
    return anchors.energy(2 * bandwidth) - 2 * bandwidth


def align_uniform(
    energies: PerAnchor,
    distances: PerAnchor,
    *,
    exponent: Hyperparameter,
    bandwidth: Hyperparameter,
    weight: Hyperparameter,
) -> Tensor:
    """Alignment plus uniformity, pooled from all anchors' energies and squared distances to their positives.

        loss = mean_i |u_i - v_i|^exponent
             + weight * 1/2 sum_{w in {u, v}} log mean_{i != j} exp(-bandwidth r(w_i, w_j))

    The logarithm is outside the mean over all pairs. Below exponent 2 the alignment has no slope at equal views.

    Args:
        exponent: of the distance between positives; positive.
        bandwidth: of the Gaussian potential; positive.
        weight: of the uniformity; at least 0.

    Source:
        Wang & Isola, Understanding Contrastive Representation Learning through Alignment and Uniformity on the
        Hypersphere, ICML 2020, arXiv:2005.10242.
    """
    del bandwidth
    num_images = energies.shape[1]
    spread = energies.logsumexp(1, keepdim=True) - math.log(num_images * (num_images - 1))
    return power(distances, exponent / 2).mean(1, keepdim=True) + weight * spread


def siglip(anchors: Anchors, *, temperature: Hyperparameter, bias: Hyperparameter) -> PerAnchor:
    """A sigmoid for every cross-view pair, each its own classification.

        loss = -mean_i sum_j log sigmoid( y_ij (s(u_i, v_j)/t + bias) ), y = 1 for i = j, else -1

    The same in both directions, so anchors are those of view 1.

    Args:
        temperature: t, positive.
        bias: any number; negative ones offset that almost all pairs are negative. Fixed here, learnt in the paper.

    Source:
        Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023, arXiv:2303.15343.
    """
    repulsion = anchors.sum(logsigmoid(-anchors.similarities / temperature - bias))
    return -repulsion - logsigmoid(anchors.positive / temperature + bias)


def spectral(anchors: Anchors, *, scale: Hyperparameter) -> PerAnchor:
    """Spectral contrastive loss, on embeddings of squared length `scale`.

        loss = -2 scale mean_i s(u_i, v_i) + scale^2 mean_{i != j} s(u_i, v_j)^2

    The same in both directions, so anchors are those of view 1.

    Args:
        scale: squared length of the embeddings; positive.

    Source:
        HaoChen et al., Provable Guarantees for Self-Supervised Deep Learning with Spectral Contrastive Loss,
        NeurIPS 2021, arXiv:2106.04156. There negatives are independent images; here the batch's other pairs.
    """
    return scale**2 * anchors.mean(anchors.similarities.square()) - 2 * scale * anchors.positive


def nt_xent_vrns(
    anchors: Anchors, *, temperature: Hyperparameter, weight: Hyperparameter, num_images: Hyperparameter
) -> PerAnchor:
    """NT-Xent with variance reduction of negative similarities.

        loss = nt_xent + weight * mean_{i != j} (s(u_i, v_j) + 1/(N - 1))^2

    In the optimum of the full batch every negative similarity is -1/(N - 1); in mini-batches they scatter.

    Args:
        temperature: of NT-Xent; positive.
        weight: of the penalty; at least 0.
        num_images: N, the number of training images, not of the batch; above 1.

    Source:
        Lee et al., On the Similarities of Embeddings in Contrastive Learning, ICML 2025, arXiv:2506.09781.
    """
    penalty = anchors.mean((anchors.with_other_view + 1 / (num_images - 1)).square())
    return nt_xent(anchors, temperature=temperature) + weight * penalty


def temperature_free(anchors: Anchors) -> PerAnchor:
    """NT-Xent with 2 artanh(s) in place of s / temperature.

        loss = mean_i [ log( e^(x_i+) + sum_{j in N(i)} e^(x_ij) ) - x_i+ ], x = 2 artanh((1 - 1e-6) s)

    The factor keeps equal and opposite embeddings at a finite value.

    Source:
        arXiv:2501.17683, known to us by its abstract only: details of the authors' code may differ.
    """
    x = _logit(anchors.similarities)
    return log1p_exp(anchors.log_sum_exp(x) - _logit(anchors.positive))


def _logit(similarity: Tensor) -> Tensor:
    # Rounding puts s above 1: clamp first.
    return 2 * torch.atanh((1 - 1e-6) * similarity.clamp(-1, 1))
