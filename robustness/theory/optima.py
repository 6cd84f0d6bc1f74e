"""Where losses have their minima: statements T7, T9 and T12.

Source:
    Koromilas, Bouritsas, Giannakopoulos, Nicolaou & Panagakis, Bridging Mini-Batch and Asymptotic Analysis in
    Contrastive Learning, ICML 2024, arXiv:2405.18045.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from robustness.losses.kernel import gaussian, inverse_multiquadric, laplace, logarithmic, riesz
from robustness.metrics import cross_polytope, simplex, simplex_distance
from robustness.theory.free import Objective, Points, drawn, minimised
from robustness.theory.objectives import GAMMA, TEMPERATURE, entropy, kernel, loss
from robustness.theory.statement import Measurement, above, below, equal

_ENTROPIES: Mapping[str, Callable[[int, float], float]] = {
    "info_nce": lambda m, c: math.log1p((m - 1) * math.exp(-c / TEMPERATURE)),
    "nt_xent": lambda m, c: math.log1p(2 * (m - 1) * math.exp(-c / TEMPERATURE)),
    "dcl": lambda m, c: math.log(2 * (m - 1)) - c / TEMPERATURE,
    "dhel": lambda m, c: math.log(m - 1) - c / TEMPERATURE,
    "dhel_sum": lambda m, c: 2 * math.log(m - 1) - 2 / ((m - 1) * TEMPERATURE) - 1 / TEMPERATURE,
}
"""Least values of the InfoNCE line for M images, c = M / (M - 1), at temperature .5."""

_POTENTIALS: Mapping[str, tuple[float, Callable[[float], float]]] = {
    "kcl_gaussian": (1.0, lambda r: math.exp(-2 * r)),
    "kcl_log": (0.0, lambda r: -math.log1p(2 * r) / 2),
    "kcl_imq": (1.0, lambda r: 2 / math.sqrt(4 + r)),
    "kcl_riesz": (0.0, lambda r: -math.sqrt(r)),
    "kcl_gaussian_riesz": (1.0, lambda r: 1 / math.sqrt(r)),
    "kcl_laplace": (1.0, lambda r: math.exp(-2 * math.sqrt(r))),
    "kcl_linear_gaussian": (1.0, lambda r: math.exp(-2 * r)),
}
"""K_A(0), and K_U as a function of the squared distance."""

_OTHER_GAMMA = 3.0

_OTHER_KERNELS: Mapping[str, tuple[dict[str, float], float, Callable[[float], float]]] = {
    "kcl_gaussian": ({"bandwidth": 0.7}, 1.0, lambda r: math.exp(-0.7 * r)),
    "kcl_log": ({"bandwidth": 0.7}, 0.0, lambda r: -math.log1p(0.7 * r) / 2),
    "kcl_imq": ({"kernel_scale": 0.6}, 1.0, lambda r: 0.6 / math.sqrt(0.36 + r)),
    "kcl_riesz": ({"kernel_order": 1.5}, 0.0, lambda r: -(r**0.75)),
    "kcl_gaussian_riesz": ({"kernel_order": 2.5}, 1.0, lambda r: r**-1.25),
    "kcl_laplace": ({"bandwidth": 0.7}, 1.0, lambda r: math.exp(-0.7 * math.sqrt(r))),
    "kcl_linear_gaussian": ({"bandwidth": 0.7}, 1.0, lambda r: math.exp(-0.7 * r)),
}
"""Kernel losses away from their defaults: hyperparameter, K_A(0) and K_U."""

_LIMIT = 2 * math.atanh(1 - 1e-6)

_RELATIVES: Mapping[str, tuple[dict[str, float], Callable[[int, float], float]]] = {
    "info_nce_one_sided": ({"temperature": TEMPERATURE}, _ENTROPIES["info_nce"]),
    "dhel_one_sided": ({"temperature": TEMPERATURE}, _ENTROPIES["dhel"]),
    "nt_xent_vrns": ({"temperature": TEMPERATURE, "weight": 30.0}, _ENTROPIES["nt_xent"]),
    "align_uniform": ({"exponent": 2.0, "bandwidth": 2.0, "weight": 1.0}, lambda m, c: -4 * c),
    "temperature_free": (
        {}, lambda m, c: math.log1p(2 * (m - 1) * math.exp(-2 * math.atanh((1 - 1e-6) / (m - 1)) - _LIMIT)),
    ),
    "siglip": (
        {"temperature": TEMPERATURE, "bias": 0.0},
        lambda m, c: math.log1p(math.exp(-1 / TEMPERATURE))
        + (m - 1) * math.log1p(math.exp(-1 / ((m - 1) * TEMPERATURE))),
    ),
}  # fmt: skip
"""Other losses: hyperparameters, and values at the simplex of M images, c = M / (M - 1)."""

_CUSPED = ("kcl_riesz", "kcl_laplace")
_DIM = 3


def minima() -> Sequence[Measurement]:
    """T7: the simplex minimises every loss of the paper, for M up to d + 1."""
    found: list[Measurement] = []
    for num_images in range(2, _DIM + 2):
        apart = num_images / (num_images - 1)
        for name, least in _ENTROPIES.items():
            found += _minimum(name, entropy(name), num_images, least(num_images, apart))
        for name, (pull, potential) in _POTENTIALS.items():
            found += _minimum(name, kernel(name), num_images, GAMMA * potential(2 * apart) - pull)
        for name, (own, pull, potential) in _OTHER_KERNELS.items():
            ((hyperparameter, value),) = own.items()
            objective = loss(name, gamma=_OTHER_GAMMA, **own)
            lowest = _OTHER_GAMMA * potential(2 * apart) - pull
            found += _minimum(f"{name} at {hyperparameter} {value}", objective, num_images, lowest)
        found += _values_of_relatives(num_images)
    return [*found, *_orthogonal()]


def _values_of_relatives(num_images: int) -> Sequence[Measurement]:
    """Values at the simplex alone, for losses whose minimum is not searched."""
    found, corners = [], _corners(num_images)
    for name, (own, least) in _RELATIVES.items():
        bound = {"num_images": float(num_images)} if name == "nt_xent_vrns" else {}
        expected = least(num_images, num_images / (num_images - 1))
        value = loss(name, **own, **bound)(corners, corners)
        found.append(equal(f"value at the simplex, {name}, M = {num_images}", value, expected, within=1e-9))
    return found


def _orthogonal() -> Sequence[Measurement]:
    """Losses whose optimum is orthogonal: of images, or, where nothing is normalised, of dimensions."""
    axes = torch.eye(_DIM, dtype=torch.float64)
    squared = loss("spectral", scale=1.0)
    signs = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    found = [
        equal("value at orthogonal images, spectral", squared(axes, axes), -2.0, within=1e-12),
        equal("least of 8 starts, spectral", minimised(squared, _DIM, _DIM, starts=8)[2][0], -2.0, within=1e-8),
    ]
    unweighted = {"barlow_twins": ["redundancy"], "vicreg": ["invariance", "variance", "covariance"]}
    for name, weights in unweighted.items():
        objective = loss(name, **{f"{weight}_weight": 1.0 for weight in weights})
        elsewhere = [objective(*drawn(2, 4, _DIM, seed=seed)).item() for seed in range(20)]
        found += [
            equal(f"value at orthogonal dimensions, {name}", objective(signs, signs), 0.0, within=1e-6),
            above(f"least of 20 random points, {name}", min(elsewhere), 0.01),
        ]
    return found


def _minimum(name: str, objective: Objective, num_images: int, least: float) -> Sequence[Measurement]:
    place, corners, cusped = f"{name}, M = {num_images}", _corners(num_images), name.startswith(_CUSPED)
    both = torch.stack([corners, corners]).requires_grad_()
    value = objective(*both)
    found = [equal(f"value at the simplex, {place}", value.item(), least, within=1e-7 if cusped else 1e-9)]
    if cusped:
        noise = [1e-2 * drawn(2, num_images, _DIM, seed=seed, purpose="noise") for seed in range(20)]
        raised = min(float(objective(*normalize(both.detach() + one, dim=-1))) for one in noise) - least
        return [*found, above(f"least rise of 20 perturbations, {place}", raised, 1e-6)]
    (gradient,) = torch.autograd.grad(value, both)
    values = minimised(objective, num_images, _DIM, starts=8)[2]
    return [
        *found,
        below(f"gradient at the simplex, {place}", float(gradient.norm()), 1e-7),
        equal(f"least of 8 starts, {place}", float(values[0]), least, within=1e-8),
    ]


def _corners(num_images: int) -> Points:
    """The corners of a simplex in three dimensions."""
    points = simplex(num_images)
    basis = torch.linalg.svd(points).Vh[: num_images - 1]
    return torch.nn.functional.pad(points @ basis.T, (0, _DIM - num_images + 1))


def kernels() -> Sequence[Measurement]:
    """T9: which kernels spread four points as a simplex, six as a cross-polytope, and which do not."""
    one, two = torch.tensor([1.0, 2.0], dtype=torch.float64)
    spreading: Mapping[str, Callable[[Tensor], Tensor]] = {
        "exp(-2 r)": partial(gaussian, bandwidth=two),
        "-log(1 + 2 r) / 2": partial(logarithmic, bandwidth=two),
        "2 / sqrt(4 + r)": partial(inverse_multiquadric, kernel_scale=two),
        "exp(-2 sqrt r)": partial(laplace, bandwidth=two),
        "-r^.5": partial(riesz, kernel_order=one),
    }
    corners, ends = _corners(4), torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)[:, None]
    antipodal = torch.nn.functional.pad(ends, (0, 2))
    found = []
    for name, potential in spreading.items():
        u, _, values = minimised(_energy(potential), 4, _DIM, starts=4)
        found += [
            equal(f"least energy of 4 points, {name}", values[0], _energy(potential)(corners, corners), within=1e-8),
            below(f"distance to the simplex, {name}", simplex_distance(u[0] @ u[0].T), 1e-3),
        ]
    flat, bent = _energy(partial(riesz, kernel_order=two)), _energy(partial(riesz, kernel_order=one + two))
    found += [
        equal("least energy of 4 points, -r", minimised(flat, 4, _DIM, starts=4)[2][0], -8 / 3, within=1e-8),
        equal("energy of two antipodal clusters, -r", flat(antipodal, antipodal), -8 / 3, within=1e-12),
        equal("least energy of 4 points, -r^1.5", minimised(bent, 4, _DIM, starts=8)[2][0], -16 / 3, within=1e-6),
        equal("energy of two antipodal clusters, -r^1.5", bent(antipodal, antipodal), -16 / 3, within=1e-12),
        equal("energy of the simplex, -r^1.5", bent(corners, corners), -((8 / 3) ** 1.5), within=1e-12),
    ]
    return [*found, *_six_points(list(spreading.items())[:3])]


def _six_points(spreading: Sequence[tuple[str, Callable[[Tensor], Tensor]]]) -> Sequence[Measurement]:
    objectives = {f"energy, {name}": _energy(potential) for name, potential in spreading}
    objectives |= {name: entropy(name) for name in _ENTROPIES}
    best = cross_polytope(6)
    return [
        equal(
            f"least of 6 points, {name}", minimised(objective, 6, 3, starts=6)[2][0], objective(best, best), within=1e-8
        )
        for name, objective in objectives.items()
    ]


def _energy(potential: Callable[[Tensor], Tensor]) -> Objective:
    """Mean of a kernel over the different points of the first view."""

    def energy(u: Points, v: Points) -> Tensor:
        first, second = torch.triu_indices(u.shape[-2], u.shape[-2], 1)
        return potential((u[first] - u[second]).square().sum(-1)).mean()

    return energy


def off_conditions() -> Sequence[Measurement]:
    """T12: how far optima are from the simplex where psi falls, or is convex but not strictly.

    Where psi is not strictly convex the simplex stays an optimum, one of many; where psi falls it is none. A sigmoid is
    not convex as a whole. But its arguments, how much nearer a negative is than the positive, end below 0, where it is,
    and its optimum stays.
    """
    falling = "psi = e^(-2 x), which falls"
    objectives: Mapping[str, tuple[Objective, float]] = {
        "psi = max(x + .5, 0)": (loss("triplet", margin=0.5), 0.1),
        "psi = x": (loss("triplet_contrastive"), 0.1),
        falling: (loss("nt_xent", temperature=-TEMPERATURE), 3.0),
    }
    found, corners = [], _corners(4)
    for name, (objective, far) in objectives.items():
        u, v, values = minimised(objective, 4, _DIM, starts=8)
        distance = max(simplex_distance(one @ other.T) for one, other in zip(u, v, strict=True))
        quantity, rise = f"loss of the simplex above the least, {name}", objective(corners, corners) - values[0]
        found += [
            above(f"farthest from the simplex of 8 optima of 4 points, {name}", distance, far),
            below(f"how far the 8 optima are apart in value, {name}", values[-1] - values[0], 1e-9),
            above(quantity, rise, 3.0) if name == falling else equal(quantity, rise, 0.0, within=1e-9),
        ]
    sigmoid = minimised(loss("modified_triplet", slope=5.0), 4, _DIM, starts=8)
    distance = simplex_distance(sigmoid[0][0] @ sigmoid[1][0].T)
    return [*found, below("distance to the simplex of the optimum of 4 points, psi = sigmoid(5 x)", distance, 1e-4)]
