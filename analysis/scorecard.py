"""The scorecard: a row a family, robustness measured from the best of all families."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.cells import Cells, all_cells
from analysis.fitted import best_index
from analysis.intervals import around
from analysis.table import Table


def scorecard(measures: pd.DataFrame, table: Table) -> pd.DataFrame:
    """The `common` measures of every family, wide, the most robust first.

    Args:
        measures: what `analysis.robustness.measures` returned for this table.

    Returns:
        A row a family and data set, by near-optimal mass at the middle tolerance, then by regret; `untrained`
        comes last. Columns: dataset, family, best, plug_in_best, near_optimal_mass_<tolerance> of each
        tolerance, normalised_regret, worst_case, seed_sd, failure_rate, each with _low and _high unless it
        has none; n_configs, n_seeds, n_failed, best_setting.
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
    untrained = [_untrained(table, dataset) for dataset in table.datasets if len(_baseline(table, dataset))]
    return pd.concat([frame, pd.DataFrame(untrained, columns=frame.columns)], ignore_index=True) if untrained else frame


def setting_words(family: Cells) -> str:
    """The best configuration in words: `batch_size=64, temperature=0.316`."""
    best = family.settings.iloc[best_index(family)]
    return ", ".join(f"{axis.name}={_short(best[axis.name])}" for axis in family.axes)


def _row(own: pd.DataFrame, family: Cells, table: Table) -> dict[str, Any]:
    row: dict[str, Any] = {"dataset": family.dataset, "family": family.family}
    row |= _numbers(own, "best", "best")
    row["plug_in_best"] = _numbers(own, "best_plug_in", "value")["value"]
    for tolerance in sorted(table.tolerances):
        found = own[(own["reference"] == "common") & (own["tolerance"] == tolerance)]
        row |= _numbers(found, "near_optimal_mass", _mass_column(tolerance))
    row |= _numbers(own[own["reference"] == "common"], "normalised_regret", "normalised_regret")
    for measure in ("worst_case", "seed_sd", "failure_rate"):
        row |= _numbers(own, measure, measure)
    row |= {name: int(own[name].iloc[0]) for name in ("n_configs", "n_seeds", "n_failed")}
    return row | {"best_setting": setting_words(family)}


def _numbers(own: pd.DataFrame, measure: str, column: str) -> dict[str, float]:
    found = own[own["measure"] == measure].iloc[0]
    return {column: found["estimate"], f"{column}_low": found["low"], f"{column}_high": found["high"]}


def _mass_column(tolerance: float) -> str:
    return f"near_optimal_mass_{tolerance:g}"


def _baseline(table: Table, dataset: str) -> pd.DataFrame:
    return table.baseline[table.baseline["dataset"] == dataset] if len(table.baseline) else table.baseline


def _untrained(table: Table, dataset: str) -> dict[str, Any]:
    rows = _baseline(table, dataset).sort_values("seed", kind="stable")
    failed = rows["status"] != "ok"
    values = rows.loc[~failed, table.outcome].to_numpy(dtype=float, na_value=np.nan)
    values = values[np.isfinite(values)]
    row: dict[str, Any] = {"dataset": dataset, "family": "untrained", "best_setting": ""}
    row |= {"n_configs": 1, "n_seeds": int(rows["seed"].nunique()), "n_failed": int(failed.sum())}
    if len(values):
        error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan
        mean = around(float(values.mean()), error, seeds=len(values), method="mean")
        row |= {"best": mean.estimate, "best_low": mean.low, "best_high": mean.high}
    return row


def _short(value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.3g}"
