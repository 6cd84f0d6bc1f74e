import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from simulated import AXES, GRID, hill, one_row, runs, table

from analysis.robustness import measures
from analysis.robustness.data_sets import Range, effective_dimension, performance_range, phi, phi_plug_in


def _quadratics(centres, a=1.0):
    """(data sets, levels, 2) f_e = 1 - a (x - c_e)^2 without noise; every mean of centres is a level."""
    x = np.linspace(-1, 1, 21)
    f = np.array([1 - a * (x - c) ** 2 for c in centres])
    return np.repeat(f[..., None], 2, axis=-1)


@pytest.mark.parametrize("centres", [(-0.5, 0.5), (-0.2, 0.1, 0.4), (0.3, 0.3)])
def test_phi_of_shifted_quadratics_is_the_variance_of_their_centres(centres):
    f = _quadratics(centres, a=2.0)
    assert phi(f, f) == pytest.approx(2 * np.var(centres))
    assert phi_plug_in(f.mean(axis=-1)) == pytest.approx(2 * np.var(centres))


def test_a_flat_performance_has_no_spread_and_no_sensitivity():
    assert Range(0.5, 0.5).normalised(np.array([0.5, 0.7, np.nan])).tolist()[:2] == [0.0, 0.0]
    found = performance_range(np.arange(101.0))
    assert (found.low, found.high) == pytest.approx((5.0, 95.0))
    assert found.normalised(np.array([50.0])) == pytest.approx(0.5)
    assert phi(np.zeros((3, 5, 2)), np.zeros((3, 5, 2))) == 0


def test_phi_equals_a_slow_loop_and_only_compares_what_ran_everywhere():
    rng = np.random.default_rng(3)
    y = rng.normal(size=(2, 5, 3))
    y[1, 2] = np.nan
    each, every = [], []
    for s in range(3):
        others = [r for r in range(3) if r != s]
        scores = np.array([[np.mean([y[e, x, r] for r in others]) for x in range(5)] for e in range(2)])
        each.append(np.mean([y[e, int(np.nanargmax(scores[e])), s] for e in range(2)]))
        best = max((x for x in range(5) if x != 2), key=lambda x: scores[0, x] + scores[1, x])
        every.append((y[0, best, s] + y[1, best, s]) / 2)
    assert phi(y, y) == pytest.approx(np.mean(each) - np.mean(every))
    stacked = phi(np.stack([y, 2 * y]), np.stack([y, 2 * y]))
    np.testing.assert_allclose(stacked, [phi(y, y), 2 * phi(y, y)])


def test_on_a_flat_noisy_surface_phi_is_near_0_and_the_plug_in_is_not():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(500, 2, 25, 3))
    assert np.mean(phi(y, y)) == pytest.approx(0.0, abs=0.06)
    assert np.mean([phi_plug_in(one.mean(axis=-1)) for one in y]) > 0.3


def test_the_effective_dimension_counts_the_axes_that_must_follow_the_data_set():
    codes = np.array(list(itertools.product(range(5), range(4), range(3))), dtype=np.intp)
    a, b, c = codes.T
    none, first, both = (np.zeros((2, 60)) for _ in range(3))
    for e in range(2):
        none[e] = 1.0 - 0.2 * abs(a - 2) - 0.2 * abs(b - 1) - 0.2 * abs(c - 1)
        first[e] = 1.0 - 0.3 * abs(a - 4 * e)
        both[e] = 1.0 - 0.3 * abs(a - 4 * e) - 0.3 * abs(b - 3 * e)
    for surface, dimension in ((none, 0), (first, 1), (both, 2)):
        y = np.repeat(surface[..., None], 2, axis=-1)
        assert effective_dimension(y, y, codes) == dimension
    assert np.isnan(effective_dimension(np.zeros((2, 60, 2)), np.zeros((2, 60, 2)), codes))
    assert np.isnan(effective_dimension(np.ones((2, 60, 1)), np.ones((2, 60, 1)), codes))


def _two_data_sets(truths, *, seeds=3, seed=0, noise_sd=0.01):
    rng = np.random.default_rng(seed)
    base = table({"f": runs(GRID, truths[0], seeds=seeds, rng=rng)}, axes=AXES)
    parts = [
        runs(GRID, truth, seeds=seeds, rng=rng, seed_sd=0.005, noise_sd=noise_sd).assign(family="f", dataset=name)
        for name, truth in zip(("digits", "letters"), truths, strict=True)
    ]
    return replace(base, trials=pd.concat(parts, ignore_index=True))


def test_rows_over_data_sets_are_in_the_table_of_measures():
    u = (np.log(GRID["temperature"] / 0.05) / np.log(40.0)).to_numpy()
    far = 0.9 - 0.3 * u, 0.9 - 0.3 * (1 - u)
    found = measures(_two_data_sets(far, noise_sd=0.002), seed=0)
    row = one_row(found, "phi", dataset="")
    assert (row["reference"], row["n_seeds"], row["n_configs"]) == ("own", 3, 30)
    assert 0.05 < row["low"] <= row["estimate"] <= row["high"]
    assert one_row(found, "effective_dimension", dataset="")["estimate"] == 1
    # Of five levels even on the range, the ends are best, 0 and 1 in G but for the percentiles; all are .5 on average.
    assert row["estimate"] == pytest.approx(0.5, abs=0.05)
    assert one_row(found, "phi_plug_in", dataset="")["estimate"] == pytest.approx(0.5, abs=0.05)
    given = measures(replace(_two_data_sets(far, noise_sd=0.0), normalised=True), seed=0)
    assert one_row(given, "phi", dataset="")["estimate"] == pytest.approx(0.15, abs=1e-9)
    alone = measures(table({"f": runs(GRID, hill(GRID), seeds=3, rng=np.random.default_rng(0))}), seed=0)
    assert not alone["measure"].str.startswith("phi").any()


def test_the_interval_of_phi_on_a_flat_noisy_surface_holds_0(monkeypatch):
    monkeypatch.setattr("analysis.robustness.bootstrap.REPLICATES", 30)
    flat = np.full(15, 0.8)
    rows = [one_row(measures(_two_data_sets((flat, flat), seed=seed), seed=0), "phi", dataset="") for seed in range(12)]
    assert np.mean([row["low"] <= 0 <= row["high"] for row in rows]) >= 0.9
