"""What the trials of each setting come to over its seeds: rank and outcome, spectra."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.table import Axis, Table
from analysis.table.exploratory import split

Floats = NDArray[np.float64]

RANK_COLUMNS = ("family", "value", "rank", "rank_sd", "outcome", "outcome_sd", "n_seeds")
SPECTRUM_COLUMNS = ("family", "value", "shares", "n_seeds")


def rank_and_outcome(table: Table, dataset: str, *, rank: str, by: Mapping[str, Axis]) -> pd.DataFrame:
    """Mean and spread over seeds of a rank and of the outcome, a row a setting.

    Of trials that ended well and were not chosen by their outcomes; one that lacks either number is left out.

    Args:
        rank: a numeric column.
        by: family -> one of its axes, whose value goes with the setting.

    Returns:
        Columns family, value (of the axis; NaN without one), rank, rank_sd, outcome, outcome_sd (standard deviations
        over seeds; NaN of one seed), n_seeds; families as in the table, then by value and setting.
    """
    rows = []
    for family, value, trials in _settings(table, dataset, [rank, table.outcome], by):
        both = trials[[rank, table.outcome]].to_numpy(dtype=float, na_value=np.nan)
        both = both[np.isfinite(both).all(axis=1)]
        if len(both):
            spread = both.std(axis=0, ddof=1) if len(both) > 1 else (np.nan, np.nan)
            ends = (part[k] for k in (0, 1) for part in (both.mean(axis=0), spread))
            rows.append((family, value, *ends, len(both)))
    return pd.DataFrame(rows, columns=list(RANK_COLUMNS))


def spectra(table: Table, dataset: str, *, column: str, by: Mapping[str, Axis]) -> pd.DataFrame:
    """Singular values as shares of the largest, the median over seeds, a row a setting.

    Of trials that ended well and were not chosen by their outcomes; one whose singular values are all 0 has no
    shares and is left out. The median, because a seed that collapsed is away from the others by orders of magnitude.

    Args:
        column: of lists of singular values, largest first.
        by: family -> one of its axes, whose value goes with the setting.

    Returns:
        Columns family, value (of the axis; NaN without one), shares (an array that begins with 1), n_seeds; families
        as in the table, then by value and setting.
    """
    rows = []
    for family, value, trials in _settings(table, dataset, [column], by):
        measured = [np.asarray(one, dtype=float) for one in trials[column].dropna()]
        shares = [one / one[0] for one in measured if one.size and one[0] > 0]
        if shares:
            shortest = min(map(len, shares))
            rows.append((family, value, np.median([one[:shortest] for one in shares], axis=0), len(shares)))
    return pd.DataFrame(rows, columns=list(SPECTRUM_COLUMNS))


def thinned(frame: pd.DataFrame, *, most: int) -> pd.DataFrame:
    """At most `most` rows of each family, evenly spaced in the order in which they are, the first and last included."""
    parts = [rows.iloc[_evenly(len(rows), most)] for _, rows in frame.groupby("family", sort=False)]
    return pd.concat(parts, ignore_index=True) if parts else frame


def placed(table: Table, dataset: str, family: str) -> pd.DataFrame:
    """The family's trials that ended well, sorted by setting and seed, with the number of their `_setting`."""
    trials = table.trials
    mine = trials[(trials["dataset"] == dataset) & (trials["family"] == family) & (trials["status"] == "ok")]
    names = [axis.name for axis in table.axes[family] if axis.varies]
    mine = mine.sort_values([*names, "seed"], kind="stable", ignore_index=True)
    return mine.assign(_setting=mine.groupby(names, sort=True, dropna=False).ngroup() if names else 0)


def _settings(
    table: Table, dataset: str, columns: list[str], by: Mapping[str, Axis]
) -> Iterator[tuple[str, float, pd.DataFrame]]:
    """Family, value of its axis and trials of every setting; nothing where the table lacks a column."""
    kept = split(table)[0]
    if not set(columns) <= set(kept.trials):
        return
    for family in kept.axes:
        axis = by.get(family)
        groups = [rows for _, rows in placed(kept, dataset, family).groupby("_setting", sort=True)]
        values = [np.nan if axis is None else float(rows[axis.name].iloc[0]) for rows in groups]
        for index in np.argsort(values, kind="stable"):
            yield family, values[index], groups[index]


def _evenly(count: int, most: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.intp))
