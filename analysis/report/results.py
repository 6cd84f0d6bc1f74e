"""Every number of the report, computed once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from analysis.collapse import collapse
from analysis.comparison import compare
from analysis.comparison.policies import compare_policies
from analysis.comparison.transfer import transfer
from analysis.estimation.cells import all_cells
from analysis.figures import Level
from analysis.robustness import measures_and_curve
from analysis.robustness.scorecard import scorecard
from analysis.robustness.untrained import untrained_mean, untrained_rows
from analysis.sensitivity import indices
from analysis.surfaces import outcomes_of, surfaces
from analysis.surfaces.profiles import profiles
from analysis.table import Table
from analysis.table.exploratory import split

SEED = 0
"""Of every random draw of the analysis: the same table gives the same report."""

RANK = "z_effective_rank"
NEAREST_NEIGHBOURS = "knn_top1"

Setting = Mapping[str, float | int | str]


@dataclass(frozen=True)
class Results:
    """The tables behind the report.

    Args:
        table: the trials.
        measures: rows of robustness.csv.
        curve: near-optimal mass over the tolerance, in the same columns.
        scorecard: a row a family and data set; empty where no trial has the outcome.
        profiles: the outcome along one axis at a time.
        surfaces: outcome -> its surface.
        history: evaluated epochs of the trials that ended well.
        comparisons: rows of comparisons.csv; empty without a reference.
        sensitivity: rows of sensitivity.csv.
        transfer: rows of transfer.csv.
        chosen: (dataset, family) -> the values of its axes at the setting chosen on all seeds.
    """

    table: Table
    measures: pd.DataFrame
    curve: pd.DataFrame
    scorecard: pd.DataFrame
    profiles: pd.DataFrame
    surfaces: Mapping[str, pd.DataFrame]
    history: pd.DataFrame
    comparisons: pd.DataFrame
    sensitivity: pd.DataFrame
    transfer: pd.DataFrame
    policies: pd.DataFrame
    chosen: Mapping[tuple[str, str], Setting]

    @property
    def datasets(self) -> list[str]:
        """The data sets with at least one trial, trained or not."""
        return sorted({*self.table.trials["dataset"], *self.table.baseline["dataset"]})

    @property
    def middle_tolerance(self) -> float:
        """The tolerance that the headline is about."""
        return self.table.tolerances[len(self.table.tolerances) // 2]

    def of(self, dataset: str) -> "Results":
        """The same for one data set."""

        def mine(frame: pd.DataFrame) -> pd.DataFrame:
            return frame if frame.empty else frame[frame["dataset"] == dataset].reset_index(drop=True)

        table = replace(self.table, trials=mine(self.table.trials), baseline=mine(self.table.baseline))
        return Results(
            table=table,
            measures=mine(self.measures),
            curve=mine(self.curve),
            scorecard=mine(self.scorecard),
            profiles=mine(self.profiles),
            surfaces={outcome: mine(frame) for outcome, frame in self.surfaces.items()},
            history=mine(self.history),
            comparisons=mine(self.comparisons),
            sensitivity=mine(self.sensitivity),
            transfer=mine(self.transfer),
            policies=mine(self.policies),
            chosen=self.chosen,
        )


def compute(table: Table, *, history: pd.DataFrame | None = None) -> Results:
    """Compute every number of the report, on one thread, so that the same table gives the same bytes.

    Args:
        table: from a study or from any file.
        history: evaluated epochs of its trials; None where there are none.
    """
    with threadpool_limits(1):
        return _compute(table, history)


def _compute(table: Table, history: pd.DataFrame | None) -> Results:
    rows, curve = measures_and_curve(table, seed=SEED)
    collapsed = collapse(table, seed=SEED, history=history)
    rows = pd.concat([rows, collapsed], ignore_index=True) if len(collapsed) else rows
    kept, aside = split(table)
    # Of a study that only searched, surfaces show where it went; nothing else is estimated from it.
    shown = kept if len(kept.trials) else aside
    epochs = pd.DataFrame(columns=["dataset", "family"])
    if history is not None:
        epochs = history[history["trial_id"].isin(table.trials.loc[table.trials["status"] == "ok", "trial_id"])]
    return Results(
        table=table,
        measures=rows,
        curve=curve,
        scorecard=scorecard(rows, table),
        profiles=profiles(shown, table.outcome, seed=SEED),
        surfaces={outcome: surfaces(shown, outcome, seed=SEED) for outcome in outcomes_of(shown)},
        history=epochs,
        comparisons=compare(table, seed=SEED),
        sensitivity=indices(table, seed=SEED),
        transfer=transfer(table),
        policies=compare_policies(kept, epochs, otherwise=NEAREST_NEIGHBOURS),
        chosen={
            (dataset, found.family): found.chosen_setting
            for dataset in table.datasets
            for found in all_cells(table, dataset, table.outcome)
        },
    )


def untrained_level(table: Table, dataset: str, outcome: str) -> Level | None:
    """Mean of the untrained encoders over seeds with its t interval; None where none has finished."""
    mean = untrained_mean(untrained_rows(table, dataset), outcome)
    return Level(mean.estimate, mean.low, mean.high) if math.isfinite(mean.estimate) else None


def has_failed(trials: pd.DataFrame) -> "pd.Series[bool]":
    """Which trials failed; one that was stopped early did not."""
    return ~trials["status"].isin(["ok", "stopped"])


def setting_means(table: Table, dataset: str) -> pd.DataFrame:
    """A row a configuration: family, mean (over seeds, failures at the floor), always_failed."""
    parts = [
        pd.DataFrame({
            "family": found.family, "mean": found.sign * found.means,
            "always_failed": ~np.isfinite(found.succeeded).any(axis=1),
        })
        for found in all_cells(table, dataset, table.outcome)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["family", "mean", "always_failed"])
