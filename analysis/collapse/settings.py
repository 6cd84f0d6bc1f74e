"""What the trials of each setting come to over its seeds: rank and outcome, spectra."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.table import Axis, Table
from analysis.table.exploratory import split

Floats = NDArray[np.float64]

RANK_COLUMNS = ("family", "value", "rank", "rank_sd", "outcome", "outcome_sd", "n_seeds")
PRODUCT_COLUMNS = ("family", "setting", "products")
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
    parts = []
    for family, trials in _measured(table, dataset, (rank, table.outcome), by):
        pair = trials[[rank, table.outcome]].astype(float).set_axis(["rank", "outcome"], axis=1)
        groups = pair[np.isfinite(pair).all(axis=1)].groupby(trials["_setting"], sort=True)
        spread = groups.std(ddof=1).add_suffix("_sd")
        parts.append(_in_order(groups.mean().join(spread).assign(n_seeds=groups.size()), family, trials))
    return _joined(parts, RANK_COLUMNS)


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
    parts = []
    for family, trials in _measured(table, dataset, (column,), by):
        told = trials.dropna(subset=[column])
        shares: dict[int, list[Floats]] = {}
        for setting, values in zip(told["_setting"], told[column], strict=True):
            if len(values) and values[0] > 0:
                shares.setdefault(setting, []).append(np.asarray(values, dtype=float) / values[0])
        medians = pd.Series({setting: _median(several) for setting, several in shares.items()}, dtype=object)
        counts = pd.Series({setting: len(several) for setting, several in shares.items()}, dtype=int)
        parts.append(_in_order(pd.DataFrame({"shares": medians, "n_seeds": counts}), family, trials))
    return _joined(parts, SPECTRUM_COLUMNS)


def products(table: Table, dataset: str) -> pd.DataFrame:
    """Inner products of the two views of free embeddings at the first seed of every setting, a row a setting.

    Returns:
        Columns family, setting (varying axis -> value), products (a square array, view 1 by view 2); families as in
        the table, then by setting. Empty where embeddings are not free.
    """
    name, parts = "inner_products", []
    for family, _ in _measured(table, dataset, (name,), {}):
        axes = [axis.name for axis in table.axes[family] if axis.varies]
        rows = placed(split(table)[0], dataset, family).dropna(subset=[name]).drop_duplicates("_setting")
        found = {"family": family, "setting": rows[axes].to_dict("records"), "products": rows[name].map(_square)}
        parts.append(pd.DataFrame(found))
    return _joined(parts, PRODUCT_COLUMNS)


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


def _measured(
    table: Table, dataset: str, columns: tuple[str, ...], by: Mapping[str, Axis]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Family and trials with `_setting`, `_value` and the columns; nothing where the table lacks one of them."""
    kept = split(table)[0]
    if not set(columns) <= set(kept.trials):
        return
    for family in kept.axes:
        trials, axis = placed(kept, dataset, family), by.get(family)
        value = np.nan if axis is None else trials[axis.name].astype(float)
        yield family, trials[["_setting", *dict.fromkeys(columns)]].assign(_value=value)


def _in_order(found: pd.DataFrame, family: str, trials: pd.DataFrame) -> pd.DataFrame:
    """Rows by setting with the values of the family's axis, in their order."""
    values = trials.groupby("_setting", sort=True)["_value"].first()
    return found.assign(family=family, value=values.reindex(found.index)).sort_values("value", kind="stable")


def _joined(parts: list[pd.DataFrame], columns: tuple[str, ...]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True)[list(columns)] if filled else pd.DataFrame(columns=list(columns))


def _median(several: list[Floats]) -> Floats:
    """Of the values that all of them have."""
    shortest = min(map(len, several))
    median: Floats = np.median([one[:shortest] for one in several], axis=0)
    return median


def _square(values: list[float]) -> Floats:
    side = math.isqrt(len(values))
    return np.asarray(values, dtype=float).reshape(side, side)


def _evenly(count: int, most: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.intp))
