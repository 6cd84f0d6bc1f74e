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
    middles = [mean(column) for column in columns]
    return np.array([[value - m for value in column] for column, m in zip(columns, middles, strict=True)]).T


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


def alpha_req(x: np.ndarray) -> float:
    """Minus the slope of the line through (ln i, ln lambda_i), i = 11 .. 100, with weights 1/i: normal equations."""
    points = [(math.log(i), math.log(value), 1 / i) for i, value in enumerate(covariance_eigenvalues(x), start=1)]
    rows = points[10:100]
    left = [[math.fsum(w * u**power for u, _, w in rows) for power in powers] for powers in ((0, 1), (1, 2))]
    right = [math.fsum(w * v * u**power for u, v, w in rows) for power in (0, 1)]
    return -float(np.linalg.solve(left, right)[1])


def lidar(views: Sequence[np.ndarray], *, delta: float = 1e-4) -> float:
    """exp entropy of the eigenvalues of Sigma_w^-1/2 Sigma_b Sigma_w^-1/2, image by image and view by view."""
    num_views, (num_images, dim) = len(views), views[0].shape
    means = [sum(view[i] for view in views) / num_views for i in range(num_images)]
    centre = sum(means) / num_images
    between, within = np.zeros((dim, dim)), delta * np.eye(dim)
    for i in range(num_images):
        between += np.outer(means[i] - centre, means[i] - centre) / num_images
        for view in views:
            within += np.outer(view[i] - means[i], view[i] - means[i]) / (num_images * num_views)
    values, vectors = np.linalg.eigh(within)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    eigenvalues = [max(float(value), 0.0) for value in np.linalg.eigvalsh(root @ between @ root)]
    return _exp_entropy(eigenvalues, 1e-7)


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


def retrieval_top1(x: np.ndarray, x_other: np.ndarray) -> float:
    """The share of rows of x whose cosine with the same row of x_other exceeds those with all other rows."""
    first, second = unit_rows(x), unit_rows(x_other)
    found = 0
    for i, row in enumerate(first):
        cosines = [dot(row, other) for other in second]
        found += all(cosine < cosines[i] for j, cosine in enumerate(cosines) if j != i)
    return found / len(first)


def sgd_predictions(
    train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, *, num_classes: int, orders: Sequence[np.ndarray]
) -> list[int]:
    """Softmax regression by SGD in float64, an order of the training rows per epoch; weights and bias start at 0."""
    centre, scale = train_x.mean(0), train_x.std(0)
    train, test = (np.c_[(x - centre) / scale, np.ones(len(x))] for x in (train_x, test_x))
    weights, velocity = np.zeros((train.shape[1], num_classes)), np.zeros((train.shape[1], num_classes))
    for epoch, order in enumerate(orders):
        rate = 0.1 * (1 + math.cos(math.pi * epoch / len(orders))) / 2
        for start in range(0, len(order), 256):
            rows = order[start : start + 256]
            logits = train[rows] @ weights
            shares = np.exp(logits - logits.max(1, keepdims=True))
            shares /= shares.sum(1, keepdims=True)
            shares[np.arange(len(rows)), train_y[rows]] -= 1
            velocity = 0.9 * velocity + train[rows].T @ shares / len(rows)
            weights = weights - rate * velocity
    return [int(label) for label in (test @ weights).argmax(1)]
