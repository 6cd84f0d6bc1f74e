"""The scorecard: a row a family, robustness measured from the best of all families."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.estimation.cells import all_cells
from analysis.labels import level
from analysis.robustness.untrained import untrained_mean, untrained_rows
from analysis.table import Table

_NUMBERS = ("estimate", "low", "high")
_COUNTS = ["n_configs", "n_seeds", "n_failed"]


def scorecard(measures: pd.DataFrame, table: Table) -> pd.DataFrame:
    """The `common` measures of every family, wide, the most robust first. In a notebook:

        card = scorecard(measures(table, seed=0), table)
        card[["family", "best", "normalised_regret"]]

    Args:
        measures: what `analysis.robustness.measures` returned for this table.

    Returns:
        A row a family and data set, by near-optimal mass at the middle tolerance, then by regret; families without
        either come after those, the untrained encoder last. Columns: dataset, family, is_baseline (whether it is
        untrained); of each measure with reference `common` its estimate, <measure>_low and <measure>_high, those
        with a tolerance as near_optimal_mass_<tolerance>; n_configs, n_seeds, n_failed, best_setting (the one
        chosen on all seeds).
    """
    common = measures[(measures["reference"] == "common") & (measures["family"] != "") & (measures["axis"] == "")]
    common = common[common["dataset"].isin(table.datasets)]
    names = list(_names(common))
    common = common.assign(name=names)
    keys = ["dataset", "family"]
    wide = common.pivot(index=keys, columns="name", values=list(_NUMBERS))
    order = [(number, name) for name in dict.fromkeys(names) for number in _NUMBERS]
    wide = wide.reindex(columns=pd.MultiIndex.from_tuples(order)) if order else wide
    wide.columns = pd.Index([name if number == "estimate" else f"{name}_{number}" for number, name in order])
    counts = common[common["measure"] == "best"].set_index(keys)[_COUNTS]
    frame = wide.join(counts).reset_index()
    settings = _settings(table)
    frame["best_setting"] = [settings.get(key, "") for key in zip(frame["dataset"], frame["family"], strict=True)]
    frame.insert(2, "is_baseline", False)
    if len(frame):
        middle = sorted(table.tolerances)[len(table.tolerances) // 2]
        by = ["dataset", f"near_optimal_mass_{middle:g}", "normalised_regret", "family"]
        frame = frame.sort_values(by, ascending=[True, False, True, True], kind="stable", ignore_index=True)
    untrained = [row for dataset in table.datasets for row in _untrained(table, dataset)]
    if not untrained:
        return frame
    below = pd.DataFrame(untrained)
    return pd.concat([frame, below.reindex(columns=frame.columns)], ignore_index=True) if len(frame) else below


def _names(rows: pd.DataFrame) -> Iterator[str]:
    for measure, tolerance in zip(rows["measure"], rows["tolerance"], strict=True):
        yield str(measure) if pd.isna(tolerance) else f"{measure}_{tolerance:g}"


def _settings(table: Table) -> dict[tuple[str, str], str]:
    """(data set, family) -> its chosen setting in words."""
    return {
        (dataset, found.family): ", ".join(f"{name}={level(value)}" for name, value in found.chosen_setting.items())
        for dataset in table.datasets
        for found in all_cells(table, dataset, table.outcome)
    }


def _untrained(table: Table, dataset: str) -> Iterator[dict[str, Any]]:
    every = untrained_rows(table, dataset)
    for label in [] if every.empty else every["family"].unique():
        rows = untrained_rows(table, dataset, label)
        mean = untrained_mean(rows, table.outcome)
        yield {
            "dataset": dataset,
            "family": label,
            "is_baseline": True,
            "best": mean.estimate,
            "best_low": mean.low,
            "best_high": mean.high,
            "n_configs": 1,
            "n_seeds": int(rows["seed"].nunique()),
            "n_failed": int((rows["status"] != "ok").sum()),
            "best_setting": "",
        }
