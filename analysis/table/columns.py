"""The columns of anybody's table, checked: one line says the place, the rule and the value that breaks it."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.labels import shortened
from analysis.table import TableError
from analysis.table.numbers import cell, is_numeric, numbers, require_moderate, row, where_numbers, where_words
from search_spaces.dimensions import Scale, planned

AxisScale = Literal[Scale, "category"]

SCALES: tuple[str, ...] = get_args(AxisScale)


@dataclass(frozen=True)
class AxisColumn:
    """An axis as it was asked for; without a scale it is linear, or of categories where it holds words."""

    name: str
    scale: AxisScale | None


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
    return AxisColumn(name, cast("AxisScale", scale))


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


def axis_values(column: "pd.Series[Any]", scale: AxisScale | None) -> "pd.Series[Any]":
    """Numbers of an axis, floats to 12 significant digits; words of categories."""
    place = f"axes: {column.name}"
    if scale == "category" or (scale is None and not is_numeric(column)):
        return _categories(column, scale, place=place)
    values = numbers(column, place=place)
    infinite = np.isinf(values)
    if infinite.any():
        raise TableError(f"{place}: expected finite values, got {values[infinite][0]:g}{row(infinite)}")
    require_moderate(values, name=str(column.name), place=place)
    if scale in ("log", "log2") and (values <= 0).any():
        low = values[values <= 0][0]
        raise TableError(f"{place}: a {scale} scale needs values above 0, got {low:g}{row(values <= 0)}")
    whole = bool((values[~np.isnan(values)] % 1 == 0).all()) and not np.isnan(values).any()
    if whole and np.abs(values).max(initial=0.0) < 2**53:
        return pd.Series(values.astype(np.int64), index=column.index, name=column.name)
    levels, codes = np.unique(values, return_inverse=True)
    rounded = np.array([planned(float(level)) for level in levels])
    return pd.Series(rounded[codes], index=column.index, name=column.name)


def _categories(column: "pd.Series[Any]", scale: AxisScale | None, *, place: str) -> "pd.Series[Any]":
    """Words, and numbers as words where these are declared to be categories."""
    _require_single(column, place=place)
    found, words = where_numbers(column), where_words(column)
    if scale is None and found.any() and words.any():
        raise TableError(
            f"{place}: expected numbers or words, got {cell(column, found)} and {cell(column, words)}; "
            f"categories are declared as '{column.name}:category'"
        )
    text = column.astype("str")
    text = text.str.removesuffix(".0") if is_numeric(column) else text
    return text.astype("object").where(column.notna(), None)


def labels(place: str, column: "pd.Series[Any]") -> "pd.Categorical[str]":
    """Names, of which none is missing or blank; as categories, which are quick to select by."""
    require_values(place, column)
    _require_single(column, place=place)
    names = column.astype("str")
    blank = (names.str.strip() == "").to_numpy(dtype=bool)
    if blank.any():
        raise TableError(f"{place}: expected a name in every row of {column.name!r}, got {cell(names, blank)}")
    return pd.Categorical(names)


def replicates(column: "pd.Series[Any]") -> NDArray[np.int64]:
    """Whole numbers as they are; anything else is numbered in sorted order."""
    require_values("replicate", column)
    if pd.api.types.is_integer_dtype(column):
        return column.to_numpy(dtype=np.int64)
    if pd.api.types.is_float_dtype(column) and (column % 1 == 0).all():
        return column.to_numpy(dtype=np.float64).astype(np.int64)
    return np.unique(column.astype("str").to_numpy(dtype=object), return_inverse=True)[1].astype(np.int64)


def require_values(place: str, column: "pd.Series[Any]") -> None:
    """Raise a TableError at the first empty cell."""
    absent = column.isna().to_numpy(dtype=bool)
    if absent.any():
        raise TableError(f"{place}: expected a value in every row of {column.name!r}, got none{row(absent)}")


def require_unique(columns: Iterable[object]) -> None:
    """Raise a TableError where two columns have the same name; no name is none."""
    twice = [name for name, count in Counter(columns).items() if count > 1 and name != ""]
    if twice:
        raise TableError(f"two columns named {twice[0]!r}")


def _require_single(column: "pd.Series[Any]", *, place: str) -> None:
    several = np.array([pd.api.types.is_list_like(value) for value in column], dtype=bool)
    if several.any():
        raise TableError(f"{place}: expected a number or a word in {column.name!r}, got {cell(column, several)}")


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
