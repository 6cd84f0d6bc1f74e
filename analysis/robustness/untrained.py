"""The untrained encoders: what training is measured against."""

import numpy as np
import pandas as pd

from analysis.estimation.intervals import Estimate, around, missing
from analysis.table import Table


def untrained_rows(table: Table, dataset: str, label: str | None = None) -> pd.DataFrame:
    """Trials of the baseline on one data set, by seed; of one label where it is given."""
    rows = table.baseline
    if rows.empty:
        return rows
    kept = rows["dataset"] == dataset
    return rows[kept if label is None else kept & (rows["family"] == label)].sort_values("seed", kind="stable")


def untrained_mean(rows: pd.DataFrame, outcome: str) -> Estimate:
    """Mean of those that ended well over seeds, with Student's t interval; NaN where none did.

    The interval stays within [0, 1] for accuracies.
    """
    if rows.empty or outcome not in rows:
        return missing("no untrained encoder")
    column = rows.loc[rows["status"] == "ok"].groupby("seed")[outcome].mean()
    values = column.to_numpy(dtype=float, na_value=np.nan)
    values = values[np.isfinite(values)]
    if not len(values):
        return missing("no untrained encoder")
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan
    least, most = (0.0, 1.0) if outcome.endswith("_top1") else (-np.inf, np.inf)
    return around(float(values.mean()), error, seeds=len(values), method="mean", least=least, most=most)
