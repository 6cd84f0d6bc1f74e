"""The InfoNCE line: attraction by the positive, repulsion by a log-sum over negatives.

With s(a, b) the cosine similarity over the temperature, an anchor u_i and its positive v_i, the members
differ only in which similarities stand in the log-sum. Anchors of both views are averaged. All stays in
logs: exponentials overflow in float32 when similarities are near 1 and the temperature is small, and a
sweep would score that overflow as the loss's fragility.
"""

import torch

from robustness.losses.embeddings import (
    Embeddings,
    Hyperparameter,
    PerImage,
    PerMember,
    per_member,
    positives,
    similarities,
    unit_rows,
    without_diagonal,
)


def info_nce(u: Embeddings, v: Embeddings, *, temperature: Hyperparameter) -> PerMember:
    """InfoNCE: find the positive among the other view's embeddings.

        loss = mean_i [ log sum_j exp(s(u_i, v_j)) - s(u_i, v_i) ], averaged with the same for anchors v_i

    Args:
        u, v: embeddings of the two views, normalised here; at least two images.
        temperature: divides every cosine similarity; positive.

    Returns:
        One value per member, in nats, >= 0; lower is better.

    Source:
        van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018,
        arXiv:1807.03748; in this two-sided form Koromilas et al., ICML 2024, arXiv:2405.18045.
    """
    u, v = unit_rows(u, v)
    cross = similarities(u, v) / per_member(temperature, 2)
    energy = (cross.logsumexp(-1) + cross.logsumexp(-2)) / 2
    return _attract_and_repel(u, v, energy, temperature)


def nt_xent(u: Embeddings, v: Embeddings, *, temperature: Hyperparameter) -> PerMember:
    """NT-Xent: find the positive among all 2M - 1 other embeddings of both views.

        loss = mean_i [ log( sum_j exp(s(u_i, v_j)) + sum_{j != i} exp(s(u_i, u_j)) ) - s(u_i, v_i) ]

    Args:
        u, v: embeddings of the two views, normalised here; at least two images.
        temperature: divides every cosine similarity; positive.

    Returns:
        One value per member, the mean over the 2M anchors, in nats, >= 0; lower is better.

    Source:
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020,
        equation 1, arXiv:2002.05709.
    """
    u, v = unit_rows(u, v)
    scale = per_member(temperature, 2)
    cross = similarities(u, v) / scale
    within_u = without_diagonal(similarities(u, u) / scale).logsumexp(-1)
    within_v = without_diagonal(similarities(v, v) / scale).logsumexp(-1)
    energy_u = torch.logaddexp(cross.logsumexp(-1), within_u)
    energy_v = torch.logaddexp(cross.logsumexp(-2), within_v)
    return _attract_and_repel(u, v, (energy_u + energy_v) / 2, temperature)


def dcl(u: Embeddings, v: Embeddings, *, temperature: Hyperparameter) -> PerMember:
    """Decoupled contrastive loss: NT-Xent with the positive out of the log-sum.

        loss = mean_i [ log( sum_{j != i} exp(s(u_i, v_j)) + sum_{j != i} exp(s(u_i, u_j)) ) - s(u_i, v_i) ]

    Args:
        u, v: embeddings of the two views, normalised here; at least two images.
        temperature: divides every cosine similarity; positive.

    Returns:
        One value per member, the mean over the 2M anchors, in nats; lower is better, may be negative.

    Source:
        Yeh et al., Decoupled Contrastive Learning, ECCV 2022, arXiv:2110.06848. The paper sums over
        anchors, we average.
    """
    u, v = unit_rows(u, v)
    scale = per_member(temperature, 2)
    cross = without_diagonal(similarities(u, v) / scale)
    within_u = without_diagonal(similarities(u, u) / scale).logsumexp(-1)
    within_v = without_diagonal(similarities(v, v) / scale).logsumexp(-1)
    energy_u = torch.logaddexp(cross.logsumexp(-1), within_u)
    energy_v = torch.logaddexp(cross.logsumexp(-2), within_v)
    return _attract_and_repel(u, v, (energy_u + energy_v) / 2, temperature)


def dhel(u: Embeddings, v: Embeddings, *, temperature: Hyperparameter) -> PerMember:
    """Decoupled hyperspherical energy loss: negatives of the anchor's own view only.

        loss = mean_i [ log sum_{j != i} exp(s(u_i, u_j)) - s(u_i, v_i) ], averaged with the same for v

    Args:
        u, v: embeddings of the two views, normalised here; at least two images.
        temperature: divides every cosine similarity; positive.

    Returns:
        One value per member, in nats; lower is better, may be negative.

    Source:
        Koromilas et al., Bridging Mini-Batch and Asymptotic Analysis in Contrastive Learning, ICML 2024,
        arXiv:2405.18045. The authors' released code adds the energies of both views where the paper, and
        we, average them: its energy weighs twice ours.
    """
    u, v = unit_rows(u, v)
    scale = per_member(temperature, 2)
    energy_u = without_diagonal(similarities(u, u) / scale).logsumexp(-1)
    energy_v = without_diagonal(similarities(v, v) / scale).logsumexp(-1)
    return _attract_and_repel(u, v, (energy_u + energy_v) / 2, temperature)


def _attract_and_repel(u: Embeddings, v: Embeddings, energy: PerImage, temperature: Hyperparameter) -> PerMember:
    return (energy - positives(u, v) / per_member(temperature, 1)).mean(-1)
