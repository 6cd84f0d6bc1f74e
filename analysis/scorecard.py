"""The scorecard: a row a family, robustness measured from the best of all families."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.cells import Cells, all_cells
from analysis.labels import level
from analysis.table import Table
from analysis.untrained import untrained_mean, untrained_rows


def scorecard(measures: pd.DataFrame, table: Table) -> pd.DataFrame:
    """The `common` measures of every family, wide, the most robust first.

    Args:
        measures: what `analysis.robustness.measures` returned for this table.

    Returns:
        A row a family and data set, by near-optimal mass at the middle tolerance, then by regret; the untrained
        encoder comes last. Columns: dataset, family, is_baseline (whether it is untrained), best, plug_in_best,
        near_optimal_mass_<tolerance> of each tolerance, normalised_regret, worst_case, seed_sd, failure_rate,
        each with _low and _high unless it has none; n_configs, n_seeds, n_failed, best_setting (the one chosen
        on all seeds).
    """
    rows = []
    for dataset in table.datasets:
        for family in all_cells(table, dataset, table.outcome):
            own = measures[(measures["dataset"] == dataset) & (measures["family"] == family.family)]
            rows.append(_row(own, family, table))
    middle = sorted(table.tolerances)[len(table.tolerances) // 2]
    columns = ["dataset", _mass_column(middle), "normalised_regret", "family"]
    frame = pd.DataFrame(rows)
    if len(frame):
        frame = frame.sort_values(columns, ascending=[True, False, True, True], kind="stable", ignore_index=True)
    untrained = [row for dataset in table.datasets for row in _untrained(table, dataset)]
    if not untrained:
        return frame
    below = pd.DataFrame(untrained)
    return pd.concat([frame, below.reindex(columns=frame.columns)], ignore_index=True) if len(frame) else below


def _row(own: pd.DataFrame, family: Cells, table: Table) -> dict[str, Any]:
    row: dict[str, Any] = {"dataset": family.dataset, "family": family.family, "is_baseline": False}
    row |= _numbers(own, "best", "best")
    row["plug_in_best"] = _numbers(own, "best_plug_in", "value")["value"]
    for tolerance in sorted(table.tolerances):
        found = own[(own["reference"] == "common") & (own["tolerance"] == tolerance)]
        row |= _numbers(found, "near_optimal_mass", _mass_column(tolerance))
    row |= _numbers(own[own["reference"] == "common"], "normalised_regret", "normalised_regret")
    for measure in ("worst_case", "seed_sd", "failure_rate"):
        row |= _numbers(own, measure, measure)
    row |= {name: int(own[name].iloc[0]) for name in ("n_configs", "n_seeds", "n_failed")}
    setting = ", ".join(f"{name}={level(value)}" for name, value in family.chosen_setting.items())
    return row | {"best_setting": setting}


def _numbers(own: pd.DataFrame, measure: str, column: str) -> dict[str, float]:
    found = own[own["measure"] == measure].iloc[0]
    return {column: found["estimate"], f"{column}_low": found["low"], f"{column}_high": found["high"]}


def _mass_column(tolerance: float) -> str:
    return f"near_optimal_mass_{tolerance:g}"


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
