from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers
from simulated import AXES, GRID, hill, one_row, runs, scattered, study, table

from analysis.estimation.cells import cells
from analysis.sensitivity import COLUMNS, indices
from analysis.sensitivity.anova import anova, factorial
from analysis.sensitivity.decomposition import all_subsets, index_weights, subset_variances
from analysis.sensitivity.good_region import good_region_importance, good_weights
from analysis.sensitivity.gp_indices import BlockNoise, Nodes, quadrature
from analysis.sensitivity.grid_indices import grid_indices, variance_shares
from analysis.table import Axis


def slow_closed(values, weights, inside):
    """Var E[f | x_u] by loops over levels."""
    shape, total, mean = values.shape, 0.0, 0.0
    every = list(np.ndindex(*shape))
    mass = {x: float(np.prod([w[i] for w, i in zip(weights, x, strict=True)])) for x in every}
    conditional, share = {}, {}
    for x in every:
        key = tuple(x[axis] for axis in inside)
        conditional[key] = conditional.get(key, 0.0) + mass[x] * values[x]
        share[key] = share.get(key, 0.0) + mass[x]
        mean += mass[x] * values[x]
    for key, found in conditional.items():
        total += share[key] * (found / share[key] - mean) ** 2
    return total


@given(integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_indices_equal_slow_loops_under_any_weights(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 5, size=3))
    values, weights = rng.normal(size=shape) + 5, [rng.dirichlet(np.ones(count)) for count in shape]
    variances = subset_variances(values[None], weights)[0]
    whole = slow_closed(values, weights, (0, 1, 2))
    assert variances.sum() == pytest.approx(whole)
    closed = {u: slow_closed(values, weights, u) for size in range(4) for u in combinations(range(3), size)}
    for measure, axis, weight in index_weights(all_subsets(3)):
        others = tuple(other for other in range(3) if other != axis)
        orders = [
            closed[tuple(sorted((*order[: order.index(axis)], axis)))]
            - closed[tuple(sorted(order[: order.index(axis)]))]
            for order in permutations(range(3))
        ]
        wanted = {"S1": closed[(axis,)], "ST": whole - closed[others], "shapley": np.mean(orders)}[measure]
        assert weight @ variances == pytest.approx(wanted)


def a_grid(seed=0, *, seeds=4, truth=hill, **noise):
    rows = runs(GRID, truth(GRID), seeds=seeds, rng=np.random.default_rng(seed), **noise)
    return table({"f": rows})


def of(one):
    return cells(one, "digits", "f", "linear_top1")


def test_the_table_equals_textbook_sums_of_squares():
    family = of(a_grid(noise_sd=0.02, seed_sd=0.01, block_sd=0.01))
    y = family.outcome.reshape(3, 5, 4)
    rows = anova(factorial(family)).set_index("term")
    mean = y.mean()
    b, t, s = y.mean(axis=(1, 2)), y.mean(axis=(0, 2)), y.mean(axis=(0, 1))
    bt, bs = y.mean(axis=2), y.mean(axis=1)
    wanted = {
        "batch_size": (20 * sum((b - mean) ** 2), 2), "temperature": (12 * sum((t - mean) ** 2), 4),
        "batch_size*temperature": (4 * ((bt - b[:, None] - t + mean) ** 2).sum(), 8),
        "seed": (15 * sum((s - mean) ** 2), 3), "seed*batch_size": (5 * ((bs - b[:, None] - s + mean) ** 2).sum(), 6),
        "unexplained": (((y - bt[:, :, None] - bs[:, None, :] + b[:, None, None]) ** 2).sum(), 36),
    }  # fmt: skip
    for term, (squares, df) in wanted.items():
        assert rows.loc[term, "squares"] == pytest.approx(squares)
        assert rows.loc[term, "df"] == df
    assert rows["squares"].sum() == pytest.approx(((y - mean) ** 2).sum())
    block, residual = rows.loc["seed*batch_size", "mean_square"], rows.loc["unexplained", "mean_square"]
    assert rows.loc["batch_size", "f"] == pytest.approx(rows.loc["batch_size", "mean_square"] / block)
    assert rows.loc["temperature", "f"] == pytest.approx(rows.loc["temperature", "mean_square"] / residual)
    total = rows["squares"].sum()
    assert rows.loc["batch_size", "omega2"] == pytest.approx((wanted["batch_size"][0] - 2 * block) / (total + block))
    assert rows["omega2"].sum() == pytest.approx(1.0)


def test_corrections_are_those_of_the_level_weights():
    grid = factorial(of(a_grid(noise_sd=0.02, block_sd=0.05)))
    e = grid.residual.mean / 4
    block = max(grid.block.mean - grid.residual.mean, 0.0) / 5 / 4
    q = np.array([1 / 3, 1 / 5])
    less = grid.variances - grid.corrected
    assert block > 0
    assert less[1] == pytest.approx(e * (1 - q[0]) * q[1] + block * (1 - q[0]))
    assert less[2] == pytest.approx(e * (1 - q[1]) * q[0])
    assert less[2] + less[3] == pytest.approx(e * (1 - q[1]))
    assert less.sum() == pytest.approx(e * (1 - q.prod()) + block * (1 - q[0]))


def test_a_missing_trial_is_filled_in_and_costs_a_degree_of_freedom():
    family = of(a_grid(noise_sd=0.0, seed_sd=0.02, block_sd=0.02))
    outcome = family.outcome.copy()
    outcome[[3, 7], [1, 2]] = np.nan
    whole, holed = factorial(family), factorial(replace(family, outcome=outcome))
    # Without residual noise what is filled in is what was there.
    np.testing.assert_allclose(holed.variances, whole.variances, atol=1e-12)
    assert (holed.residual.df, holed.filled) == (whole.residual.df - 2, 2)


def test_intervals_cover_with_and_without_common_seed_effects():
    exact = subset_variances(hill(GRID).reshape(1, 3, 5), [np.full(3, 1 / 3), np.full(5, 0.2)])[0]
    for noise in ({}, {"seed_sd": 0.008, "block_sd": 0.004}):
        hits = []
        for seed in range(30):
            grid = factorial(of(a_grid(seed, seeds=3, noise_sd=0.01, **noise)))
            found = {(measure, axis): one for measure, axis, one in grid_indices(grid, seed=seed)}
            for name, place in (("batch_size", 1), ("temperature", 2)):
                one = found["S1_corrected", name]
                hits.append(one.low <= exact[place] / exact.sum() <= one.high)
        assert np.mean(hits) >= 0.9


def test_shares_of_variance_cover_and_leave_room_for_nothing_else():
    hits = []
    for seed in range(50):
        grid = factorial(of(a_grid(seed, seeds=3, noise_sd=0.01)))
        shares = dict(variance_shares(grid, seed=seed))
        v = hill(GRID).reshape(3, 5).mean(axis=0).var()
        wanted = v / (hill(GRID).var() + 0.01**2)
        hits.append(shares["temperature"].low <= wanted <= shares["temperature"].high)
    assert np.mean(hits) >= 0.9


def test_every_family_has_its_rows_in_the_contract_of_columns():
    found = indices(study(num_families=2, seeds=3), seed=0)
    assert tuple(found.columns) == COLUMNS
    measures = set(found["measure"])
    assert measures == {"S1", "ST", "S1_corrected", "ST_corrected", "shapley", "omega2", "good_region_importance"}
    assert set(found["family"]) == {"family_0", "family_1"}
    finite = found[found["low"].notna()]
    assert (finite["low"] <= finite["estimate"]).all()
    assert (finite["estimate"] <= finite["high"]).all()
    shapley = found[found["measure"] == "shapley"].groupby("family")["estimate"].sum()
    assert shapley.to_numpy() == pytest.approx(1.0, abs=1e-6)


def test_row_order_changes_nothing():
    whole = scattered(configurations=30)
    shuffled = replace(whole, trials=whole.trials.sample(frac=1, random_state=1).reset_index(drop=True))
    pd.testing.assert_frame_equal(indices(whole, seed=0), indices(shuffled, seed=0))


def test_scattered_designs_agree_with_the_surface():
    found = indices(scattered(configurations=60), seed=0)
    u = np.linspace(0, 1, 201)
    truth = hill(pd.DataFrame({"batch_size": np.repeat([16, 64, 256], 201), "temperature": np.tile(0.05 * 40**u, 3)}))
    exact = subset_variances(truth.reshape(1, 3, 201), [np.full(3, 1 / 3), np.full(201, 1 / 201)])[0]
    for name, place in (("batch_size", 1), ("temperature", 2)):
        row = one_row(found, "S1_corrected", family="hill", axis=name)
        assert row["estimate"] == pytest.approx(exact[place] / exact.sum(), abs=0.05)
        assert one_row(found, "S1_forest", family="hill", axis=name)["estimate"] == pytest.approx(
            row["estimate"], abs=0.25
        )
    assert one_row(found, "held_out_r2", family="hill")["estimate"] > 0.8


def test_a_surrogate_that_explains_nothing_gives_no_index():
    found = indices(scattered(configurations=40, truth=lambda rows: np.full(len(rows), 0.9)), seed=0)
    row = one_row(found, "ST_corrected", family="hill", axis="temperature")
    assert np.isnan(row["estimate"])
    assert "below 0.3" in row["reason"]
    assert "S1_forest" not in set(found["measure"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows[rows["seed"] == 0], "one seed"),
        (lambda rows: rows.assign(linear_top1=0.5, linear_top1_validation=0.5), "constant outcome"),
        (lambda rows: rows.assign(status="diverged", linear_top1=np.nan), "all failed"),
    ],
)
def test_too_little_data_is_a_reason(change, reason):
    whole = a_grid()
    found = indices(replace(whole, trials=change(whole.trials)), seed=0)
    row = one_row(found, "ST_corrected", axis="temperature")
    assert np.isnan(row["estimate"])
    assert reason in row["reason"]


def test_one_seed_still_shows_the_indices_as_they_are():
    whole = a_grid()
    found = indices(replace(whole, trials=whole.trials[whole.trials["seed"] == 0]), seed=0)
    assert np.isfinite(one_row(found, "ST", axis="temperature")["estimate"])
    assert found[found["measure"] == "omega2"]["estimate"].isna().all()


def test_an_axis_with_one_level_decides_nothing():
    whole = a_grid()
    trials = whole.trials[whole.trials["batch_size"] == 64]
    row = one_row(indices(replace(whole, trials=trials), seed=0), "ST_corrected", axis="batch_size")
    assert (row["estimate"], row["reason"]) == (0.0, "one level")


def test_rows_that_a_search_chose_give_no_index():
    found = indices(replace(a_grid(), design="tpe"), seed=0)
    assert found["estimate"].isna().all()
    assert set(found["reason"]) == {"adaptive design"}


def test_the_good_region_of_a_grid_by_hand():
    # Twenty configurations; the best two share the level 3 of the first axis and differ on the second.
    axes = (Axis("a", "linear", (0, 1, 2, 3), 0.0, 3.0), Axis("b", "linear", (0, 1, 2, 3, 4), 0.0, 4.0))
    rows = pd.DataFrame([(a, b) for a in range(4) for b in range(5)], columns=["a", "b"]).assign(seed=0, status="ok")
    rows["linear_top1"] = 0.1 * rows["a"] + 0.5 * ((rows["a"] == 3) & rows["b"].isin([0, 4]))
    found = dict(good_region_importance(of(table({"f": rows}, axes=axes)), seed=0))
    assert found["a"].estimate == pytest.approx(0.01 * (3 * 0.25 * 1 + 0.25 * 9))
    assert found["b"].estimate == pytest.approx(0.01 * (3 * 0.2 * 1 + 2 * 0.2 * 1.5**2))


def test_importances_of_noise_stay_within_what_random_tenths_give():
    # One axis in unequal shares, one of few and one of many levels.
    rng, above = np.random.default_rng(0), []
    axes = tuple(Axis(name, "linear", tuple(range(k)), 0.0, k - 1.0) for name, k in (("a", 2), ("b", 3), ("c", 8)))
    for draw in range(120):
        rows = pd.DataFrame({
            "a": rng.choice(2, 60, p=[0.8, 0.2]), "b": rng.integers(3, size=60), "c": rng.integers(8, size=60),
        }).assign(seed=0, status="ok", linear_top1=rng.uniform(size=60)).drop_duplicates(["a", "b", "c"])  # fmt: skip
        found = good_region_importance(of(table({"f": rows}, axes=axes, design="random")), seed=draw)
        above.append(["no more" not in one.reason for _, one in found])
    assert np.all(np.mean(above, axis=0) <= 0.12)


def test_noise_of_the_batch_sizes_is_drawn_and_expected_alike():
    noise, rng = BlockNoise(1, 0.04, 30.0, 3), np.random.default_rng(0)
    moved, spare = noise.drawn(20000, 3, rng)
    assert np.var(moved, axis=1).mean() == pytest.approx(spare.mean(), rel=0.02)
    assert spare.mean() == pytest.approx(noise.expected * 30 / 28, rel=0.02)
    nodes = Nodes((0, 1), (np.full(2, 0.5), np.full(3, 1 / 3)), np.zeros((6, 2)))
    np.testing.assert_array_equal(nodes.along(1, np.array([[1.0, 2.0, 3.0]])), [[1, 2, 3, 1, 2, 3]])


def test_ties_at_the_border_share_the_rest_of_the_best_tenth():
    weights = good_weights(np.array([9.0, 5.0, 5.0, 5.0, 5.0] + [1.0] * 15))
    np.testing.assert_allclose(weights, [0.5, *[0.125] * 4, *[0.0] * 15])


def test_quadrature_is_exact_for_polynomials_and_lists():
    axes = (Axis("t", "log", (), 0.01, 1.0), AXES[0], Axis("k", None, ("x", "y"), np.nan, np.nan))
    nodes = quadrature(axes, np.array([0.3, 1.0, 1.0, 1.0]))
    u, b, k = nodes.points[:, 0], nodes.points[:, 1], np.sqrt(2) * nodes.points[:, 2]
    variances = nodes.variances((u**3 + 2 * b + k)[None])[0]
    wanted = [0, 1 / 7 - 1 / 16, 4 * np.var([0, 0.5, 1]), 0, 0.25, 0, 0, 0]
    np.testing.assert_allclose(variances, wanted, atol=1e-12)
