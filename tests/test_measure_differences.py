import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from simulated import GRID, hill, runs, scattered, study, table

from analysis.comparison import compare
from analysis.comparison import rivals as rivals_module
from analysis.comparison.measures import (
    measure_differences,
    paired_shares,
    probability_of_improvement,
    sign_flip_p,
)
from analysis.comparison.rivals import rivals
from analysis.estimation.cells import all_cells
from analysis.estimation.fitted import fit_family
from analysis.robustness import measures
from analysis.robustness.contest import contest
from analysis.robustness.data_set_rows import across


@pytest.fixture
def few_replicates(monkeypatch):
    monkeypatch.setattr(rivals_module, "REPLICATES", 40)


def rows_of(found, measure, profile):
    rows = pd.DataFrame(found)
    return rows[(rows["measure"] == measure) & (rows["profile"] == profile)].set_index("family")


def test_differences_are_those_of_the_robustness_table(few_replicates):
    found = replace(study(num_families=3), reference="family_1")
    single = measures(found, seed=0)
    for measure, column, tolerance in (
        ("near_optimal_mass_0.01", "near_optimal_mass", 0.01), ("normalised_regret", "normalised_regret", math.nan),
    ):  # fmt: skip
        for reference in ("own", "common"):
            rows = rows_of(measure_differences(found, seed=0), measure, reference)
            kept = single[(single["measure"] == column) & (single["reference"] == reference)]
            if math.isfinite(tolerance):
                kept = kept[kept["tolerance"] == tolerance]
            values = kept.set_index("family")["estimate"]
            for family, row in rows.iterrows():
                assert row["difference"] == pytest.approx(values[family] - values["family_1"], abs=1e-9)
                assert row["low"] <= row["difference"] <= row["high"]


def test_less_regret_and_more_mass_are_better(few_replicates):
    rng = np.random.default_rng(0)
    families = {
        name: runs(GRID, hill(GRID, width=width), seeds=4, rng=rng, noise_sd=0.001)
        for name, width in (("flat", 0.02), ("steep", 0.6))
    }
    found = measure_differences(replace(table(families), reference="steep"), seed=0)
    assert rows_of(found, "normalised_regret", "own").loc["flat", ["verdict"]].item() == "better"
    assert rows_of(found, "normalised_regret", "own").loc["flat", "difference"] < 0
    assert rows_of(found, "near_optimal_mass_0.02", "common").loc["flat", "verdict"] == "better"
    back = measure_differences(replace(table(families), reference="flat"), seed=0)
    assert rows_of(back, "near_optimal_mass_0.02", "common").loc["steep", "verdict"] == "worse"


def test_what_all_runs_of_a_seed_share_does_not_move_differences():
    found = replace(study(num_families=2, seeds=4), reference="family_0")
    shift = found.trials["seed"].map({0: 0.05, 1: -0.02, 2: 0.0, 3: -0.03})
    columns = ["linear_top1", "linear_top1_validation"]
    moved = replace(found, trials=found.trials.assign(**{name: found.trials[name] + shift for name in columns}))
    for one, other in zip(paired_shares(found, seed=0), paired_shares(moved, seed=0), strict=True):
        assert one["difference"] == pytest.approx(other["difference"], abs=1e-12)
    fits = [[fit_family(f, seed=0) for f in all_cells(t, "digits", "linear_top1")] for t in (found, moved)]
    own, away = (rivals(fit, tolerances=(0.01,), sampled=False, seed=0) for fit in fits)
    mass = [index for index, key in enumerate(own.keys) if key.measure == "near_optimal_mass"]
    np.testing.assert_allclose(own.values[mass], away.values[mass], atol=1e-9)


def test_intervals_of_differences_cover_the_truth(few_replicates):
    hits, truths = [], [hill(GRID, width=0.1), hill(GRID, top=0.92, width=0.4)]
    for seed in range(12):
        rng = np.random.default_rng(seed)
        families = {
            name: runs(GRID, truth, seeds=3, rng=rng, block_sd=0.004, noise_sd=0.006)
            for name, truth in zip("ab", truths, strict=True)
        }
        rows = rows_of(measure_differences(replace(table(families), reference="a"), seed=0), "normalised_regret", "own")
        true = [np.mean(truth.max() - truth) / (truth.max() - 0.1) for truth in truths]
        hits.append(rows.loc["b", "low"] <= true[1] - true[0] <= rows.loc["b", "high"])
    assert np.mean(hits) >= 0.8


def test_failures_and_scattered_designs_have_differences_too(few_replicates):
    rng = np.random.default_rng(0)
    families = {name: runs(GRID, hill(GRID), seeds=3, rng=rng, failing=share) for name, share in (("a", 0), ("b", 0.3))}
    rows = rows_of(measure_differences(replace(table(families), reference="a"), seed=0), "normalised_regret", "own")
    assert rows.loc["b", "difference"] > 0
    one = scattered(configurations=25)
    both = pd.concat([one.trials, one.trials.assign(family="hill2")], ignore_index=True)
    axes = dict.fromkeys(("hill", "hill2"), one.axes["hill"])
    found = compare(replace(one, trials=both, axes=axes, reference="hill"), seed=0)
    mass = found[found["measure"] == "near_optimal_mass_0.01"]
    assert mass["difference"].abs().max() == 0
    assert (mass["low"] < 0).all()
    assert set(found["measure"]) >= {"difference", "probability_of_improvement", "sign_flip", "normalised_regret"}


def test_the_probability_of_improvement_counts_pairs_and_halves_ties():
    differences = np.array([[0.1, -0.2, 0.0], [0.3, 0.2, 0.1]])
    assert probability_of_improvement(differences, sampled=False).estimate == pytest.approx((4 + 0.5) / 6)
    mirrored = probability_of_improvement(-differences, sampled=False)
    found = probability_of_improvement(differences, sampled=False)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize("seeds", [3, 5])
def test_where_all_pairs_agree_only_seeds_are_counted(seeds):
    found = probability_of_improvement(np.ones((15, seeds)), sampled=False)
    assert (found.estimate, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / seeds))


def test_sign_flips_equal_the_enumeration_of_all_signs():
    differences = np.random.default_rng(2).normal(0.3, 1.0, (6, 3))
    means = differences.mean(axis=1)
    every = [abs(np.mean(means * np.array(signs))) for signs in itertools.product((1, -1), repeat=6)]
    expected = np.mean(np.array(every) >= abs(means.mean()) - 1e-12)
    assert sign_flip_p(differences, seed=0) == pytest.approx(expected)


def test_of_many_settings_sign_flips_follow_the_normal_limit():
    differences = np.random.default_rng(3).normal(0.03, 1.0, (1001, 3))
    assert sign_flip_p(differences, seed=0) == pytest.approx(sign_flip_p(differences[:1000], seed=0), abs=0.05)
    assert sign_flip_p(np.zeros((1001, 3)), seed=0) == 1.0


def test_rows_say_what_they_rest_on():
    found = pd.DataFrame(paired_shares(replace(study(num_families=2, seeds=2), reference="family_0"), seed=0))
    assert found["reason"].tolist() == ["fewer than 3 seeds or 6 pairs"] * 2
    assert found["difference"].isna().all()
    found = paired_shares(replace(study(num_families=2), reference="family_0"), seed=0)[1]
    assert (found["measure"], found["verdict"]) == ("sign_flip", "")
    assert "given these seeds" in found["reason"]
    assert measure_differences(study(num_families=2), seed=0) == []


def several(bests, *, seeds=4, noise=0.004):
    """Families on two data sets whose best temperature moves by so much between them."""
    parts, found = [], None
    for index, name in enumerate(("d0", "d1")):
        rng = np.random.default_rng(index)
        rows = {
            family: runs(GRID, hill(GRID.assign(temperature=GRID["temperature"] * shift**index)), seeds=seeds, rng=rng,
                         noise_sd=noise)
            for family, shift in bests.items()
        }  # fmt: skip
        found = table(rows)
        parts.append(found.trials.assign(dataset=name))
    return replace(found, trials=pd.concat(parts, ignore_index=True))


def test_differences_of_phi_are_those_of_the_robustness_table(few_replicates):
    found = replace(several({"still": 1.0, "moving": 6.0}, noise=0.001), reference="still")
    rows = rows_of(measure_differences(found, seed=0), "phi", "own")
    single = measures(found, seed=0)
    values = single[single["measure"] == "phi"].set_index("family")["estimate"]
    assert rows.loc["moving", "dataset"] == ""
    assert values["still"] >= 0
    assert rows.loc["moving", "difference"] == pytest.approx(values["moving"] - values["still"], abs=1e-12)
    assert (rows.loc["moving", "verdict"], rows.loc["moving", "low"] > 0) == ("worse", True)
    one_set = measure_differences(replace(study(num_families=2), reference="family_0"), seed=0)
    assert "phi" not in {row["measure"] for row in one_set}


def test_the_errors_of_phi_are_as_large_as_its_scatter():
    truth = several({"still": 1.0, "moving": 2.0}, noise=1e-6)
    columns, values, errors = ["linear_top1", "linear_top1_validation"], [], []
    for seed in range(30):
        noise = np.random.default_rng(seed).normal(0, 0.006, len(truth.trials))
        trials = truth.trials.assign(**{name: truth.trials[name] + noise for name in columns})
        drawn = replace(truth, trials=trials)
        cells = {name: all_cells(drawn, name, "linear_top1") for name in drawn.datasets}
        found = across(drawn, [[fit_family(f, seed=0) for f in each] for each in cells.values()])
        values.append(found["moving"].phi - found["still"].phi)
        drift = found["moving"].errors(seed=0) - found["still"].errors(seed=0)
        errors.append(np.sqrt(np.mean(drift**2)))
    assert 0.7 < np.mean(errors) / np.std(values) < 1.6


def test_phi_is_compared_as_it_is_measured_whatever_the_scale_and_the_labels_of_seeds(few_replicates):
    found = replace(several({"still": 1.0, "moving": 6.0}, noise=0.001), reference="still")
    later = found.trials["seed"] + 10 * (found.trials["dataset"] == "d1")
    overlapping = found.trials["seed"] + (found.trials["dataset"] == "d1")
    for one in (
        replace(found, normalised=True),
        replace(found, trials=found.trials.assign(seed=overlapping)),
        replace(found, trials=found.trials.assign(seed=later)),
    ):
        values = measures(one, seed=0).query("measure == 'phi'").set_index("family")
        row = rows_of(measure_differences(one, seed=0), "phi", "own").loc["moving"]
        difference = values["estimate"]["moving"] - values["estimate"]["still"]
        assert row["difference"] == pytest.approx(difference, abs=1e-12, nan_ok=True)
        assert row["reason"] == values["reason"]["moving"]
    assert (row["verdict"], math.isnan(row["difference"])) == ("undecided", True)
    assert row["reason"] == "no configuration has two seeds on every data set"
    only = found.trials[(found.trials["dataset"] == "d0") | (found.trials["family"] == "still")]
    row = rows_of(measure_differences(replace(found, trials=only), seed=0), "phi", "own").loc["moving"]
    assert (row["reason"], math.isnan(row["difference"])) == ("not on every data set", True)


def levels(tops, *, noise=0.002):
    """Families of these heights on these seeds: name -> (height, seeds)."""
    rng = np.random.default_rng(0)
    families = {
        name: runs(GRID, hill(GRID, top=top), seeds=max(seeds) + 1, rng=rng, noise_sd=noise)
        for name, (top, seeds) in tops.items()
    }
    return table({name: rows[rows["seed"].isin(tops[name][1])] for name, rows in families.items()})


def test_the_common_best_is_that_of_the_robustness_table_also_where_a_family_has_two_seeds(few_replicates):
    found = replace(levels({"a": (0.93, [0, 1]), "b": (0.8, [0, 1, 2]), "c": (0.78, [0, 1, 2])}), reference="b")
    single, best = measures(found, seed=0), contest(found, "digits", seed=0).best
    rows = rows_of(measure_differences(found, seed=0), "near_optimal_mass_0.01", "common")
    values = single[(single["measure"] == "near_optimal_mass") & (single["reference"] == "common")]
    values = values[values["tolerance"] == 0.01].set_index("family")["estimate"]
    assert rows["difference"].to_dict() == pytest.approx({name: values[name] - values["b"] for name in "ac"}, abs=1e-12)
    assert rows.loc["c", ["difference", "verdict"]].tolist() == [0.0, "undecided"]
    assert rows.loc["a", "reason"] == "no interval: fewer than 3 seeds"
    assert rows.loc["a", ["low", "high", "p"]].isna().all()
    fits = [fit_family(one, seed=0) for one in all_cells(found, "digits", "linear_top1")]
    assert rivals(fits, tolerances=(0.01,), sampled=False, seed=0).best == best


def test_seeds_are_those_of_the_side_with_fewer(few_replicates):
    found = levels({"many": (0.9, range(10)), "few": (0.9, range(3))}, noise=0.01)
    widths = []
    for reference, other in (("few", "many"), ("many", "few")):
        rows = rows_of(measure_differences(replace(found, reference=reference), seed=0), "normalised_regret", "own")
        widths.append(rows.loc[other, "high"] - rows.loc[other, "low"])
        assert rows.loc[other, "n_seeds"] == 3
    assert widths[0] == pytest.approx(widths[1])


def test_what_can_not_be_measured_has_its_own_reason(few_replicates):
    found = replace(levels({"a": (0.9, [0, 1, 2]), "b": (0.8, [0])}), reference="a")
    turned = pd.DataFrame(measure_differences(replace(found, reference="b"), seed=0))
    for rows, reason in (
        (pd.DataFrame(measure_differences(found, seed=0)), "no configuration has two seeds"),
        (turned, "b: no configuration has two seeds"),
    ):
        assert set(rows["reason"]) == {reason}
        assert rows["difference"].isna().all()
    own = found.trials["family"] == "a"
    lost = pd.concat([found.trials[~own].assign(status="diverged", seed=seed) for seed in range(3)])
    floor = replace(found, trials=pd.concat([found.trials[own], lost], ignore_index=True))
    rows = rows_of(measure_differences(floor, seed=0), "normalised_regret", "own")
    assert rows.loc["b", "reason"] == "at floor"


def test_shares_count_the_pairs_that_are_there():
    differences = np.random.default_rng(0).normal(0.5, 1.0, (20, 4))
    holes = differences.copy()
    holes[np.arange(4), np.arange(4)] = np.nan
    for sampled in (False, True):
        whole, holed = (probability_of_improvement(each, sampled=sampled) for each in (differences, holes))
        assert holed.estimate == pytest.approx(whole.estimate, abs=0.05)
        assert holed.high - holed.low == pytest.approx(whole.high - whole.low, rel=0.3)
    agreed = probability_of_improvement(np.where(np.isfinite(holes), 1.0, np.nan), sampled=False)
    assert (agreed.estimate, agreed.low) == (1.0, pytest.approx(0.025 ** (1 / 4)))
    own, luck = np.random.default_rng(1).normal(0.0, 1.0, (20, 1)), np.array([0.0, 3.0, -2.0, 1.0])
    without_luck = sign_flip_p(own + np.full(4, luck.mean()), seed=0)
    assert sign_flip_p(own + luck + 0 * holes, seed=0) == pytest.approx(without_luck)
