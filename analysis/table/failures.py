"""Which trials count as failures."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.table import OUTCOME_INFINITE, OUTCOME_MISSING, Table

Bools = NDArray[np.bool_]


def failed_rows(table: Table, rows: pd.DataFrame) -> Bools:
    """(len(rows),) which trials failed, also by ending well with a missing or infinite outcome of the table.

    A column that was never measured makes no failures. Trials that were stopped early must be left out before.
    """
    failed = (rows["status"] != "ok").to_numpy(dtype=bool)
    if table.outcome not in rows or not table.trials[table.outcome].notna().any():
        return failed
    return np.asarray(failed | ~np.isfinite(rows[table.outcome].to_numpy(dtype=float, na_value=np.nan)))


def failure_note(table: Table, rows: pd.DataFrame) -> str:
    """Failures that ended well by their own account: `2 outcomes missing; 1 outcome infinite`; mostly empty."""
    if table.outcome not in rows:
        return ""
    values, status = rows[table.outcome].to_numpy(dtype=float, na_value=np.nan), rows["status"]
    ok = (status == "ok").to_numpy(dtype=bool)
    counts = {
        "missing": int((ok & np.isnan(values)).sum() + (status == OUTCOME_MISSING).sum()),
        "infinite": int((ok & np.isinf(values)).sum() + (status == OUTCOME_INFINITE).sum()),
    }
    return "; ".join(f"{count} outcome{'s' * (count > 1)} {what}" for what, count in counts.items() if count)
