"""Batch policies against the usual one, at equal updates and at equal time: choosing batches is not free."""

import math
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pandas as pd

from analysis.estimation.intervals import Estimate, around, missing
from analysis.labels import counted
from analysis.table import Table

AXIS = "batch_policy"
_USUAL = "shuffled"

COLUMNS = (
    "dataset", "outcome", "family", "policy", "baseline", "at_equal", "estimate", "low", "high", "method",
    "n_configs", "n_seeds", "updates", "seconds", "reason",
)  # fmt: skip


def compare_policies(table: Table, history: pd.DataFrame, *, otherwise: str) -> pd.DataFrame:
    """Paired differences of the outcome between each policy and `shuffled`, else the first policy of the axis.

    A pair has the same family, setting and seed. At equal updates both count as they were after as many as the shorter
    of the two made; at equal time, as they were when the faster of the two ended, where time is that of training and of
    choosing batches. What counts is the last evaluation until then, so that nothing is interpolated.

    Args:
        history: evaluated epochs of the table's trials.
        otherwise: the outcome that is compared where the table's is measured at the end only.

    Returns:
        A row a data set, family, policy and kind of equality: the mean difference over settings with Student's interval
        over seeds, in the outcome's own direction; and the updates and seconds that the policy's trials took in all.
    """
    trials = table.trials
    axis = next((axis for axes in table.axes.values() for axis in axes if axis.name == AXIS), None)
    if axis is None or len(axis.levels or ()) < 2 or not {"train_seconds", "selection_seconds"} <= set(trials):
        return pd.DataFrame(columns=list(COLUMNS))
    outcome = _outcome(history, table.outcome, otherwise)
    well = trials[trials["status"] == "ok"]
    well = well.assign(seconds=well["train_seconds"] + well["selection_seconds"])
    curves = _curves(well, history, outcome)
    rows = [
        row
        for (dataset, family), mine in well.groupby(["dataset", "family"], sort=False)
        for row in _rows(table, str(dataset), str(family), mine, curves, outcome)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _outcome(history: pd.DataFrame, outcome: str, otherwise: str) -> str:
    """The outcome, unless it is measured at the end alone and the other one is not."""
    if not {"epoch", outcome, otherwise} <= set(history):
        return outcome
    on_the_way = history[history["epoch"] < history.groupby("trial_id")["epoch"].transform("max")]
    return outcome if on_the_way[outcome].notna().any() or on_the_way[otherwise].isna().all() else otherwise


Curves = dict[str, tuple[np.ndarray, np.ndarray]]


def _curves(trials: pd.DataFrame, history: pd.DataFrame, outcome: str) -> Curves:
    """Trial -> updates and outcomes of its evaluations, the last one included."""
    parts = [trials[["trial_id", "updates", outcome]]]
    if {"updates", outcome} <= set(history):
        parts.append(history[["trial_id", "updates", outcome]])
    every = pd.concat(parts, ignore_index=True).dropna().drop_duplicates(["trial_id", "updates"]).sort_values("updates")
    return {
        str(trial): (rows["updates"].to_numpy(float), rows[outcome].to_numpy(float))
        for trial, rows in every.groupby("trial_id", sort=False)
    }


def _rows(
    table: Table, dataset: str, family: str, trials: pd.DataFrame, curves: Curves, outcome: str
) -> Iterator[dict[str, object]]:
    (axis,) = (axis for axis in table.axes[family] if axis.name == AXIS)
    policies = [policy for policy in axis.levels if (trials[AXIS] == policy).any()]
    baseline = _USUAL if _USUAL in policies else policies[0]
    others = [axis.name for axis in table.axes[family] if axis.varies and axis.name != AXIS]
    pairs = trials[trials[AXIS] == baseline]
    for policy in (policy for policy in policies if policy != baseline):
        both = pairs.merge(trials[trials[AXIS] == policy], on=[*others, "seed"], suffixes=("_usual", ""))
        for equal in ("updates", "time"):
            differences = np.array([_difference(row, curves, equal=equal) for row in both.to_dict("records")])
            found = _estimate(both["seed"].to_numpy(), differences)
            yield {
                "dataset": dataset, "outcome": outcome, "family": family, "policy": policy, "baseline": baseline,
                "at_equal": equal, **asdict(found), "n_configs": len(both.drop_duplicates(others)) if others else 1,
                "n_seeds": both["seed"].nunique(), "updates": both["updates"].mean(), "seconds": both["seconds"].mean(),
            }  # fmt: skip


def _difference(pair: dict[object, object], curves: Curves, *, equal: str) -> float:
    """Of one pair of trials; NaN where one of them was not evaluated early enough."""
    updates = [float(str(pair[name])) for name in ("updates", "updates_usual")]
    budgets = [min(updates)] * 2
    if equal == "time":
        seconds = [float(str(pair[name])) for name in ("seconds", "seconds_usual")]
        budgets = [total * min(seconds) / own for total, own in zip(updates, seconds, strict=True)]
    own, usual = (
        _until(curves.get(str(pair[name])), budget)
        for name, budget in zip(("trial_id", "trial_id_usual"), budgets, strict=True)
    )
    return own - usual


def _until(curve: tuple[np.ndarray, np.ndarray] | None, updates: float) -> float:
    """The outcome of the last evaluation after at most so many updates."""
    if curve is None:
        return math.nan
    place = int(np.searchsorted(curve[0], updates + 1e-6, side="right")) - 1
    return float(curve[1][place]) if place >= 0 else math.nan


def _estimate(seeds: np.ndarray, differences: np.ndarray) -> Estimate:
    """The mean of the seeds' means: all runs of a seed share its luck."""
    told = np.isfinite(differences)
    if not told.any():
        return missing("not evaluated that early: lower evaluation.every")
    means = pd.Series(differences[told]).groupby(seeds[told]).mean()
    error = means.std(ddof=1) / math.sqrt(len(means)) if len(means) > 1 else math.nan
    found = around(float(means.mean()), float(error), seeds=len(means), method="paired; mean of seeds' means")
    left_out = int((~told).sum())
    return found.noting(f"{counted(left_out, 'pair')} without an evaluation that early") if left_out else found
