"""Every metric once more, as slow float64 loops that follow the formulas word for word.

sigma = singular values of the n x d matrix, lambda = eigenvalues of its covariance (n - 1).
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.special

Rows = list[list[float]]


def float_rows(x: np.ndarray) -> Rows:
    return [[float(value) for value in row] for row in x]


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def squared_distance(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def unit_rows(x: np.ndarray) -> Rows:
    """Each row divided by its length."""
    unit = []
    for row in float_rows(x):
        length = math.sqrt(dot(row, row))
        unit.append([value / length for value in row])
    return unit


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def alignment(z: np.ndarray, z_view2: np.ndarray) -> float:
    """mean_i |z_i - z_i'|^2 on rows of length 1."""
    a, b = unit_rows(z), unit_rows(z_view2)
    return mean([squared_distance(a[i], b[i]) for i in range(len(a))])


def uniformity(z: np.ndarray) -> float:
    """log mean_{i<j} exp(-2 |z_i - z_j|^2) on rows of length 1."""
    a = unit_rows(z)
    pairs = [(i, j) for i in range(len(a)) for j in range(i + 1, len(a))]
    return math.log(mean([math.exp(-2 * squared_distance(a[i], a[j])) for i, j in pairs]))


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
    cosines = sorted(dot(rows[i], rows[j]) for i in range(len(rows)) for j in range(i + 1, len(rows)))
    a = (len(rows[0]) - 1) / 2
    gaps = []
    for k, cosine in enumerate(cosines, start=1):
        quantile = 2 * float(scipy.special.betaincinv(a, a, (k - 0.5) / len(cosines))) - 1
        gaps.append(abs(cosine - quantile))
    return mean(gaps)


def singular_values(x: np.ndarray) -> list[float]:
    """Singular values, largest first."""
    return [float(value) for value in np.linalg.svd(np.asarray(x, dtype=np.float64), compute_uv=False)]


def centered(x: np.ndarray) -> np.ndarray:
    """Each column minus its mean."""
    columns = float_rows(np.asarray(x, dtype=np.float64).T)
    return np.array([[value - mean(column) for value in column] for column in columns]).T


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
    return math.sqrt(math.fsum(mean(column) ** 2 for column in float_rows(np.asarray(x).T)))


def total_variance(x: np.ndarray) -> float:
    """Trace of the covariance: sum_ij (x_ij - mean_j)^2 / (n - 1)."""
    return math.fsum(value**2 for row in float_rows(centered(x)) for value in row) / (len(x) - 1)


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
        cosines = [dot(row, other) for other in train]
        nearest = sorted(range(len(train)), key=lambda j: -cosines[j])[:k]
        votes: dict[int, int] = {}
        for j in nearest:
            votes[int(train_y[j])] = votes.get(int(train_y[j]), 0) + 1
        predictions.append(min(votes, key=lambda label: (-votes[label], label)))
    return predictions
