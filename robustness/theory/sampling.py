"""What a mini-batch tells of all data: statements T8, T10 and T11.

Source:
    Koromilas, Bouritsas, Giannakopoulos, Nicolaou & Panagakis, Bridging Mini-Batch and Asymptotic Analysis in
    Contrastive Learning, ICML 2024, arXiv:2405.18045.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from robustness.theory.batches import subsets
from robustness.theory.free import Objective, unit
from robustness.theory.objectives import KERNELS, TEMPERATURE, entropy, kernel, loss
from robustness.theory.statement import Measurement, above, below, equal


def batch_sizes() -> Sequence[Measurement]:
    """T8: the expectation of a kernel loss and its gradient do not depend on the batch size; its deviation does."""
    both = unit(2, 8, 4, seed=0)
    found = []
    for name in KERNELS:
        values, gradients, deviations = _over_sizes(kernel(name), both)
        found += [
            below(f"spread of the mean over all batches of 2 to 8 of 8, {name}", _spread(values), 1e-12),
            below(f"the same of its gradient, {name}", _spread(gradients), 1e-12),
            above(f"deviation between batches of 2 over that of 6, {name}", deviations[0] / deviations[4], 1.5),
        ]
    for name in ("nt_xent", "dcl", "dhel", "info_nce"):
        values, _, _ = _over_sizes(entropy(name), both)
        found.append(above(f"spread of the mean over all batches of 2 to 8 of 8, {name}", _spread(values), 0.5))
    return found


def _over_sizes(objective: Objective, both: Float[Tensor, "2 n dim"]) -> tuple[Tensor, Tensor, list[float]]:
    """Mean, its gradient and the deviation of an objective over all batches of each size."""
    values, gradients, deviations = [], [], []
    for size in range(2, both.shape[1] + 1):
        batches = subsets(both.shape[1], size)
        points = both.clone().requires_grad_()
        each = objective(points[0][batches], points[1][batches])
        gradients.append(torch.autograd.grad(each.mean(), points)[0])
        values.append(each.mean().detach())
        deviations.append(each.detach().std(correction=0).item())
    return torch.stack(values), torch.stack(gradients), deviations


def _spread(values: Tensor) -> float:
    return (values.amax(0) - values.amin(0)).max().item()


_DRAWS, _SIZE = 3000, 64
_LARGE_DRAWS, _LARGE = 12, 1024


def asymptotics() -> Sequence[Measurement]:
    """T10: an InfoNCE loss minus the log of its number of negatives tends to one limit; how far from it, at 64 images.

    Embeddings are uniform on the sphere of three dimensions and both views are equal, so that all moments are known: E
    e^(s/t) = t sinh(1/t). To the first order in 1/M, with E and Var those of e^(s/t),

        dhel, dcl    -Var / (2 (M - 1) E^2)
        info_nce     that + e^(1/t) / ((M - 1) E)
        nt_xent      that of dcl + e^(1/t) / (2 (M - 1) E)
    """
    temperature = 1.0
    mean, second = (t * math.sinh(1 / t) for t in (temperature, temperature / 2))
    variance, positive = second - mean**2, math.exp(1 / temperature)
    limit = math.log(mean) - 1 / temperature
    found = []
    for name, (per_image, share) in _NEGATIVES.items():
        bias = (share * positive / mean - variance / (2 * mean**2)) / (_SIZE - 1)
        excess = _excess(name, _SIZE, _DRAWS, per_image=per_image, temperature=temperature) - limit
        error = excess.std().item() / math.sqrt(_DRAWS)
        # The next order is smaller by another factor of M, times ratios of moments that are below 4 here.
        within = 4 * error + 4 * abs(bias) / _SIZE + 4 / _SIZE**2
        far = _excess(name, _LARGE, _LARGE_DRAWS, per_image=per_image, temperature=temperature) - limit
        far_bias, far_error = bias * (_SIZE - 1) / (_LARGE - 1), far.std().item() / math.sqrt(_LARGE_DRAWS)
        found += [
            equal(f"distance from the limit at M = {_SIZE}, {name}", excess.mean().item(), bias, within=within),
            above(f"that distance in standard errors, {name}", abs(excess.mean().item()) / error, 8),
            equal(f"distance from the limit at M = {_LARGE}, {name}", far.mean(), far_bias, within=4 * far_error),
        ]
    return found


_NEGATIVES: Mapping[str, tuple[int, float]] = {
    "dhel": (1, 0.0),
    "dcl": (2, 0.0),
    "info_nce": (1, 1.0),
    "nt_xent": (2, 0.5),
}
"""Negatives for each other image, and how much the positive in the sum adds."""


def _excess(name: str, size: int, draws: int, *, per_image: int, temperature: float) -> Float[Tensor, "draws"]:
    """Of random batches: the loss minus the log of the number of negatives."""
    values = []
    for chunk in range(-(-draws // 200)):
        u = unit(min(200, draws), size, 3, seed=chunk, purpose=f"batches of {size}")
        values.append(loss(name, temperature=temperature)(u, u))
    return torch.cat(values)[:draws] - math.log(per_image * (size - 1))


def decoupling() -> Sequence[Measurement]:
    """T11: in dhel and kernel losses no view repels the other: what is left of the loss without its pull on positives
    is a term of each view alone.
    """
    u, v = unit(2, 6, 4, seed=1)
    v.requires_grad_()
    (total,) = torch.autograd.grad(entropy("dhel_one_sided")(u, v), v)
    (pull,) = torch.autograd.grad(_linear(_distances(u, torch.nn.functional.normalize(v, dim=-1))).mean(), v)
    found = [
        below("gradient of the energy with respect to the other view, dhel_one_sided", (total + pull).norm(), 1e-14)
    ]
    quantity = "how much the energies of the views depend on each other"
    for name in ("dhel", *KERNELS):
        objective, pull_of = (kernel(name), _PULLS[name]) if name in KERNELS else (entropy(name), _linear)
        found.append(below(f"{quantity}, {name}", _coupling(objective, pull_of), 1e-12))
    coupled = ("info_nce", "nt_xent", "dcl")
    return [*found, *(above(f"{quantity}, {name}", _coupling(entropy(name), _linear), 1e-3) for name in coupled)]


def _linear(r: Tensor) -> Tensor:
    return (1 - r / 2) / TEMPERATURE


_PULLS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "kcl_gaussian": lambda r: torch.exp(-2 * r),
    "kcl_log": lambda r: -torch.log1p(2 * r) / 2,
    "kcl_imq": lambda r: 2 / torch.sqrt(4 + r),
    "kcl_riesz": lambda r: -torch.sqrt(r),
    "kcl_gaussian_riesz": lambda r: torch.exp(-2 * r),
    "kcl_laplace": lambda r: torch.exp(-2 * torch.sqrt(r)),
    "kcl_linear_gaussian": lambda r: 1 - r / 2,
}
"""What each loss has of the squared distance to the positive, with its sign turned."""


def _coupling(objective: Objective, pull: Callable[[Tensor], Tensor]) -> float:
    """|E(u, v) + E(u', v') - E(u, v') - E(u', v)| of the energy E, the loss without its pull: 0 for a sum of terms."""
    u, v, other_u, other_v = unit(4, 6, 4, seed=2)
    energy = {
        (k, m): objective(first, second) + pull(_distances(first, second)).mean()
        for k, first in enumerate((u, other_u))
        for m, second in enumerate((v, other_v))
    }
    return abs(energy[0, 0] + energy[1, 1] - energy[0, 1] - energy[1, 0]).item()


def _distances(u: Tensor, v: Tensor) -> Tensor:
    return (u - v).square().sum(-1)
