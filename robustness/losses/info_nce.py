"""The InfoNCE line: attraction by the positive, repulsion by a log-sum over negatives.

With t the temperature, an anchor i and its positive similarity s_i+,

    x_i = log sum_{negatives j} exp((s_ij - s_i+) / t)

is all that the members share: they differ in which views' embeddings are negatives (the registry says which)
and in psi, log(1 + e^x) with the positive in the log-sum and x without it. All stays in logs: exponentials
overflow in float32 when similarities are near 1 and the temperature is small, and a sweep would score that
overflow as the loss's fragility.
"""

import torch
from torch.nn.functional import softplus

from robustness.losses.pairwise.anchors import Anchors, Hyperparameter, PerAnchor


def log_ratio(anchors: Anchors, temperature: Hyperparameter) -> PerAnchor:
    """x of the module's docstring: how far the negatives outweigh the positive."""
    return anchors.energy(1 / temperature) - anchors.positive / temperature


def log_ratio_at_1(anchors: Anchors) -> PerAnchor:
    """The same at temperature 1."""
    return log_ratio(anchors, torch.ones_like(anchors.positive[:, :1]))


def log1p_exp(x: PerAnchor) -> PerAnchor:
    """log(1 + e^x), exact to rounding for every x: from 40 on it is x, in float64 too (not so from the default, 20)."""
    return softplus(x, threshold=40)


def info_nce(anchors: Anchors, *, temperature: Hyperparameter) -> PerAnchor:
    """InfoNCE: find the positive among the other view's embeddings.

        loss = mean_i [ log sum_j exp(s(u_i, v_j)/t) - s(u_i, v_i)/t ], averaged with the same for anchors v_i

    Args:
        temperature: t, divides every cosine similarity; positive.

    Returns:
        One term per anchor, in nats, >= 0; lower is better.

    Source:
        van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018,
        arXiv:1807.03748, which has anchors in one view only (`info_nce_one_sided`); in this two-sided form
        Koromilas et al., ICML 2024, arXiv:2405.18045.
    """
    return log1p_exp(log_ratio(anchors, temperature))


def nt_xent(anchors: Anchors, *, temperature: Hyperparameter) -> PerAnchor:
    """NT-Xent: find the positive among all 2M - 1 other embeddings of both views.

        loss = mean_i [ log( sum_j exp(s(u_i, v_j)/t) + sum_{j != i} exp(s(u_i, u_j)/t) ) - s(u_i, v_i)/t ]

    Args:
        temperature: t, divides every cosine similarity; positive.

    Returns:
        One term per anchor, of 2M anchors, in nats, >= 0; lower is better.

    Source:
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020,
        equation 1, arXiv:2002.05709.
    """
    return log1p_exp(log_ratio(anchors, temperature))


def dcl(anchors: Anchors, *, temperature: Hyperparameter) -> PerAnchor:
    """Decoupled contrastive loss: NT-Xent with the positive out of the log-sum.

        loss = mean_i [ log( sum_{j != i} exp(s(u_i, v_j)/t) + sum_{j != i} exp(s(u_i, u_j)/t) ) - s(u_i, v_i)/t ]

    Args:
        temperature: t, divides every cosine similarity; positive.

    Returns:
        One term per anchor, of 2M anchors, in nats; lower is better, may be negative.

    Source:
        Yeh et al., Decoupled Contrastive Learning, ECCV 2022, arXiv:2110.06848. The paper sums over
        anchors, we average.
    """
    return log_ratio(anchors, temperature)


def dhel(anchors: Anchors, *, temperature: Hyperparameter) -> PerAnchor:
    """Decoupled hyperspherical energy loss: negatives of the anchor's own view only.

        loss = mean_i [ log sum_{j != i} exp(s(u_i, u_j)/t) - s(u_i, v_i)/t ], averaged with the same for v

    Args:
        temperature: t, divides every cosine similarity; positive.

    Returns:
        One term per anchor, in nats; lower is better, may be negative.

    Source:
        Koromilas et al., Bridging Mini-Batch and Asymptotic Analysis in Contrastive Learning, ICML 2024,
        arXiv:2405.18045. The authors' released code adds the energies of both views where the paper, and
        we, average them: that is `dhel_sum`.
    """
    return log_ratio(anchors, temperature)


def dhel_sum(anchors: Anchors, *, temperature: Hyperparameter) -> PerAnchor:
    """DHEL with the energies of both views added: twice the paper's weight on the energy.

        loss = mean_i [ E_u,i + E_v,i - s(u_i, v_i)/t ], E_w,i = log sum_{j != i} exp(s(w_i, w_j)/t)

    Args:
        temperature: t, divides every cosine similarity; positive.

    Returns:
        One term per anchor, in nats; lower is better, may be negative.

    Source:
        The default of the code released with Koromilas et al., ICML 2024, arXiv:2405.18045; the numbers that
        later papers publish as DHEL are for this. The code takes exponentials before the logarithm and
        overflows in float32 at small temperatures; here all stays in logs.
    """
    return 2 * anchors.energy(1 / temperature) - anchors.positive / temperature
