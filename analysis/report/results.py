"""Every number of the report, computed once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.cells import FAILED, cells
from analysis.figures import Level
from analysis.robustness import measures_and_curve, profiles, scorecard
from analysis.statistics import t_quantile
from analysis.surfaces import surfaces
from analysis.table import Table
from robustness import store

SEED = 0
"""Of every random draw of the analysis: the same store gives the same report."""

RANK = "z_effective_rank"
NEAREST_NEIGHBOURS = "knn_top1"

_CELL_KEYS = ["dataset", "family", "x", "y", "others"]


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
    """

    table: Table
    measures: pd.DataFrame
    curve: pd.DataFrame
    scorecard: pd.DataFrame
    profiles: pd.DataFrame
    surfaces: Mapping[str, pd.DataFrame]
    history: pd.DataFrame

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
        )


def compute(table: Table, folder: Path) -> Results:
    """Compute every number of the report."""
    rows, curve = measures_and_curve(table, seed=SEED)
    history = store.read_history(folder)
    ended_well = table.trials.loc[table.trials["status"] == "ok", "trial_id"]
    outcomes = [table.outcome]
    if table.trials[RANK].notna().any() and table.outcome != RANK:
        outcomes.append(RANK)
    if has_failed(table.trials).any():
        outcomes.append(FAILED)
    return Results(
        table=table,
        measures=rows,
        curve=curve,
        scorecard=scorecard(rows, table) if len(rows) else pd.DataFrame(),
        profiles=profiles(table, table.outcome),
        surfaces={outcome: _with_failures(table, outcome) for outcome in outcomes},
        history=history[history["trial_id"].isin(ended_well)],
    )


def untrained_level(table: Table, dataset: str, outcome: str) -> Level | None:
    """Mean of the untrained encoders over seeds with its t interval; None where none has finished."""
    rows = table.baseline[(table.baseline["dataset"] == dataset) & (table.baseline["status"] == "ok")]
    values = rows[outcome].dropna().to_numpy(float)
    if not len(values):
        return None
    mean = float(values.mean())
    if len(values) < 2:
        return Level(mean, math.nan, math.nan)
    half = t_quantile(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Level(mean, mean - half, mean + half)


def has_failed(trials: pd.DataFrame) -> "pd.Series[bool]":
    """Which trials failed; one that was stopped early did not."""
    return ~trials["status"].isin(["ok", "stopped"])


def setting_means(table: Table, dataset: str) -> dict[str, np.ndarray]:
    """Family -> the mean outcome of each of its configurations over seeds, failures at the floor."""
    means = {}
    for family in table.axes:
        found = cells(table, dataset, family, table.outcome)
        if found is not None:
            means[family] = found.sign * np.nanmean(found.outcome, axis=1)
    return means


def _with_failures(table: Table, outcome: str) -> pd.DataFrame:
    """A surface with the number of failed trials in each cell; a family without axes has one cell."""
    frame = _complete(table, outcome)
    shares = _complete(table, FAILED)[[*_CELL_KEYS, "estimate"]].rename(columns={"estimate": "failed_share"})
    frame = frame.merge(shares, on=_CELL_KEYS, how="left")
    counts = (frame.pop("failed_share") * frame["n"]).round()
    return frame.assign(num_failed=counts.where(frame["method"].str.startswith("cell"), 0.0))


def _complete(table: Table, outcome: str) -> pd.DataFrame:
    frame = surfaces(table, outcome, seed=SEED)
    single = [
        _single_cell(table, dataset, family, outcome)
        for dataset in table.datasets
        for family, axes in table.axes.items()
        if not axes
    ]
    cells_of_one = [row for row in single if row]
    if not cells_of_one:
        return frame
    extra = pd.DataFrame(cells_of_one, columns=frame.columns)
    return extra if frame.empty else pd.concat([frame, extra], ignore_index=True)


def _single_cell(table: Table, dataset: str, family: str, outcome: str) -> dict[str, object] | None:
    found = cells(table, dataset, family, outcome)
    if found is None:
        return None
    values = found.sign * found.outcome[np.isfinite(found.outcome)]
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return {
        "dataset": dataset, "outcome": outcome, "family": family, "x_axis": "", "x": math.nan, "y_axis": "",
        "y": math.nan, "others": "mean", "estimate": float(values.mean()),
        "standard_error": spread / math.sqrt(len(values)), "seed_sd": spread, "n": len(values),
        "method": "cell mean",
    }  # fmt: skip
