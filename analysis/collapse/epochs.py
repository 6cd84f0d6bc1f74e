"""How much of a family has collapsed at each evaluated epoch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.collapse import CATEGORIES
from analysis.collapse.settings import placed
from analysis.estimation.intervals import rate
from analysis.table import Table
from analysis.table.exploratory import split

COLUMNS = ("family", "epoch", "category", "estimate", "low", "high", "n_trials")

_NEEDED = ("trial_id", "batch_size", "epoch", "collapse")

_COUNTED = {"any": CATEGORIES, "complete": ("complete",)}


def collapse_over_epochs(table: Table, history: pd.DataFrame, *, dataset: str) -> pd.DataFrame:
    """Share of the trials of each family that are collapsed at each evaluated epoch.

    Of trials that ended well and were not chosen by their outcomes, at the epochs that all batch sizes of the family
    reached. Intervals count trials fewer where those of a seed collapse together. In a notebook:

        found = collapse_over_epochs(table, store.read_history(folder), dataset="digits")
        found[found["category"] == "any"].pivot(index="epoch", columns="family", values="estimate")

    Args:
        history: evaluated epochs of trials, with trial_id, batch_size, epoch and collapse.

    Returns:
        Columns family, epoch, category (`any`: dimensional or complete; `complete`), estimate, low, high (shares
        0..1), n_trials. No rows where collapse was measured at fewer than two epochs.
    """
    kept = split(table)[0]
    rows: list[dict[str, Any]] = []
    if {*_NEEDED} <= set(history) and "trial_id" in kept.trials:
        told = history.loc[history["collapse"].notna(), list(_NEEDED)]
        for family in kept.axes:
            trials = placed(kept, dataset, family)[["family", "trial_id", "_setting", "seed"]]
            for _, measured in at_common_epochs(trials.merge(told, on="trial_id")).groupby("epoch", sort=True):
                rows += _shares(measured, sampled=kept.design != "grid")
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    return found if found["epoch"].nunique() > 1 else found.iloc[:0]


def half_collapsed(shares: pd.DataFrame) -> dict[str, float]:
    """Family -> the first epoch at which at least half of its trials are collapsed; absent where there is none.

    Args:
        shares: from `collapse_over_epochs`.
    """
    most = shares[(shares["category"] == "any") & (shares["estimate"] >= 0.5)]
    return {str(family): float(epoch) for family, epoch in most.groupby("family", sort=False)["epoch"].min().items()}


def at_common_epochs(history: pd.DataFrame) -> pd.DataFrame:
    """The epochs at which every batch size of a family was evaluated, so that all are about the same settings."""
    sizes = history["batch_size"].fillna(0)
    reached = sizes.groupby([history["family"], history["epoch"]]).transform("nunique")
    return history[reached == sizes.groupby(history["family"]).transform("nunique")]


def _shares(rows: pd.DataFrame, *, sampled: bool) -> Iterator[dict[str, Any]]:
    """Both shares of the trials of one family at one epoch."""
    place = tuple(pd.factorize(rows[name], sort=True)[0] for name in ("_setting", "seed"))
    present = np.zeros([int(index.max()) + 1 for index in place], dtype=bool)
    present[place] = True
    for category, counted in _COUNTED.items():
        hit = np.zeros(present.shape, dtype=bool)
        hit[place] = rows["collapse"].isin(counted)
        found = rate(hit, present, sampled=sampled)
        yield {
            "family": rows["family"].iloc[0], "epoch": rows["epoch"].iloc[0], "category": category,
            "estimate": found.estimate, "low": found.low, "high": found.high, "n_trials": len(rows),
        }  # fmt: skip
