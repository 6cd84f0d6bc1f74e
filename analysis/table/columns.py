"""The columns of anybody's table, checked: one line says the place, the rule and the value that breaks it."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.labels import shortened
from analysis.table import OUTCOME_INFINITE, OUTCOME_MISSING, TableError
from search_spaces.dimensions import Scale, planned

Floats = NDArray[np.float64]

SCALES: tuple[str, ...] = get_args(Scale)
OK_WORDS = ("ok", "complete", "completed", "done", "finished", "success", "succeeded")
STOPPED_WORDS = ("stopped", "pruned")


@dataclass(frozen=True)
class AxisColumn:
    """An axis as it was asked for; without a scale it is linear, or of categories where it holds words."""

    name: str
    scale: Scale | None


def parse_axes(text: str, columns: Sequence[str]) -> tuple[AxisColumn, ...]:
    """`lr:log,width:log2,kernel` as axes; a column that is called `lr:log` itself wins.

    Raises:
        TableError: no axis, an unknown scale, or an axis twice.
    """
    found = [_axis(item.strip(), columns) for item in text.split(",") if item.strip()]
    if not found:
        raise TableError(f"axes: expected 'column[:scale],...', got {text!r}")
    names = [axis.name for axis in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise TableError(f"axes: {twice[0]!r} is named twice")
    return tuple(found)


def _axis(item: str, columns: Sequence[str]) -> AxisColumn:
    name, colon, scale = item.rpartition(":")
    if item in columns or not colon:
        return AxisColumn(item, None)
    if scale not in SCALES:
        raise TableError(f"axes: {name}: unknown scale {scale!r}; expected {', '.join(SCALES)}{_meant(scale, SCALES)}")
    return AxisColumn(name, cast("Scale", scale))


def require(place: str, name: str, columns: Iterable[str]) -> None:
    """Raise a TableError unless there is such a column, with the one that was probably meant."""
    there = [str(column) for column in columns]
    if name not in there:
        meant = _meant(name, there) or f"; there are {shortened(there)}"
        raise TableError(f"{place}: no column {name!r}{meant}")


def require_one_of(place: str, name: str, known: Sequence[str]) -> None:
    """Raise a TableError unless the name is one of the known ones."""
    if name not in known:
        raise TableError(f"{place}: no {name!r}{_meant(name, known) or f'; there are {shortened(list(known))}'}")


def outcome_values(column: "pd.Series[Any]") -> Floats:
    """Numbers, NaN where there are none, infinite ones as they are."""
    return _numbers("outcome", column)


def axis_values(column: "pd.Series[Any]", scale: Scale | None) -> "pd.Series[Any]":
    """Numbers of an axis, floats to 12 significant digits; words of categories, which have no scale."""
    place = f"axes: {column.name}"
    if scale is None and (pd.api.types.is_bool_dtype(column) or not _is_numeric(column)):
        return column.astype("str").astype("object").where(column.notna(), None)
    values = _numbers(place, column)
    if np.isinf(values).any():
        raise TableError(
            f"{place}: expected finite values, got {values[np.isinf(values)][0]:g}{_row(np.isinf(values))}"
        )
    if scale in ("log", "log2") and (values <= 0).any():
        low = values[values <= 0][0]
        raise TableError(f"{place}: a {scale} scale needs values above 0, got {low:g}{_row(values <= 0)}")
    whole = bool((values[~np.isnan(values)] % 1 == 0).all()) and not np.isnan(values).any()
    if whole and np.abs(values).max(initial=0.0) < 2**53:
        return pd.Series(values.astype(np.int64), index=column.index, name=column.name)
    levels, codes = np.unique(values, return_inverse=True)
    rounded = np.array([planned(float(level)) for level in levels])
    return pd.Series(rounded[codes], index=column.index, name=column.name)


def labels(place: str, column: "pd.Series[Any]") -> "pd.Categorical[str]":
    """Names, of which none is missing; as categories, which are quick to select by."""
    _require_values(place, column)
    return pd.Categorical(column.astype("str"))


def replicates(column: "pd.Series[Any]") -> NDArray[np.int64]:
    """Whole numbers as they are; anything else is numbered in sorted order."""
    _require_values("replicate", column)
    if pd.api.types.is_integer_dtype(column):
        return column.to_numpy(dtype=np.int64)
    if pd.api.types.is_float_dtype(column) and (column % 1 == 0).all():
        return column.to_numpy(dtype=np.float64).astype(np.int64)
    return np.unique(column.astype("str").to_numpy(dtype=object), return_inverse=True)[1].astype(np.int64)


def statuses(column: "pd.Series[Any] | None", outcome: Floats) -> NDArray[np.object_]:
    """`ok`, `stopped`, or why a trial failed: its own word, or what its outcome lacks.

    Args:
        column: booleans, True for a failure, or words; None where all trials ended well by their own account.
        outcome: (n,) of trials that ended well, a missing or infinite one makes a failure.
    """
    words = np.full(len(outcome), "ok", dtype=object)
    if column is not None:
        _require_values("status", column)
        if pd.api.types.is_bool_dtype(column) or column.map(type).isin([bool, np.bool_]).all():
            words[column.to_numpy(dtype=bool)] = "failed"
        elif _is_numeric(column):
            raise TableError(f"status: expected booleans (True: failed) or words (ok, failed), got {column.iloc[0]!s}")
        else:
            words = column.astype("str").to_numpy(dtype=object)
            lower = pd.Series(words).str.strip().str.lower()
            words[lower.isin(OK_WORDS).to_numpy()] = "ok"
            words[lower.isin(STOPPED_WORDS).to_numpy()] = "stopped"
    ok = words == "ok"
    words[ok & np.isnan(outcome)] = OUTCOME_MISSING
    words[ok & np.isinf(outcome)] = OUTCOME_INFINITE
    return words


def _numbers(place: str, column: "pd.Series[Any]") -> Floats:
    if pd.api.types.is_bool_dtype(column):
        raise TableError(f"{place}: expected numbers in {column.name!r}, got booleans")
    if not _is_numeric(column):
        bad = column.notna() & (pd.to_numeric(column, errors="coerce").isna() | column.map(type).isin([str, bool]))
        if bad.any() or not (column.isna() | column.map(lambda value: isinstance(value, int | float))).all():
            value = column[bad].iloc[0] if bad.any() else column.dropna().iloc[0]
            raise TableError(f"{place}: expected numbers in {column.name!r}, got {value!r}{_row(bad.to_numpy())}")
    return np.asarray(pd.to_numeric(column).to_numpy(dtype=float, na_value=np.nan))


def _is_numeric(column: "pd.Series[Any]") -> bool:
    if pd.api.types.is_object_dtype(column):
        return bool(column.dropna().map(lambda value: isinstance(value, int | float) and value is not True).all())
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _require_values(place: str, column: "pd.Series[Any]") -> None:
    absent = column.isna().to_numpy(dtype=bool)
    if absent.any():
        raise TableError(f"{place}: expected a value in every row of {column.name!r}, got none{_row(absent)}")


def _row(where: NDArray[np.bool_]) -> str:
    return f" in row {int(np.argmax(where)) + 1}" if where.any() else ""


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
