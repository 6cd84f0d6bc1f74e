import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
worlds = importlib.import_module("honesty_worlds")
checks = importlib.import_module("honesty_checks")


def test_exact_noise_leaves_the_truth_and_has_its_variance():
    noise, truth = worlds.Noise(common=0.02, family=0.01), worlds.hill(worlds.GRID, top=0.9, width=0.2)
    drawn = worlds.outcomes({"a": truth}, noise, seeds=50, rng=np.random.default_rng(0), exact=True)["a"]
    np.testing.assert_allclose(drawn.mean(axis=1), truth, atol=1e-12)
    total = noise.common**2 + noise.family**2 + noise.block**2 + noise.residual**2
    assert np.mean(drawn.var(axis=1)) == pytest.approx(total, rel=0.5)


def test_a_table_holds_the_outcomes_where_they_belong():
    rng = np.random.default_rng(0)
    drawn = worlds.outcomes({"a": worlds.hill(worlds.GRID, top=0.9, width=0.2)}, worlds.Noise(), seeds=3, rng=rng)
    trials = worlds.table(drawn, reference=None, rng=rng).trials
    for x, setting in worlds.GRID.iterrows():
        for seed in range(3):
            kept = (trials[["batch_size", "temperature"]] == setting).all(axis=1) & (trials["seed"] == seed)
            assert trials.loc[kept, "linear_top1"].item() == drawn["a"][x, seed]


def test_only_what_chance_does_not_explain_fails():
    tally = checks.Tally()
    for index in range(100):
        tally.add(("low", 3, "no"), 0.0, 1.0, 2.0 if index < 20 else 0.5)
        tally.add(("fine", 3, "no"), 0.0, 1.0, 2.0 if index < 9 else 0.5)
        tally.add(("wide", 3, "no"), 0.0, 1.0, 0.5)
    for _ in range(400):
        tally.add(("profile", 3, "no"), 0.0, 1.0, 0.5)
        tally.add(("profile", 5, "no"), math.nan, 1.0, 0.5)
    failing = {name: tally.failing(name) for name in ("low", "fine", "wide", "profile")}
    assert failing == {"low": [(3, "no")], "fine": [], "wide": [], "profile": [(3, "no")]}
    assert (tally.count(("profile", 5, "no")), tally.share(("low", 3, "no"))) == (0, 0.8)
