"""A Gaussian process through the cell means, whose noise is known from the seeds."""

import warnings
from dataclasses import dataclass

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
        if self.scale == 0:
            return np.zeros((len(at), len(self.points)))
        solved: Floats = cho_solve(self._factor, self.kernel(self.points, at)).T
        return solved

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

    @property
    def _factor(self) -> tuple[Floats, bool]:
        covariance = self.kernel(self.points) + np.diag(self.noise / self.scale**2 + 1e-10)
        factor: tuple[Floats, bool] = cho_factor(covariance, lower=True)
        return factor


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
    process = GaussianProcessRegressor(
        kernel, alpha=noise / scale**2 + 1e-10, n_restarts_optimizer=restarts, random_state=seed
    )
    with warnings.catch_warnings():
        # A length scale at its bound means an axis that does not matter: expected, not a failure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(points, (means - offset) / scale)
    return Surrogate(drawn, points, means, noise, process.kernel_, offset, scale)


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


def _nugget(kernel: Kernel) -> float:
    return float(kernel.k2.noise_level) if isinstance(kernel.k2, WhiteKernel) else 0.0
