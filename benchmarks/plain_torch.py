"""The losses as one writes them in a few lines of torch: whole matrices, autograd for the gradient.

What most training scripts contain, and what `losses.py` compares with. The formulas are those of
`robustness.losses`. `dhel` and the kernel losses take the exponential of a whole matrix: faster than logsumexp, but
`dhel` overflows in float32 from a temperature of about 0.011 down. `nt_xent` and `dcl` stay in logs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(u: Tensor, v: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy over the other view's embeddings, both directions averaged."""
    logits = F.normalize(u, dim=1) @ F.normalize(v, dim=1).T / temperature
    positive = torch.arange(len(u))
    return (F.cross_entropy(logits, positive) + F.cross_entropy(logits.T, positive)) / 2


def nt_xent(u: Tensor, v: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy over all other embeddings of both views."""
    z = F.normalize(torch.cat([u, v]), dim=1)
    logits = (z @ z.T / temperature).masked_fill(_diagonal(len(z)), -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(u)))


def dcl(u: Tensor, v: Tensor, *, temperature: float) -> Tensor:
    """NT-Xent with the positive out of the log-sum."""
    z = F.normalize(torch.cat([u, v]), dim=1)
    logits = z @ z.T / temperature
    negatives = logits.masked_fill(_diagonal(len(u)).repeat(2, 2), -torch.inf)
    return (negatives.logsumexp(1) - logits.diagonal(len(u)).repeat(2)).mean()


def dhel(u: Tensor, v: Tensor, *, temperature: float) -> Tensor:
    """Log-sums over the anchor's own view, averaged over the views, and the positive's pull."""
    u, v = F.normalize(u, dim=1), F.normalize(v, dim=1)
    itself = _diagonal(len(u))
    energies = [(w @ w.T / temperature).exp().masked_fill(itself, 0).sum(1).log() for w in (u, v)]
    return ((energies[0] + energies[1]) / 2 - (u * v).sum(1) / temperature).mean()


def kcl_gaussian(u: Tensor, v: Tensor, *, bandwidth: float, gamma: float) -> Tensor:
    """Mean Gaussian kernel within each view, weighted by gamma, less that of the positives."""
    u, v = F.normalize(u, dim=1), F.normalize(v, dim=1)
    return gamma * (_uniformity(u, bandwidth) + _uniformity(v, bandwidth)) / 2 - _gaussian(u - v, bandwidth).mean()


def align_uniform(u: Tensor, v: Tensor, *, exponent: float, bandwidth: float, weight: float) -> Tensor:
    """Mean distance of the positives to the exponent, and the log of the mean Gaussian kernel within each view."""
    u, v = F.normalize(u, dim=1), F.normalize(v, dim=1)
    alignment = (u - v).norm(dim=1).pow(exponent).mean()
    return alignment + weight * (_uniformity(u, bandwidth).log() + _uniformity(v, bandwidth).log()) / 2


def siglip(u: Tensor, v: Tensor, *, temperature: float, bias: float) -> Tensor:
    """A logistic regression on each pair of one embedding of each view: same image or not."""
    logits = F.normalize(u, dim=1) @ F.normalize(v, dim=1).T / temperature + bias
    signs = 2 * torch.eye(len(u), dtype=u.dtype) - 1
    return -F.logsigmoid(signs * logits).sum() / len(u)


def _diagonal(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.bool)


def _gaussian(difference: Tensor, bandwidth: float) -> Tensor:
    return (-bandwidth * difference.square().sum(1)).exp()


def _uniformity(w: Tensor, bandwidth: float) -> Tensor:
    kernel = (-bandwidth * (2 - 2 * w @ w.T)).exp()
    return (kernel.sum() - kernel.diagonal().sum()) / (len(w) * (len(w) - 1))
