"""The smallest value of a loss, where a closed form is known, for 2 <= M <= d + 1.

It is reached at u = v = a centred regular simplex: cosines 1 with the positive and -1/(M - 1) with negatives,
c = M/(M - 1) apart. Each entry rests on one of three arguments.

x_ij = s_ij - s_i has mean at least -c over all anchors and negatives, because |sum of all rows|^2 >= 0. A loss that
is convex and increasing in every x (INCREASING) is then smallest where all x are -c, by Jensen.

KCL and align_uniform: the pull is smallest at u = v, and the energy is decreasing and convex in r, whose mean is at
most 2c within a view.

alpha: weights that grow with s give a weighted mean of s at least the plain one, hence of x at least -c.
"""

import math
from collections.abc import Callable, Mapping

from reference_losses import ALPHA, KCL, kernels, softplus

Hyperparameters = Mapping[str, float]
Minimum = Callable[[int, Hyperparameters], float]


def spread(num_images: int) -> float:
    """c = M/(M - 1): one minus the cosine of two vertices of a regular simplex, r = 2c."""
    return num_images / (num_images - 1)


def info_nce(m: int, at: Hyperparameters) -> float:
    return math.log1p((m - 1) * math.exp(-spread(m) / at["temperature"]))


def nt_xent(m: int, at: Hyperparameters) -> float:
    return math.log1p(2 * (m - 1) * math.exp(-spread(m) / at["temperature"]))


def dcl(m: int, at: Hyperparameters) -> float:
    return math.log(2 * (m - 1)) - spread(m) / at["temperature"]


def dhel(m: int, at: Hyperparameters) -> float:
    return math.log(m - 1) - spread(m) / at["temperature"]


def dhel_sum(m: int, at: Hyperparameters) -> float:
    """Two energies, log(M - 1) - 1/((M - 1)t) each, and one positive."""
    return 2 * math.log(m - 1) - 2 / ((m - 1) * at["temperature"]) - 1 / at["temperature"]


def _kcl(name: str) -> Minimum:
    def minimum(m: int, at: Hyperparameters) -> float:
        """-K_A(0) + gamma K_U(2c)."""
        pull, push = kernels(name, at)
        return -pull(0.0) + at["gamma"] * push(2 * spread(m))

    return minimum


def info_nce_epsilon(m: int, at: Hyperparameters) -> float:
    """t log(eps + exp(dcl's minimum)), in logs."""
    energy = dcl(m, at)
    if at["epsilon"] == 0:
        return at["temperature"] * energy
    own = math.log(at["epsilon"])
    return at["temperature"] * (own + softplus(energy - own))


def triplet(m: int, at: Hyperparameters) -> float:
    return 2 * (m - 1) * max(at["margin"] - spread(m), 0.0)


def soft_triplet(m: int, at: Hyperparameters) -> float:
    return at["temperature"] * softplus(dcl(m, at) + at["margin"])


def lifted_structured(m: int, at: Hyperparameters) -> float:
    return max(math.log(2 * (m - 1)) - spread(m) + at["margin"], 0.0) ** 2


def align_uniform(m: int, at: Hyperparameters) -> float:
    return -2 * at["weight"] * at["bandwidth"] * spread(m)


def nt_xent_vrns(m: int, at: Hyperparameters) -> float:
    """The penalty is 0 on a simplex of all N images and nowhere else: a minimum where M = N."""
    assert at["num_images"] == m
    return nt_xent(m, at)


def temperature_free(m: int, at: Hyperparameters) -> float:
    """log(1 + 2 (M - 1) h(-1/(M - 1)) / h(1)), h(s) = exp(2 artanh((1 - 1e-6) s)): found by search, not proved."""
    near_one = 1 - 1e-6
    logs = [2 * math.atanh(near_one * s) for s in (-1 / (m - 1), 1.0)]
    return softplus(math.log(2 * (m - 1)) + logs[0] - logs[1])


MINIMA: Mapping[str, Minimum] = {
    "info_nce": info_nce,
    "nt_xent": nt_xent,
    "dcl": dcl,
    "dhel": dhel,
    "dhel_sum": dhel_sum,
    "info_nce_one_sided": info_nce,
    "dhel_one_sided": dhel,
    **{f"kcl_{kernel}": _kcl(f"kcl_{kernel}") for kernel in KCL},
    "info_nce_epsilon": info_nce_epsilon,
    "mine": lambda m, at: dcl(m, {"temperature": 1.0}),
    "triplet": triplet,
    "soft_triplet": soft_triplet,
    "n_plus_one_tuplet": lambda m, at: nt_xent(m, {"temperature": 1.0}),
    "lifted_structured": lifted_structured,
    "triplet_contrastive": lambda m, at: -2.0 * m,
    **{f"alpha_{rule}": lambda m, at: -spread(m) for rule in ALPHA},
    "align_uniform": align_uniform,
    "nt_xent_vrns": nt_xent_vrns,
    "temperature_free": temperature_free,
}
