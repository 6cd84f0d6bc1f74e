"""Every loss and metric once more, as slow float64 loops that follow the formulas word for word.

Losses: s(a, b) = a.b and r(a, b) = |a - b|^2 of rows normalised to length 1, t the temperature, M images.
Metrics: sigma = singular values of the n x d matrix, lambda = eigenvalues of its covariance (n - 1).
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.special

Rows = list[list[float]]


def _rows(x: np.ndarray) -> Rows:
    return [[float(value) for value in row] for row in x]


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def _squared_distance(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def unit_rows(x: np.ndarray) -> Rows:
    """Each row divided by its length."""
    unit = []
    for row in _rows(x):
        length = math.sqrt(_dot(row, row))
        unit.append([value / length for value in row])
    return unit


def _log_sum_exp(values: Sequence[float]) -> float:
    largest = max(values)
    return largest + math.log(math.fsum(math.exp(value - largest) for value in values))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def info_nce(u: np.ndarray, v: np.ndarray, *, temperature: float) -> float:
    """mean_i [ -s(u_i, v_i)/t + log sum_j exp(s(u_i, v_j)/t) ], mean of both directions."""
    anchors = []
    for a, b in ((unit_rows(u), unit_rows(v)), (unit_rows(v), unit_rows(u))):
        for i in range(len(a)):
            terms = [_dot(a[i], b[j]) / temperature for j in range(len(b))]
            anchors.append(_log_sum_exp(terms) - _dot(a[i], b[i]) / temperature)
    return _mean(anchors)


def nt_xent(u: np.ndarray, v: np.ndarray, *, temperature: float) -> float:
    """mean_i [ -s(u_i, v_i)/t + log(sum_j e^(s(u_i, v_j)/t) + sum_{j!=i} e^(s(u_i, u_j)/t)) ], both ways."""
    anchors = []
    for a, b in ((unit_rows(u), unit_rows(v)), (unit_rows(v), unit_rows(u))):
        for i in range(len(a)):
            terms = []
            for j in range(len(a)):
                terms.append(_dot(a[i], b[j]) / temperature)
                if j != i:
                    terms.append(_dot(a[i], a[j]) / temperature)
            anchors.append(_log_sum_exp(terms) - _dot(a[i], b[i]) / temperature)
    return _mean(anchors)


def dcl(u: np.ndarray, v: np.ndarray, *, temperature: float) -> float:
    """mean_i [ -s(u_i, v_i)/t + log sum_{j!=i} (exp(s(u_i, v_j)/t) + exp(s(u_i, u_j)/t)) ], both ways."""
    anchors = []
    for a, b in ((unit_rows(u), unit_rows(v)), (unit_rows(v), unit_rows(u))):
        for i in range(len(a)):
            terms = []
            for j in range(len(a)):
                if j != i:
                    terms.append(_dot(a[i], b[j]) / temperature)
                    terms.append(_dot(a[i], a[j]) / temperature)
            anchors.append(_log_sum_exp(terms) - _dot(a[i], b[i]) / temperature)
    return _mean(anchors)


def dhel(u: np.ndarray, v: np.ndarray, *, temperature: float) -> float:
    """mean_i [ -s(u_i, v_i)/t + log sum_{j!=i} exp(s(u_i, u_j)/t) ], mean of both directions."""
    anchors = []
    for a, b in ((unit_rows(u), unit_rows(v)), (unit_rows(v), unit_rows(u))):
        for i in range(len(a)):
            terms = [_dot(a[i], a[j]) / temperature for j in range(len(a)) if j != i]
            anchors.append(_log_sum_exp(terms) - _dot(a[i], b[i]) / temperature)
    return _mean(anchors)


def gaussian_kernel(r: float, bandwidth: float) -> float:
    """exp(-bandwidth r)."""
    return math.exp(-bandwidth * r)


def log_kernel(r: float, bandwidth: float) -> float:
    """-1/2 log(1 + bandwidth r)."""
    return -0.5 * math.log1p(bandwidth * r)


def imq_kernel(r: float, kernel_scale: float) -> float:
    """c / sqrt(c^2 + r), c the kernel scale."""
    return kernel_scale / math.sqrt(kernel_scale**2 + r)


def _kcl(u: np.ndarray, v: np.ndarray, kernel: Callable[[float], float], gamma: float) -> float:
    a, b = unit_rows(u), unit_rows(v)
    attraction = [kernel(_squared_distance(a[i], b[i])) for i in range(len(a))]
    energies = []
    for w in (a, b):
        pairs = [(i, j) for i in range(len(w)) for j in range(len(w)) if i != j]
        energies.append(_mean([kernel(_squared_distance(w[i], w[j])) for i, j in pairs]))
    return -_mean(attraction) + gamma * (energies[0] + energies[1]) / 2


def kcl_gaussian(u: np.ndarray, v: np.ndarray, *, bandwidth: float, gamma: float) -> float:
    """-mean_i K(u_i, v_i) + gamma (E_u + E_v)/2, E_w = mean_{i!=j} K(w_i, w_j), K = exp(-bandwidth r)."""
    return _kcl(u, v, lambda r: gaussian_kernel(r, bandwidth), gamma)


def kcl_log(u: np.ndarray, v: np.ndarray, *, bandwidth: float, gamma: float) -> float:
    """The same with K = -1/2 log(1 + bandwidth r)."""
    return _kcl(u, v, lambda r: log_kernel(r, bandwidth), gamma)


def kcl_imq(u: np.ndarray, v: np.ndarray, *, kernel_scale: float, gamma: float) -> float:
    """The same with K = c / sqrt(c^2 + r)."""
    return _kcl(u, v, lambda r: imq_kernel(r, kernel_scale), gamma)


REFERENCE_LOSSES: Mapping[str, Callable[..., float]] = {
    "info_nce": info_nce,
    "nt_xent": nt_xent,
    "dcl": dcl,
    "dhel": dhel,
    "kcl_gaussian": kcl_gaussian,
    "kcl_log": kcl_log,
    "kcl_imq": kcl_imq,
}


def _spread(num_images: int) -> float:
    """c = M/(M - 1): one minus the cosine of two vertices of a regular simplex, r = 2c."""
    return num_images / (num_images - 1)


def info_nce_minimum(num_images: int, hyperparameters: Mapping[str, float]) -> float:
    """log(1 + (M - 1) exp(-c/t))."""
    return math.log1p((num_images - 1) * math.exp(-_spread(num_images) / hyperparameters["temperature"]))


def nt_xent_minimum(num_images: int, hyperparameters: Mapping[str, float]) -> float:
    """log(1 + 2 (M - 1) exp(-c/t))."""
    return math.log1p(2 * (num_images - 1) * math.exp(-_spread(num_images) / hyperparameters["temperature"]))


def dcl_minimum(num_images: int, hyperparameters: Mapping[str, float]) -> float:
    """log(2 (M - 1)) - c/t."""
    return math.log(2 * (num_images - 1)) - _spread(num_images) / hyperparameters["temperature"]


def dhel_minimum(num_images: int, hyperparameters: Mapping[str, float]) -> float:
    """log(M - 1) - c/t."""
    return math.log(num_images - 1) - _spread(num_images) / hyperparameters["temperature"]


def kcl_gaussian_minimum(num_images: int, hyperparameters: Mapping[str, float]) -> float:
    """-1 + gamma exp(-2 bandwidth c)."""
    energy = gaussian_kernel(2 * _spread(num_images), hyperparameters["bandwidth"])
    return -1 + hyperparameters["gamma"] * energy


def kcl_log_minimum(num_images: int, hyperparameters: Mapping[str, float]) -> float:
    """-gamma/2 log(1 + 2 bandwidth c)."""
    return hyperparameters["gamma"] * log_kernel(2 * _spread(num_images), hyperparameters["bandwidth"])


def kcl_imq_minimum(num_images: int, hyperparameters: Mapping[str, float]) -> float:
    """-1 + gamma k / sqrt(k^2 + 2c), k the kernel scale."""
    energy = imq_kernel(2 * _spread(num_images), hyperparameters["kernel_scale"])
    return -1 + hyperparameters["gamma"] * energy


MINIMA: Mapping[str, Callable[[int, Mapping[str, float]], float]] = {
    "info_nce": info_nce_minimum,
    "nt_xent": nt_xent_minimum,
    "dcl": dcl_minimum,
    "dhel": dhel_minimum,
    "kcl_gaussian": kcl_gaussian_minimum,
    "kcl_log": kcl_log_minimum,
    "kcl_imq": kcl_imq_minimum,
}


def alignment(z: np.ndarray, z_view2: np.ndarray) -> float:
    """mean_i |z_i - z_i'|^2 on rows of length 1."""
    a, b = unit_rows(z), unit_rows(z_view2)
    return _mean([_squared_distance(a[i], b[i]) for i in range(len(a))])


def uniformity(z: np.ndarray) -> float:
    """log mean_{i<j} exp(-2 |z_i - z_j|^2) on rows of length 1."""
    a = unit_rows(z)
    pairs = [(i, j) for i in range(len(a)) for j in range(i + 1, len(a))]
    return math.log(_mean([math.exp(-2 * _squared_distance(a[i], a[j])) for i, j in pairs]))


def uniformity_optimum(dim: int) -> float:
    """-4 + log E exp(4 s), E exp(k s) = sum_m (k^2/4)^m / (m! (d/2)_m) for uniform points on S^{d-1}."""
    term, terms = 1.0, [1.0]
    for m in range(60):
        term *= 4.0 / ((m + 1) * (dim / 2 + m))
        terms.append(term)
    return -4 + math.log(math.fsum(terms))


def wasserstein(z: np.ndarray) -> float:
    """mean_k |s_(k) - (2 betaincinv(a, a, (k - 1/2)/N) - 1)|, a = (d - 1)/2, s_(k) sorted pair cosines."""
    rows = unit_rows(z)
    cosines = sorted(_dot(rows[i], rows[j]) for i in range(len(rows)) for j in range(i + 1, len(rows)))
    a = (len(rows[0]) - 1) / 2
    gaps = []
    for k, cosine in enumerate(cosines, start=1):
        quantile = 2 * float(scipy.special.betaincinv(a, a, (k - 0.5) / len(cosines))) - 1
        gaps.append(abs(cosine - quantile))
    return _mean(gaps)


def singular_values(x: np.ndarray) -> list[float]:
    """Singular values, largest first."""
    return [float(value) for value in np.linalg.svd(np.asarray(x, dtype=np.float64), compute_uv=False)]


def centered(x: np.ndarray) -> np.ndarray:
    """Each column minus its mean."""
    columns = _rows(np.asarray(x, dtype=np.float64).T)
    return np.array([[value - _mean(column) for value in column] for column in columns]).T


def covariance_eigenvalues(x: np.ndarray) -> list[float]:
    """lambda_k = sigma_k^2 / (n - 1) of the centred matrix, largest first."""
    return [sigma**2 / (len(x) - 1) for sigma in singular_values(centered(x))]


def _exp_entropy(sigma: Sequence[float], offset: float) -> float:
    total = math.fsum(sigma)
    if total == 0:
        return math.nan
    entropy = []
    for value in sigma:
        p = value / total + offset
        if p > 0:
            entropy.append(-p * math.log(p))
    return math.exp(math.fsum(entropy))


def effective_rank(x: np.ndarray) -> float:
    """exp(-sum p ln p), p = sigma / sum sigma; NaN for the zero matrix."""
    return _exp_entropy(singular_values(x), 0.0)


def effective_rank_centered(x: np.ndarray) -> float:
    """effective_rank after subtracting the mean row."""
    return effective_rank(centered(x))


def rankme(x: np.ndarray) -> float:
    """exp(-sum p ln p), p = sigma / sum sigma + 1e-7, not centred."""
    return _exp_entropy(singular_values(x), 1e-7)


def participation_ratio(x: np.ndarray) -> float:
    """(sum lambda)^2 / sum lambda^2."""
    eigenvalues = covariance_eigenvalues(x)
    return math.fsum(eigenvalues) ** 2 / math.fsum(value**2 for value in eigenvalues)


def stable_rank(x: np.ndarray) -> float:
    """sum lambda / lambda_1."""
    eigenvalues = covariance_eigenvalues(x)
    return math.fsum(eigenvalues) / max(eigenvalues)


def numerical_rank(x: np.ndarray) -> float:
    """#{ sigma_k > max(n, d) eps sigma_1 }, eps of the dtype of x."""
    sigma = singular_values(x)
    threshold = max(x.shape) * float(np.finfo(x.dtype).eps) * sigma[0]
    return float(sum(value > threshold for value in sigma))


def released_rank(x: np.ndarray) -> float:
    """#{ lambda_k > 1e-5 }."""
    return float(sum(value > 1e-5 for value in covariance_eigenvalues(x)))


def mean_norm(x: np.ndarray) -> float:
    """|mean row|."""
    return math.sqrt(math.fsum(_mean(column) ** 2 for column in _rows(np.asarray(x).T)))


def total_variance(x: np.ndarray) -> float:
    """Trace of the covariance: sum_ij (x_ij - mean_j)^2 / (n - 1)."""
    return math.fsum(value**2 for row in _rows(centered(x)) for value in row) / (len(x) - 1)


REFERENCE_SPECTRAL_METRICS: Mapping[str, Callable[[np.ndarray], float]] = {
    "effective_rank": effective_rank,
    "effective_rank_centered": effective_rank_centered,
    "rankme": rankme,
    "participation_ratio": participation_ratio,
    "stable_rank": stable_rank,
    "numerical_rank": numerical_rank,
    "released_rank": released_rank,
    "mean_norm": mean_norm,
    "total_variance": total_variance,
}


def knn_predictions(train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, *, k: int) -> list[int]:
    """The label most frequent among the k training rows of largest cosine; ties to the smallest label."""
    train, predictions = unit_rows(train_x), []
    for row in unit_rows(test_x):
        cosines = [_dot(row, other) for other in train]
        nearest = sorted(range(len(train)), key=lambda j: -cosines[j])[:k]
        votes: dict[int, int] = {}
        for j in nearest:
            votes[int(train_y[j])] = votes.get(int(train_y[j]), 0) + 1
        predictions.append(min(votes, key=lambda label: (-votes[label], label)))
    return predictions
