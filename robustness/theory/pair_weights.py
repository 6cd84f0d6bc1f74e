"""Contrastive losses as pair weights: statements T13, T14, T15 and T18.

With 2 M embeddings z of both views, d_ij^2 = |z_i - z_j|^2 / 2, i' the other view of i, the energy of weights alpha is

    E_alpha = sum_i sum_{j other images} alpha_ij (d_ij^2 - d_ii'^2)

Source:
    Tian, Understanding Deep Contrastive Learning via Coordinate-wise Optimization, NeurIPS 2022, arXiv:2201.12680.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from robustness.theory.free import drawn, unit
from robustness.theory.objectives import loss
from robustness.theory.statement import Measurement, above, below, equal

Embeddings = Float[Tensor, "both dim"]
Weights = Float[Tensor, "both both"]
Scalars = Callable[[Tensor], Tensor]

_IMAGES, _DIM, _T = 6, 4, 0.5

_ROWS: Mapping[str, tuple[Mapping[str, float], Scalars, Scalars]] = {
    "info_nce_epsilon": (
        {"temperature": _T, "epsilon": 0.3}, lambda x: _T * torch.log(0.3 + x), lambda x: torch.exp(x / _T),
    ),
    "mine": ({}, torch.log, torch.exp),
    "triplet": ({"margin": 0.5}, lambda x: x, lambda x: (x + 0.5).clamp_min(0)),
    "soft_triplet": (
        {"temperature": _T, "margin": 0.5}, lambda x: _T * torch.log1p(x), lambda x: torch.exp(x / _T + 0.5),
    ),
    "n_plus_one_tuplet": ({}, torch.log1p, torch.exp),
    "lifted_structured": ({"margin": 0.5}, lambda x: x.log().clamp_min(0).square(), lambda x: torch.exp(x + 0.5)),
    "modified_triplet": ({"slope": 3.0}, lambda x: x, lambda x: torch.sigmoid(3 * x)),
    "triplet_contrastive": ({}, lambda x: x, lambda x: x),
}  # fmt: skip
"""Hyperparameters, phi and psi of every row of the table."""

_CHOICES: Mapping[str, tuple[Mapping[str, float], Scalars]] = {
    "alpha_entropy": ({"temperature": _T}, lambda q: (-q / _T).softmax(-1)),
    "alpha_direct": ({"exponent": 4.0, "temperature": _T}, lambda q: (-q.square() / _T).softmax(-1)),
    "alpha_inverse": ({"power": 1.0, "temperature": _T}, lambda q: _shares(1 / (q + _T))),
    "alpha_square": ({"temperature": _T}, lambda q: _projected(-q / _T)),
}  # fmt: skip
"""Hyperparameters, and weights as a function of an anchor's half squared distances."""


def coordinates() -> Sequence[Measurement]:
    """T13: the gradient of any loss of the (phi, psi) table is that of an energy with weights held fixed."""
    found = []
    for name, (own, phi, psi) in _ROWS.items():
        points = unit(2, _IMAGES, _DIM, seed=0).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(name, **own)(*points), points)
        z = normalize(points.flatten(0, 1), dim=-1)
        (of_energy,) = torch.autograd.grad(_energy(z, _slopes(z.detach(), phi, psi)), points)
        error = (gradient + of_energy / (2 * _IMAGES)).norm() / gradient.norm()
        found.append(below(f"relative distance of the gradients, {name}", error, 1e-10))
    return found


def covariances() -> Sequence[Measurement]:
    """T14: the energy is half the trace of the contrastive covariance, which no shift of the embeddings changes.

    The gradient of each loss is that of the energy with its weights held fixed.
    """
    found = []
    z = unit(2, _IMAGES, _DIM, seed=1).flatten(0, 1)
    for name, (own, weigh) in _CHOICES.items():
        alpha = _weights(z, weigh)
        energy = -2 * _IMAGES * loss(name, **own)(*z.view(2, _IMAGES, _DIM))
        covariance = _covariance(z, alpha)
        shifted = _covariance(z + drawn(_DIM, seed=2), alpha)
        found += [
            equal(f"energy minus half the trace, {name}", energy - covariance.trace() / 2, 0.0, within=1e-12),
            below(f"what a shift changes, {name}", (shifted - covariance).norm(), 1e-12),
            below(f"relative distance of the gradients, {name}", _leak(name, own, alpha, z), 1e-11),
        ]
    return found


def _leak(name: str, own: Mapping[str, float], alpha: Weights, z: Embeddings) -> Tensor:
    """Relative distance of a loss's gradient from that of the energy with given weights."""
    points = z.view(2, _IMAGES, _DIM).clone().requires_grad_()
    value = loss(name, **own)(*points)
    expected = -_energy(normalize(points.flatten(0, 1), dim=-1), alpha) / (2 * _IMAGES)
    gradient, held = (torch.autograd.grad(one, points)[0] for one in (value, expected))
    error: Tensor = (gradient - held).norm() / held.norm()
    return error


def best_weights() -> Sequence[Measurement]:
    """T15: softmax weights minimise the energy less their entropy; those of `alpha_square` are a projection."""
    z = unit(2, _IMAGES, _DIM, seed=3).flatten(0, 1)
    q = _others(1 - z @ z.T)
    alpha = (-q / _T).softmax(-1)
    slopes = q + _T * (alpha.log() + 1)
    residual = (slopes - slopes.mean(-1, keepdim=True)).abs().max()
    found = [
        below("Karush-Kuhn-Tucker residual of the softmax", residual, 1e-12),
        above("least weight of the softmax", alpha.min(), 0.0),
    ]
    for name in ("alpha_entropy", "alpha_square"):
        own, weigh = _CHOICES[name]
        points = z.view(2, _IMAGES, _DIM).clone().requires_grad_()
        value = loss(name, **own)(*points)
        unit_rows = normalize(points.flatten(0, 1), dim=-1)
        expected = -_energy(unit_rows, _weights(z, weigh)) / (2 * _IMAGES)
        both = [torch.autograd.grad(one, points, retain_graph=True)[0] for one in (value, expected)]
        found += [
            equal(f"value of {name} minus that with weights as defined", value - expected, 0.0, within=1e-12),
            below(f"relative distance of the gradients, {name}", (both[0] - both[1]).norm() / both[1].norm(), 1e-11),
        ]
    dcl = torch.autograd.grad(loss("dcl", temperature=_T)(*points), points)[0]
    entropy = torch.autograd.grad(loss("alpha_entropy", temperature=_T)(*points), points)[0]
    error = (entropy - _T * dcl).norm() / entropy.norm()
    quantity = "relative distance of the gradients, alpha_entropy and temperature times dcl"
    return [*found, below(quantity, error, 1e-11)]


def stopped_gradient() -> Sequence[Measurement]:
    """T18: the gradient through the weights is another one, of the same value."""
    points = unit(2, _IMAGES, _DIM, seed=4).requires_grad_()
    own = {"exponent": 4.0, "temperature": _T}
    values = [loss(name, **own)(*points) for name in ("alpha_direct", "alpha_direct_backprop")]
    stopped, through = (torch.autograd.grad(value, points)[0] for value in values)
    return [
        above("relative difference of the gradients", (through - stopped).norm() / stopped.norm(), 1e-3),
        equal("difference of the values", values[1] - values[0], 0.0, within=1e-13),
    ]


def _energy(z: Embeddings, alpha: Weights) -> Tensor:
    """E_alpha of unit vectors; alpha is 0 where i and j are views of one image."""
    distances = 1 - z @ z.T
    positives = distances[torch.arange(len(z)), _other_view(len(z))]
    return (alpha * (distances - positives[:, None])).sum()


def _covariance(z: Embeddings, alpha: Weights) -> Float[Tensor, "dim dim"]:
    """Scatter between different images less that between the views of one, each as often as its weight."""
    between, within = z[:, None] - z[None, :], z - z[_other_view(len(z))]
    apart = torch.einsum("ij,ijk,ijl->kl", alpha, between, between)
    return apart - torch.einsum("i,ik,il->kl", alpha.sum(1), within, within)


def _slopes(z: Embeddings, phi: Scalars, psi: Scalars) -> Weights:
    """phi'(xi_i) psi'(d_ii'^2 - d_ij^2) of other images, 0 elsewhere."""
    distances = 1 - z @ z.T
    positives = distances[torch.arange(len(z)), _other_view(len(z))]
    nearer = _others(positives[:, None] - distances).requires_grad_()
    (weights,) = torch.autograd.grad(phi(psi(nearer).sum(-1)).sum(), nearer)
    return _filled(weights)


def _weights(z: Embeddings, weigh: Scalars) -> Weights:
    return _filled(weigh(_others(1 - z @ z.T)))


def _others(pairs: Weights) -> Float[Tensor, "both others"]:
    """Of every row those columns that are other images."""
    return pairs[_is_other(len(pairs))].view(len(pairs), -1)


def _filled(values: Float[Tensor, "both others"]) -> Weights:
    pairs = torch.zeros(len(values), len(values), dtype=values.dtype)
    pairs[_is_other(len(values))] = values.flatten()
    return pairs


def _is_other(count: int) -> Tensor:
    image = torch.arange(count) % (count // 2)
    return image[:, None] != image[None, :]


def _other_view(count: int) -> Tensor:
    return torch.arange(count).roll(count // 2)


def _shares(x: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    return x / x.sum(-1, keepdim=True)


def _projected(x: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    """The nearest point of the simplex, max(x - mu, 0) with sum 1: mu by bisection."""
    low, high = x.amin(-1, keepdim=True) - 1, x.amax(-1, keepdim=True)
    for _ in range(math.ceil(math.log2(1e17))):
        middle = (low + high) / 2
        is_low = (x - middle).clamp_min(0).sum(-1, keepdim=True) > 1
        low, high = torch.where(is_low, middle, low), torch.where(is_low, high, middle)
    return (x - (low + high) / 2).clamp_min(0)
