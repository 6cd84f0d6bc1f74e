"""Every loss once more, as slow float64 loops that follow the formulas word for word.

s(a, b) = a.b and r(a, b) = |a - b|^2 of rows normalised to length 1, t the temperature, M images. An anchor is
one row of one view; its positive is the same image in the other view; its negatives are all other images.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from reference import Rows, dot, float_rows, mean, squared_distance, unit_rows

Kernel = Callable[[float], float]
Anchor = Callable[[float, list[float], list[float]], float]

NEARLY_ZERO = 8 * float(np.finfo(np.float64).eps)
"""Squared distances up to this are 0 in float64: kernels with a cusp there must not see rounding."""


def log_sum_exp(values: Sequence[float]) -> float:
    largest = max(values)
    return largest + math.log(math.fsum(math.exp(value - largest) for value in values))


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def sigmoid(x: float) -> float:
    return math.exp(-softplus(-x))


def _over_anchors_of_view_1(u: np.ndarray, v: np.ndarray, anchor: Anchor) -> list[float]:
    a, b = unit_rows(u), unit_rows(v)
    values = []
    for i in range(len(a)):
        other_view = [dot(a[i], b[j]) for j in range(len(b)) if j != i]
        same_view = [dot(a[i], a[j]) for j in range(len(a)) if j != i]
        values.append(anchor(dot(a[i], b[i]), other_view, same_view))
    return values


def _over_all_anchors(u: np.ndarray, v: np.ndarray, anchor: Anchor) -> float:
    return mean(_over_anchors_of_view_1(u, v, anchor) + _over_anchors_of_view_1(v, u, anchor))


def _scaled(values: Sequence[float], temperature: float) -> list[float]:
    return [value / temperature for value in values]


def _info_nce_anchor(t: float) -> Anchor:
    return lambda s, other, same: log_sum_exp([s / t, *_scaled(other, t)]) - s / t


def _dhel_anchor(t: float) -> Anchor:
    return lambda s, other, same: log_sum_exp(_scaled(same, t)) - s / t


def info_nce(u: np.ndarray, v: np.ndarray, *, temperature: float) -> float:
    """mean_i [ -s(u_i, v_i)/t + log sum_j exp(s(u_i, v_j)/t) ], mean of both directions."""
    return _over_all_anchors(u, v, _info_nce_anchor(temperature))


def info_nce_one_sided(u: np.ndarray, v: np.ndarray, *, temperature: float) -> float:
    """The same with anchors in view 1 only."""
    return mean(_over_anchors_of_view_1(u, v, _info_nce_anchor(temperature)))


def nt_xent(u: np.ndarray, v: np.ndarray, *, temperature: float) -> float:
    """mean_i [ -s(u_i, v_i)/t + log(sum_j e^(s(u_i, v_j)/t) + sum_{j!=i} e^(s(u_i, u_j)/t)) ], both ways."""
    t = temperature
    return _over_all_anchors(u, v, lambda s, other, same: log_sum_exp(_scaled([s, *other, *same], t)) - s / t)


def dcl(u: np.ndarray, v: np.ndarray, *, temperature: float) -> float:
    """mean_i [ -s(u_i, v_i)/t + log sum_{j!=i} (exp(s(u_i, v_j)/t) + exp(s(u_i, u_j)/t)) ], both ways."""
    t = temperature
    return _over_all_anchors(u, v, lambda s, other, same: log_sum_exp(_scaled([*other, *same], t)) - s / t)


def dhel(u: np.ndarray, v: np.ndarray, *, temperature: float) -> float:
    """mean_i [ -s(u_i, v_i)/t + log sum_{j!=i} exp(s(u_i, u_j)/t) ], mean of both directions."""
    return _over_all_anchors(u, v, _dhel_anchor(temperature))


def dhel_one_sided(u: np.ndarray, v: np.ndarray, *, temperature: float) -> float:
    """The same with anchors in view 1 only."""
    return mean(_over_anchors_of_view_1(u, v, _dhel_anchor(temperature)))


def dhel_sum(u: np.ndarray, v: np.ndarray, *, temperature: float) -> float:
    """mean_i [ -s(u_i, v_i)/t + log sum_{j!=i} exp(s(u_i, u_j)/t) + log sum_{j!=i} exp(s(v_i, v_j)/t) ]."""
    a, b = unit_rows(u), unit_rows(v)
    images = []
    for i in range(len(a)):
        energies = [log_sum_exp([dot(w[i], w[j]) / temperature for j in range(len(w)) if j != i]) for w in (a, b)]
        images.append(-dot(a[i], b[i]) / temperature + energies[0] + energies[1])
    return mean(images)


def gaussian_kernel(bandwidth: float) -> Kernel:
    return lambda r: math.exp(-bandwidth * r)


def log_kernel(bandwidth: float) -> Kernel:
    return lambda r: -0.5 * math.log1p(bandwidth * r)


def imq_kernel(kernel_scale: float) -> Kernel:
    return lambda r: kernel_scale / math.sqrt(kernel_scale**2 + r)


def riesz_kernel(order: float) -> Kernel:
    return lambda r: -(r ** (order / 2)) if r > NEARLY_ZERO else 0.0


def inverse_riesz_kernel(order: float) -> Kernel:
    return lambda r: max(r, NEARLY_ZERO) ** (-order / 2)


def laplace_kernel(bandwidth: float) -> Kernel:
    return lambda r: math.exp(-bandwidth * math.sqrt(r)) if r > NEARLY_ZERO else 1.0


def cosine_kernel(r: float) -> float:
    """s = 1 - r/2."""
    return 1 - r / 2


def kernels(name: str, hyperparameters: Mapping[str, float]) -> tuple[Kernel, Kernel]:
    """K_A and K_U of a KCL family."""
    (shape,) = (value for axis, value in hyperparameters.items() if axis != "gamma")
    if name == "kcl_gaussian_riesz":
        return gaussian_kernel(2.0), inverse_riesz_kernel(shape)
    if name == "kcl_linear_gaussian":
        return cosine_kernel, gaussian_kernel(shape)
    same = {
        "kcl_gaussian": gaussian_kernel,
        "kcl_log": log_kernel,
        "kcl_imq": imq_kernel,
        "kcl_riesz": riesz_kernel,
        "kcl_laplace": laplace_kernel,
    }[name](shape)
    return same, same


def pairs_of_one_view(w: Rows) -> list[tuple[int, int]]:
    return [(i, j) for i in range(len(w)) for j in range(len(w)) if i != j]


def _kcl(name: str) -> Callable[..., float]:
    def kcl(u: np.ndarray, v: np.ndarray, **hyperparameters: float) -> float:
        """-mean_i K_A(u_i, v_i) + gamma (E_u + E_v)/2, E_w = mean_{i!=j} K_U(w_i, w_j)."""
        pull, push = kernels(name, hyperparameters)
        a, b = unit_rows(u), unit_rows(v)
        attraction = mean([pull(squared_distance(a[i], b[i])) for i in range(len(a))])
        energies = [mean([push(squared_distance(w[i], w[j])) for i, j in pairs_of_one_view(w)]) for w in (a, b)]
        return -attraction + hyperparameters["gamma"] * (energies[0] + energies[1]) / 2

    return kcl


def _phi_of_sums(u: np.ndarray, v: np.ndarray, phi: Callable[[float], float], psi: Callable[[float], float]) -> float:
    """mean_i phi(sum_j psi(d_i^2 - d_ij^2)), d^2 half squared distances: d_i^2 - d_ij^2 = s_ij - s_i."""
    return _over_all_anchors(
        u, v, lambda s, other, same: phi(math.fsum(psi(negative - s) for negative in [*other, *same]))
    )


def info_nce_epsilon(u: np.ndarray, v: np.ndarray, *, temperature: float, epsilon: float) -> float:
    """phi = t log(eps + x), psi = exp(x/t): the sum in logs, eps as one more term."""
    t = temperature
    own = [math.log(epsilon)] if epsilon > 0 else []
    return _over_all_anchors(
        u, v, lambda s, other, same: t * log_sum_exp(own + [(negative - s) / t for negative in [*other, *same]])
    )


def mine(u: np.ndarray, v: np.ndarray) -> float:
    """phi = log x, psi = e^x."""
    return _phi_of_sums(u, v, math.log, math.exp)


def triplet(u: np.ndarray, v: np.ndarray, *, margin: float) -> float:
    """phi = x, psi = max(x + margin, 0)."""
    return _phi_of_sums(u, v, lambda x: x, lambda x: max(x + margin, 0.0))


def soft_triplet(u: np.ndarray, v: np.ndarray, *, temperature: float, margin: float) -> float:
    """phi = t log(1 + x), psi = exp(x/t + margin), in logs."""
    t = temperature
    return _over_all_anchors(
        u, v, lambda s, other, same: t * softplus(log_sum_exp([(x - s) / t + margin for x in [*other, *same]]))
    )


def n_plus_one_tuplet(u: np.ndarray, v: np.ndarray) -> float:
    """phi = log(1 + x), psi = e^x."""
    return _phi_of_sums(u, v, math.log1p, math.exp)


def lifted_structured(u: np.ndarray, v: np.ndarray, *, margin: float) -> float:
    """phi = max(log x, 0)^2, psi = exp(x + margin)."""
    return _phi_of_sums(u, v, lambda x: max(math.log(x), 0.0) ** 2, lambda x: math.exp(x + margin))


def modified_triplet(u: np.ndarray, v: np.ndarray, *, slope: float) -> float:
    """phi = x, psi = sigmoid(slope x)."""
    return _phi_of_sums(u, v, lambda x: x, lambda x: sigmoid(slope * x))


def triplet_contrastive(u: np.ndarray, v: np.ndarray) -> float:
    """phi = psi = x."""
    return _phi_of_sums(u, v, lambda x: x, lambda x: x)


def log_pair_weight(name: str, q: float, hyperparameters: Mapping[str, float]) -> float:
    """log of what alpha_ij is proportional to, of q = 1 - s; not for `alpha_square`."""
    t = hyperparameters["temperature"]
    if name == "alpha_entropy":
        return -q / t
    if name == "alpha_inverse":
        return -hyperparameters["power"] * math.log(q + t)
    return -(q ** (hyperparameters["exponent"] / 2)) / t


def water_level(q: Sequence[float], temperature: float) -> float:
    """mu with sum_j max(mu - q_j, 0) = t: bisection, then exactly on the terms that it leaves above 0."""
    low, high = min(q), max(q) + temperature
    for _ in range(200):
        middle = (low + high) / 2
        filled = math.fsum(max(middle - value, 0.0) for value in q)
        low, high = (low, middle) if filled > temperature else (middle, high)
    support = [value for value in q if value < high]
    return (temperature + math.fsum(support)) / len(support)


def pair_weights(name: str, similarities: Sequence[float], hyperparameters: Mapping[str, float]) -> list[float]:
    """One anchor's alpha over its negatives; the weights sum to 1."""
    q = [max(1 - s, 0.0) for s in similarities]
    if name == "alpha_square":
        level = water_level(q, hyperparameters["temperature"])
        return [max(level - value, 0.0) / hyperparameters["temperature"] for value in q]
    logs = [log_pair_weight(name, value, hyperparameters) for value in q]
    return [math.exp(value - log_sum_exp(logs)) for value in logs]


def _alpha(name: str) -> Callable[..., float]:
    def alpha(u: np.ndarray, v: np.ndarray, **hyperparameters: float) -> float:
        """-(1/2M) sum_i sum_j alpha_ij (d_ij^2 - d_i^2), d^2 half squared distances."""

        def anchor(s: float, other: list[float], same: list[float]) -> float:
            negatives = [*other, *same]
            weights = pair_weights(name, negatives, hyperparameters)
            return math.fsum(weight * (x - s) for weight, x in zip(weights, negatives, strict=True))

        return _over_all_anchors(u, v, anchor)

    return alpha


def align_uniform(u: np.ndarray, v: np.ndarray, *, exponent: float, bandwidth: float, weight: float) -> float:
    """mean_i |u_i - v_i|^exponent + weight/2 sum over views of log mean_{i!=j} exp(-bandwidth r)."""
    a, b = unit_rows(u), unit_rows(v)
    alignment = mean([math.sqrt(squared_distance(a[i], b[i])) ** exponent for i in range(len(a))])
    uniformity = []
    for w in (a, b):
        logs = [-bandwidth * squared_distance(w[i], w[j]) for i, j in pairs_of_one_view(w)]
        uniformity.append(log_sum_exp(logs) - math.log(len(logs)))
    return alignment + weight * (uniformity[0] + uniformity[1]) / 2


def siglip(u: np.ndarray, v: np.ndarray, *, temperature: float, bias: float) -> float:
    """-mean_i sum_j log sigmoid(y_ij (s(u_i, v_j)/t + bias)), y = 1 where i = j, else -1."""
    a, b = unit_rows(u), unit_rows(v)
    anchors = []
    for i in range(len(a)):
        logits = [dot(a[i], b[j]) / temperature + bias for j in range(len(b))]
        anchors.append(math.fsum(softplus(-logits[j] if i == j else logits[j]) for j in range(len(b))))
    return mean(anchors)


def spectral(u: np.ndarray, v: np.ndarray, *, scale: float) -> float:
    """-2 mean_i a_i.b_i + mean_{i!=j} (a_i.b_j)^2, a and b the unit rows times sqrt(scale)."""
    a, b = ([[math.sqrt(scale) * value for value in row] for row in unit_rows(x)] for x in (u, v))
    squares = [dot(a[i], b[j]) ** 2 for i, j in pairs_of_one_view(a)]
    return -2 * mean([dot(a[i], b[i]) for i in range(len(a))]) + mean(squares)


def nt_xent_vrns(u: np.ndarray, v: np.ndarray, *, temperature: float, weight: float, num_images: float) -> float:
    """nt_xent + weight mean_{i!=j} (s(u_i, v_j) + 1/(N - 1))^2."""
    a, b = unit_rows(u), unit_rows(v)
    squares = [(dot(a[i], b[j]) + 1 / (num_images - 1)) ** 2 for i, j in pairs_of_one_view(a)]
    return nt_xent(u, v, temperature=temperature) + weight * mean(squares)


def temperature_free(u: np.ndarray, v: np.ndarray) -> float:
    """nt_xent with 2 artanh((1 - 1e-6) clamp(s, -1, 1)) in place of s/t."""

    def logit(s: float) -> float:
        return 2 * math.atanh((1 - 1e-6) * min(max(s, -1.0), 1.0))

    return _over_all_anchors(
        u, v, lambda s, other, same: log_sum_exp([logit(x) for x in [s, *other, *same]]) - logit(s)
    )


def _columns(x: np.ndarray) -> Rows:
    return float_rows(np.asarray(x).T)


def _deviations(column: Sequence[float]) -> list[float]:
    return [value - mean(column) for value in column]


def barlow_twins(u: np.ndarray, v: np.ndarray, *, redundancy_weight: float) -> float:
    """sum_k (1 - C_kk)^2 + weight sum_{k!=l} C_kl^2, C = a^T b/M of standardised columns, variance + 1e-5."""
    views = []
    for x in (u, v):
        deviations = [_deviations(column) for column in _columns(x)]
        scales = [math.sqrt(mean([value**2 for value in column]) + 1e-5) for column in deviations]
        views.append([[value / scale for value in column] for column, scale in zip(deviations, scales, strict=True)])
    a, b = views
    diagonal = [(1 - dot(a[k], b[k]) / len(a[k])) ** 2 for k in range(len(a))]
    others = [(dot(a[k], b[m]) / len(a[k])) ** 2 for k in range(len(a)) for m in range(len(a)) if k != m]
    return math.fsum(diagonal) + redundancy_weight * math.fsum(others)


def vicreg(
    u: np.ndarray, v: np.ndarray, *, invariance_weight: float, variance_weight: float, covariance_weight: float
) -> float:
    """Weighted mean_i |u_i - v_i|^2, mean_k max(0, 1 - sqrt(var_k + 1e-4)), 1/d sum_{k!=l} Cov_kl^2 of each view."""
    invariance = mean([squared_distance(a, b) for a, b in zip(float_rows(u), float_rows(v), strict=True)])
    variance, covariance = 0.0, 0.0
    for x in (u, v):
        z = [_deviations(column) for column in _columns(x)]
        cov = [[dot(a, b) / (len(a) - 1) for b in z] for a in z]
        variance += mean([max(0.0, 1 - math.sqrt(cov[k][k] + 1e-4)) for k in range(len(z))])
        covariance += math.fsum(cov[k][m] ** 2 for k in range(len(z)) for m in range(len(z)) if k != m) / len(z)
    return invariance_weight * invariance + variance_weight * variance + covariance_weight * covariance


KCL = ("gaussian", "log", "imq", "riesz", "gaussian_riesz", "laplace", "linear_gaussian")
ALPHA = ("entropy", "direct", "inverse", "square", "direct_backprop")

REFERENCE_LOSSES: Mapping[str, Callable[..., float]] = {
    "info_nce": info_nce,
    "nt_xent": nt_xent,
    "dcl": dcl,
    "dhel": dhel,
    "dhel_sum": dhel_sum,
    "info_nce_one_sided": info_nce_one_sided,
    "dhel_one_sided": dhel_one_sided,
    **{f"kcl_{kernel}": _kcl(f"kcl_{kernel}") for kernel in KCL},
    "info_nce_epsilon": info_nce_epsilon,
    "mine": mine,
    "triplet": triplet,
    "soft_triplet": soft_triplet,
    "n_plus_one_tuplet": n_plus_one_tuplet,
    "lifted_structured": lifted_structured,
    "modified_triplet": modified_triplet,
    "triplet_contrastive": triplet_contrastive,
    **{f"alpha_{rule}": _alpha(f"alpha_{rule}") for rule in ALPHA},
    "align_uniform": align_uniform,
    "siglip": siglip,
    "spectral": spectral,
    "nt_xent_vrns": nt_xent_vrns,
    "temperature_free": temperature_free,
    "barlow_twins": barlow_twins,
    "vicreg": vicreg,
}
