"""Batch policies at equal updates and at equal time."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from simulated import table as simulated
from studies_for_tests import tiny

from analysis import report
from analysis.comparison.policies import COLUMNS, compare_policies
from analysis.report.descriptions import COLUMNS as COLUMNS_TOLD
from analysis.table import Axis
from analysis.table.store import from_store
from robustness import store
from robustness.store import read_history
from robustness.sweep import sweep

POLICIES = ("shuffled", "ordered", "fixed")
AXES = (
    Axis("batch_policy", None, POLICIES, math.nan, math.nan),
    Axis("temperature", "log", (0.1, 0.5), 0.1, 0.5, default=0.2),
)
RATES = {"shuffled": 0.010, "ordered": 0.015, "fixed": 0.005}
"""Accuracy an update: a trial's curve is a straight line."""
SECONDS = {"shuffled": 10.0, "ordered": 20.0, "fixed": 10.0}


UPDATES = dict.fromkeys(POLICIES, 40)


def table_and_history(*, updates=UPDATES, every=10, seeds=4, spread=0.0):
    rng, rows, epochs = np.random.default_rng(0), [], []
    for seed in range(seeds):
        luck = spread * rng.normal()
        for policy in POLICIES:
            gain = spread * rng.normal()
            for temperature in (0.1, 0.5):
                name, total = f"{policy} {temperature} {seed}", updates[policy]
                values = {k: RATES[policy] * k + luck + temperature + gain * (k == total) for k in range(1, total + 1)}
                rows.append({
                    "trial_id": name, "batch_policy": policy, "temperature": temperature, "seed": seed, "status": "ok",
                    "linear_top1": values[total], "linear_top1_validation": values[total],
                    "knn_top1": values[total] / 2,
                    "updates": total, "train_seconds": SECONDS[policy] / 2, "selection_seconds": SECONDS[policy] / 2,
                })  # fmt: skip
                epochs += [
                    {
                        "trial_id": name,
                        "epoch": k / 10,
                        "updates": k,
                        "linear_top1": values[k],
                        "knn_top1": values[k] / 2,
                    }
                    for k in range(every, total + 1, every)
                    for value in [values[k]]
                ]
    return simulated({"dcl": pd.DataFrame(rows)}, axes=AXES), pd.DataFrame(epochs)


def found(table, history, otherwise="knn_top1"):
    rows = compare_policies(table, history, otherwise=otherwise)
    assert list(rows.columns) == list(COLUMNS)
    return rows.set_index(["policy", "at_equal"])


def test_at_equal_updates_whole_trials_are_compared():
    rows = found(*table_and_history())
    assert rows.loc[("ordered", "updates"), "estimate"] == pytest.approx(40 * 0.005)
    assert rows.loc[("fixed", "updates"), "estimate"] == pytest.approx(-40 * 0.005)
    assert set(rows["baseline"]) == {"shuffled"}
    assert set(rows["n_configs"]) == {2}
    assert set(rows["n_seeds"]) == {4}


def test_at_equal_time_the_slower_policy_counts_as_it_was_then():
    rows = found(*table_and_history())
    # When shuffled ended, ordered had made 20 of its 40 updates.
    assert rows.loc[("ordered", "time"), "estimate"] == pytest.approx(20 * 0.015 - 40 * 0.010)
    assert rows.loc[("fixed", "time"), "estimate"] == rows.loc[("fixed", "updates"), "estimate"]
    assert rows.loc[("ordered", "time"), "seconds"] == 20


def test_nothing_is_interpolated():
    rows = found(*table_and_history(every=15))
    assert rows.loc[("ordered", "time"), "estimate"] == pytest.approx(15 * 0.015 - 40 * 0.010)


def test_a_policy_with_fewer_updates_is_compared_at_those():
    rows = found(*table_and_history(updates={"shuffled": 40, "ordered": 40, "fixed": 10}))
    assert rows.loc[("fixed", "updates"), "estimate"] == pytest.approx(10 * (0.005 - 0.010))
    assert rows.loc[("fixed", "updates"), "updates"] == 10


def test_without_an_evaluation_on_the_way_there_is_no_number_and_a_reason():
    table, history = table_and_history()
    rows = found(table, history[history["updates"] == 40])
    assert np.isnan(rows.loc[("ordered", "time"), "estimate"])
    assert rows.loc[("ordered", "time"), "reason"] == "not evaluated that early: lower evaluation.every"
    assert rows.loc[("ordered", "updates"), "estimate"] == pytest.approx(0.2)


def test_an_outcome_that_is_measured_at_the_end_alone_gives_way_to_the_other():
    table, history = table_and_history()
    rows = found(table, history.assign(linear_top1=history["linear_top1"].where(history["updates"] == 40)))
    assert set(rows["outcome"]) == {"knn_top1"}
    assert rows.loc[("ordered", "time"), "estimate"] == pytest.approx((20 * 0.015 - 40 * 0.010) / 2)


def test_trials_that_failed_are_in_no_pair():
    table, history = table_and_history()
    failed = table.trials["trial_id"] == "ordered 0.1 0"
    trials = table.trials.assign(status=table.trials["status"].mask(failed, "diverged"))
    rows = found(replace(table, trials=trials), history)
    assert rows.loc[("ordered", "updates"), "estimate"] == pytest.approx(0.2)


def test_intervals_are_those_of_the_seeds():
    table, history = table_and_history(spread=0.01, seeds=5)
    row = found(table, history).loc[("ordered", "updates")]
    both = table.trials.pivot_table(index=["temperature", "seed"], columns="batch_policy", values="linear_top1")
    means = (both["ordered"] - both["shuffled"]).groupby("seed").mean()
    half = 2.7764451052 * means.std(ddof=1) / math.sqrt(5)
    assert row["estimate"] == pytest.approx(means.mean())
    assert (row["low"], row["high"]) == pytest.approx((means.mean() - half, means.mean() + half))


def test_a_study_without_policies_has_no_such_table():
    table, history = table_and_history()
    without = replace(table, axes={"dcl": AXES[1:]})
    assert compare_policies(without, history, otherwise="knn_top1").empty


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Free embeddings under two policies, swept and reported."""
    folder = tmp_path_factory.mktemp("policies")
    study = tiny(
        data={"dataset": "pairs", "num_pairs": 4},
        model={"encoder": "table", "projector": [4]},
        training={"updates": 40},
        evaluation={"probes": [], "every": 2},
        axes={"batch_size": 2, "batch_policy": {"values": ["shuffled", "full"]}},
        families={"info_nce": {"temperature": {"values": [0.5, 1.0]}}, "dhel": {}, "untrained": "default"},
        analysis={"outcome": "simplex_distance"},
    )
    sweep(study, folder)
    report.write(folder)
    return folder


def test_the_report_compares_policies_and_draws_inner_products(swept):
    page = (swept / "report" / "index.html").read_text("utf-8")
    assert '<h2 id="policies-pairs-4">Batch policies</h2>' in page
    assert '<h2 id="products-pairs-4">Free embeddings</h2>' in page
    rows = pd.read_csv(swept / "report" / "tables" / "policies.csv")
    assert set(rows) == set(COLUMNS_TOLD["policies.csv"])
    assert set(rows["policy"]) == {"full"}
    assert set(rows["family"]) == {"info_nce", "dhel"}
    expected = compare_policies(from_store(swept), read_history(swept), otherwise="knn_top1")
    np.testing.assert_allclose(rows["estimate"], expected["estimate"])
    assert (swept / "report" / "figures" / "inner_products.svg").is_file()


def test_free_embeddings_are_stored_with_their_products(swept):
    rows = store.read(swept)
    assert (rows["status"] == "ok").all()
    trained = rows[rows["loss"] != "untrained"]
    assert {len(values) for values in rows["inner_products"]} == {16}
    assert trained["full_loss_gap"].notna().all()
    assert rows.loc[rows["loss"] == "untrained", "full_loss_gap"].isna().all()
