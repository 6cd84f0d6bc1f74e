"""A Gaussian process through the cell means, whose noise is known from the seeds."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, wraps
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel
from sklearn.model_selection import KFold

Floats = NDArray[np.float64]

MAX_POINTS = 512
"""Of more configurations than this a seeded draw is used: the cost is cubic."""

FEATURES = 1024
"""Random cosines of a prior draw: their covariance is that of the kernel within about 1/sqrt(FEATURES)."""

JITTER = 1e-10
CHUNK = 4096

REMEMBERED = 128
"""Results that are kept of each function: measures, profiles, surfaces and indices ask for the same processes."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _remembered(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Call a function of arrays and settings once for the same numbers."""

    @lru_cache(REMEMBERED)
    def kept(arrays: tuple[tuple[tuple[int, ...], bytes], ...], settings: tuple[tuple[str, int], ...]) -> _R:
        given = [np.frombuffer(data).reshape(shape) for shape, data in arrays]
        return function(*given, **dict(settings))  # type: ignore[arg-type]

    @wraps(function)
    def call(*arrays: _P.args, **settings: _P.kwargs) -> _R:
        frozen = [np.asarray(array, dtype=float) for array in arrays]
        return kept(tuple((one.shape, one.tobytes()) for one in frozen), tuple(sorted(settings.items())))

    return call


@dataclass(frozen=True)
class Surrogate:
    """A fitted process; its predictions are linear in the cell means.

    Args:
        drawn: (n,) which of the configurations it rests on; all, up to `MAX_POINTS`.
        points: (n, d) their points of the unit cube.
        means: (n,) cell means.
        noise: (n,) error variances of the cell means.
        kernel: fitted covariance of the standardised surface.
        offset, scale: what the means were standardised with; scale 0 is a constant surface.
    """

    drawn: NDArray[np.intp]
    points: Floats
    means: Floats
    noise: Floats
    kernel: Kernel
    offset: float
    scale: float

    def weights(self, at: Floats) -> Floats:
        """(m, n) rows w with prediction = offset + w . (means - offset)."""
        return np.zeros((len(at), len(self.points))) if self.scale == 0 else self.solved(self.kernel(at, self.points))

    def solved(self, cross: Floats) -> Floats:
        """(m, n) rows K^-1 c for (m, n) rows c of covariances with the data, K their own with noise."""
        found: Floats = cho_solve(self._factor, cross.T).T
        return found

    def mean(self, at: Floats) -> Floats:
        """Posterior mean at (m, d) points."""
        return self.offset + self.weights(at) @ (self.means - self.offset)

    def covariance(self, at: Floats) -> Floats:
        """Posterior covariance of the surface at (m, d) points, without observation noise."""
        if self.scale == 0:
            return np.full((len(at), len(at)), float(self.noise.mean()) / len(self.noise))
        cross = self.kernel(self.points, at)
        prior = self.kernel(at) - _nugget(self.kernel) * np.eye(len(at))
        covariance: Floats = self.scale**2 * (prior - cross.T @ cho_solve(self._factor, cross))
        return covariance

    def draws(self, at: Floats, *, count: int, rng: np.random.Generator) -> Floats:
        """Joint draws of the surface from its posterior, without observation noise.

        Matheron's rule: a draw f of the prior is moved by what it lacks at the data,

            f(at) + k(at, X) (K + N)^-1 (y - f(X) - e),    e ~ N(0, N)

        with f a sum of `FEATURES` random cosines, so that the cost is linear in the number of points. For
        instance, how much the mean over some points is known:

            surrogate.draws(points, count=200, rng=np.random.default_rng(0)).mean(axis=1).std()

        Args:
            at: (m, d) points of the unit cube.
            count: number of draws.
            rng: the draws at different points are of the same surfaces only within one call.

        Returns:
            (count, m), in the unit of the means.

        Source:
            Wilson et al., Efficiently sampling functions from Gaussian process posteriors, ICML 2020,
            arXiv:2002.09309, equations 9 and 12; Rahimi & Recht, NeurIPS 2007 (random features).
        """
        if self.scale == 0:
            error = np.sqrt(float(np.nan_to_num(self.noise).mean()) / len(self.noise))
            return np.tile(self.offset + error * rng.normal(size=(count, 1)), len(at))
        prior = _Prior.drawn(self.kernel, self.points.shape[1], count, rng)
        spread = np.sqrt(self.noise / self.scale**2 + _nugget(self.kernel) + JITTER)
        errors = spread[:, None] * rng.normal(size=(len(self.points), count))
        lacking = ((self.means - self.offset) / self.scale)[:, None] - prior(self.points) - errors
        moved = cho_solve(self._factor, lacking)
        found = np.empty((count, len(at)))
        for start in range(0, len(at), CHUNK):
            part = at[start : start + CHUNK]
            cross = self.kernel(part, self.points)
            found[:, start : start + CHUNK] = (prior(part) + cross @ moved).T
        return self.offset + self.scale * found

    def left_out_means(self, at: Floats, groups: NDArray[np.intp]) -> Floats:
        """(groups, m) posterior means at (m, d) points without each group of the data, the kernel fitted anew.

        Args:
            groups: (n,) numbers from 0 of the groups that the data are in.
        """
        fits = [self.restricted(groups != group) for group in range(int(groups.max()) + 1)]
        return np.array([
            np.concatenate([fit.mean(at[start : start + CHUNK]) for start in range(0, len(at), CHUNK)]) for fit in fits
        ])  # fmt: skip

    def restricted(self, kept: NDArray[np.bool_]) -> "Surrogate":
        """Fitted to some of the data, the optimiser starting from this kernel."""
        points, means, noise = self.points[kept], self.means[kept], self.noise[kept]
        kernel = self.kernel
        if self.scale > 0:
            kernel = _optimised(kernel, points, (means - self.offset) / self.scale, noise / self.scale**2)
        return Surrogate(self.drawn[kept], points, means, noise, kernel, self.offset, self.scale)

    @property
    def length_scales(self) -> Floats:
        """(d,) the distance on each column of the points over which the surface changes."""
        return np.asarray(_smooth(self.kernel).k2.length_scale, dtype=float).reshape(-1)

    @cached_property
    def _factor(self) -> tuple[Floats, bool]:
        covariance = self.kernel(self.points) + np.diag(self.noise / self.scale**2 + JITTER)
        factor: tuple[Floats, bool] = cho_factor(covariance, lower=True)
        return factor


@_remembered
def fit_surrogate(points: Floats, means: Floats, noise: Floats, *, seed: int, restarts: int = 5) -> Surrogate:
    """Fit an anisotropic Matern 5/2 process by maximum marginal likelihood.

    Args:
        points: (n, d) in the unit cube of transformed axes.
        means: (n,) cell means, finite.
        noise: (n,) their error variances; where one is NaN (a single seed), a common one is fitted too.
        seed: of the restarts, and of the draw where there are more than `MAX_POINTS` points.
        restarts: random starts of the optimiser beside the first.

    Source:
        Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, equations 2.25, 2.26 and 5.8.
    """
    drawn = np.arange(len(means))
    if len(means) > MAX_POINTS:
        drawn = np.sort(np.random.default_rng(seed).choice(len(means), MAX_POINTS, replace=False))
    points, means, noise = points[drawn], means[drawn], noise[drawn]
    offset, scale = float(np.mean(means)), float(np.std(means))
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * Matern([0.5] * points.shape[1], (0.05, 20.0), nu=2.5)
    known = bool(np.isfinite(noise).all())
    noise = noise if known else np.zeros(len(means))
    # A surface that is flat up to rounding has nothing to fit; dividing by its scale would magnify rounding.
    if len(means) < 3 or scale <= 1e-12 * max(1.0, abs(offset)):
        return Surrogate(drawn, points, means, noise, kernel, offset, 0.0)
    if not known:
        kernel = kernel + WhiteKernel(0.1, (1e-6, 1e1))
    standard = (means - offset) / scale
    kernel = _optimised(kernel, points, standard, noise / scale**2, restarts=restarts, seed=seed)
    return Surrogate(drawn, points, means, noise, kernel, offset, scale)


def _optimised(
    kernel: Kernel, points: Floats, values: Floats, noise: Floats, *, restarts: int = 0, seed: int = 0
) -> Kernel:
    """The kernel of the largest marginal likelihood of standardised values with known noise."""
    process = GaussianProcessRegressor(
        kernel, alpha=noise + JITTER, n_restarts_optimizer=restarts, random_state=seed
    )  # fmt: skip
    with warnings.catch_warnings():
        # A length scale at its bound means an axis that does not matter: expected, not a failure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(points, values)
    return process.kernel_


@_remembered
def held_out_r2(points: Floats, means: Floats, noise: Floats, *, seed: int) -> float:
    """Share of the variance of cell means that a surrogate explains on configurations it was not fitted to.

    Five folds over configurations, hyperparameters fitted anew in each. At most 1; at or below 0 the
    surrogate is no better than the mean. NaN with fewer than 10 configurations or a constant surface.
    """
    if len(means) < 10 or np.ptp(means) == 0:
        return float("nan")
    predicted = np.empty(len(means))
    for train, test in KFold(5, shuffle=True, random_state=seed).split(points):
        fit = fit_surrogate(points[train], means[train], noise[train], seed=seed, restarts=0)
        predicted[test] = fit.mean(points[test])
    return float(1 - np.sum((means - predicted) ** 2) / np.sum((means - means.mean()) ** 2))


@dataclass(frozen=True)
class _Prior:
    """Surfaces of a process with a Matern 5/2 kernel: (m, d) points -> (m, count) values.

    The spectral density of the kernel is a multivariate t with 5 degrees of freedom.
    """

    frequencies: Floats
    phases: Floats
    weights: Floats

    @classmethod
    def drawn(cls, kernel: Kernel, dim: int, count: int, rng: np.random.Generator) -> "_Prior":
        smooth = _smooth(kernel)
        tails = np.sqrt(5.0 / rng.chisquare(5.0, FEATURES))
        frequencies = rng.normal(size=(dim, FEATURES)) * tails / np.reshape(smooth.k2.length_scale, (-1, 1))
        weights = np.sqrt(2.0 * smooth.k1.constant_value / FEATURES) * rng.normal(size=(FEATURES, count))
        return cls(frequencies, rng.uniform(0.0, 2 * np.pi, FEATURES), weights)

    def __call__(self, at: Floats) -> Floats:
        values: Floats = np.cos(at @ self.frequencies + self.phases) @ self.weights
        return values


def _nugget(kernel: Kernel) -> float:
    return float(kernel.k2.noise_level) if isinstance(kernel.k2, WhiteKernel) else 0.0


def _smooth(kernel: Kernel) -> Kernel:
    """The kernel without its nugget: variance x Matern."""
    return kernel.k1 if isinstance(kernel.k2, WhiteKernel) else kernel
