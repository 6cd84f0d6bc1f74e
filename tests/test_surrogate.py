import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from analysis.estimation.surrogate import Surrogate, fit_surrogate, held_out_r2

POINTS = np.random.default_rng(0).uniform(size=(12, 2))
MEANS = np.sin(4 * POINTS[:, 0]) + 0.3 * POINTS[:, 1]
AT = np.array([[0.1, 0.2], [0.15, 0.25], [0.5, 0.5], [0.95, 0.9]])


def process(*, noise=0.05, nugget=0.0):
    kernel = ConstantKernel(2.0) * Matern([0.4, 0.9], nu=2.5)
    kernel = kernel + WhiteKernel(nugget) if nugget else kernel
    return Surrogate(np.arange(12), POINTS, MEANS, np.full(12, noise), kernel, 0.2, 1.5)


@pytest.mark.parametrize("surrogate", [process(), process(nugget=0.1)])
def test_draws_have_the_posterior_mean_and_covariance(surrogate):
    draws = np.vstack([surrogate.draws(AT, count=400, rng=np.random.default_rng(k)) for k in range(20)])
    covariance = surrogate.covariance(AT)
    error = np.sqrt(np.diag(covariance) / len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - surrogate.mean(AT)) < 5 * error)
    assert np.cov(draws.T) == pytest.approx(covariance, abs=0.06 * float(covariance.max()))


def test_draws_pass_through_data_without_noise():
    draws = process(noise=0.0).draws(POINTS, count=5, rng=np.random.default_rng(0))
    np.testing.assert_allclose(draws, np.tile(MEANS, (5, 1)), atol=1e-3)


def test_the_same_generator_draws_the_same_surfaces_in_chunks_too(monkeypatch):
    whole = process().draws(AT, count=3, rng=np.random.default_rng(7))
    monkeypatch.setattr("analysis.estimation.surrogate.CHUNK", 3)
    np.testing.assert_allclose(process().draws(AT, count=3, rng=np.random.default_rng(7)), whole)


def test_left_out_means_are_of_kernels_fitted_anew_without_each_group():
    surrogate, groups = process(), np.arange(12) % 3
    found = surrogate.left_out_means(AT, groups)
    for group in range(3):
        kept = groups != group
        rest = surrogate.restricted(kept)
        np.testing.assert_array_equal(rest.points, POINTS[kept])
        np.testing.assert_allclose(found[group], rest.mean(AT))

        def log_likelihood(kernel, points=rest.points, means=rest.means):
            covariance = kernel(points) * 1.5**2 + np.diag(np.full(len(points), 0.05))
            return multivariate_normal.logpdf(means, np.full(len(points), 0.2), covariance)

        assert log_likelihood(rest.kernel) > log_likelihood(surrogate.kernel)


def test_a_constant_surface_is_drawn_as_constants():
    fit = fit_surrogate(POINTS, np.full(12, 0.4), np.full(12, 0.01), seed=0, restarts=0)
    draws = fit.draws(AT, count=2000, rng=np.random.default_rng(0))
    assert np.ptp(draws, axis=1).max() == 0
    assert draws[:, 0].std() == pytest.approx(np.sqrt(0.01 / 12), rel=0.1)


def test_the_same_data_are_fitted_once_and_other_data_or_settings_anew():
    given = (POINTS, MEANS, np.full(12, 0.01))
    once = fit_surrogate(*given, seed=0, restarts=0)
    assert fit_surrogate(*(array.copy() for array in given), seed=0, restarts=0) is once
    for place, array in enumerate(given):
        changed = [*given]
        changed[place] = array + 0.01
        assert fit_surrogate(*changed, seed=0, restarts=0) is not once
    assert fit_surrogate(*given, seed=1, restarts=0) is not once
    assert fit_surrogate(*given, seed=0, restarts=1) is not once
    assert held_out_r2(*given, seed=0) == held_out_r2(*given, seed=0) != held_out_r2(*given, seed=1)
