import itertools

import numpy as np
import pandas as pd
import pytest
from simulated import GRID, hill

from analysis.estimation.grids import level_codes, same
from analysis.estimation.shrinkage import shrink_grid


def _codes(*sizes):
    return np.array(list(itertools.product(*map(range, sizes))), dtype=np.intp)


def _projections(sizes):
    """Matrices that take a complete grid apart: mean, main effects, pairs, the rest."""
    count = int(np.prod(sizes))

    def of(kept):
        parts = [np.eye(k) - 1 / k if axis in kept else np.full((k, k), 1 / k) for axis, k in enumerate(sizes)]
        whole = np.ones((1, 1))
        for part in parts:
            whole = np.kron(whole, part)
        return whole

    axes = range(len(sizes))
    found = [of(set()), *(of({axis}) for axis in axes), *(of(set(pair)) for pair in itertools.combinations(axes, 2))]
    rest = np.eye(count) - sum(found)
    return found + ([rest] if np.trace(rest) > 0.5 else [])


@pytest.mark.parametrize("sizes", [(3, 5), (2, 3, 4), (7,)])
def test_a_complete_grid_is_shrunk_term_by_term(sizes):
    rng, codes = np.random.default_rng(0), _codes(*sizes)
    means, noise = rng.normal(0, 1, len(codes)) + 2 * codes[:, 0], 0.5
    expected, variance = np.zeros(len(codes)), 0.0
    for index, projection in enumerate(_projections(sizes)):
        df, term = round(np.trace(projection)), projection @ means
        kept = 1.0 if index == 0 else max(0.0, 1 - noise * df / float(term @ term))
        expected += kept * term
        variance += noise * kept * df / len(codes)
    found = shrink_grid(codes, means, np.full(len(codes), noise))
    np.testing.assert_allclose(found.expected, expected)
    np.testing.assert_allclose(found.error, np.sqrt(variance))


def test_holes_and_unequal_variances_have_the_best_linear_unbiased_prediction():
    rng, sizes = np.random.default_rng(1), (4, 5)
    codes = _codes(*sizes)
    truth = 3.0 * codes[:, 0] + codes[:, 1] + rng.normal(0, 1.0, len(codes))
    there = np.delete(np.arange(20), [3, 11])
    variances = rng.choice([0.2, 0.4], len(there))
    means = truth[there] + rng.normal(size=len(there)) * np.sqrt(variances)
    found = shrink_grid(codes[there], means, variances)
    # With the variances of the terms that it settled on, the mixed model equations give the same surface.
    surface = _settled(codes, there, means, variances)
    np.testing.assert_allclose(found.expected, surface[there], rtol=1e-6)
    assert (found.error < np.sqrt(variances)).all()
    assert len(np.unique(found.error.round(12))) == 2


def _settled(codes, there, means, variances):
    """Fixed point by dense algebra: terms' variances from the predicted surface, the surface from them."""
    count, least, noise = len(codes), variances.min(), variances.mean() * len(there) / len(codes)
    projections, f = _projections((4, 5)), np.full(len(codes), means.mean())
    for _ in range(400):
        z = f.copy()
        z[there] += least / variances * (means - f[there])
        beyond = [max(0.0, float(z @ p @ z) / round(np.trace(p)) - noise) for p in projections[1:]]
        tau = np.array([1e8, *beyond])
        prior = sum(t * p for t, p in zip(tau, projections, strict=True))
        gain = prior[:, there] @ np.linalg.inv(prior[np.ix_(there, there)] + np.diag(variances))
        new = gain @ means
        if np.abs(new - f).max() < 1e-12:
            break
        f = new
    assert count == 20
    return f


def test_shrinking_nothing_but_noise_gives_the_mean_and_no_noise_gives_the_means():
    rng, codes = np.random.default_rng(2), _codes(10, 10, 10)
    flat = shrink_grid(codes, rng.normal(size=1000), np.ones(1000))
    assert np.std(flat.expected) < 0.25
    assert flat.error.max() < 0.35
    means = rng.normal(size=1000)
    np.testing.assert_allclose(shrink_grid(codes, means, np.full(1000, 1e-14)).expected, means, atol=1e-9)


def test_errors_of_shrunken_means_are_as_large_as_they_say():
    truth, codes, far = hill(GRID), level_codes(GRID), []
    for seed in range(300):
        means = truth + np.random.default_rng(seed).normal(0, 0.01, len(truth))
        found = shrink_grid(codes, means, np.full(len(truth), 1e-4))
        far.append(np.mean((found.expected - truth) ** 2) / np.mean(found.error**2))
    assert np.mean(far) == pytest.approx(1.0, abs=0.25)


def test_codes_number_levels_and_groups_of_configurations():
    frame = pd.DataFrame({"kernel": ["b", "a", "b"], "weight": [0.5, 0.5, 0.1]})
    assert level_codes(frame).tolist() == [[1, 1], [0, 1], [1, 0]]
    assert same(level_codes(frame)[:, :1]).tolist() == [1, 0, 1]
    assert same(level_codes(frame)[:, :0]).tolist() == [0, 0, 0]
