"""The numbers of a column, checked: one line says the place, the rule and the cell that breaks it."""

import math
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.table import TableError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LARGEST = 1e50
"""The degrees of freedom of a variance take fourth powers: those of values beyond 1e77 are infinite."""


def numbers(column: "pd.Series[Any]", *, place: str) -> Floats:
    """Numbers of any type, NaN where there are none, infinite ones as they are.

    Raises:
        TableError: a cell holds something else; the one that is not even the text of a number is named first.
    """
    if pd.api.types.is_bool_dtype(column):
        raise TableError(f"{place}: expected numbers in {column.name!r}, got booleans")
    if is_numeric(column):
        if pd.api.types.is_numeric_dtype(column):
            return column.to_numpy(dtype=float, na_value=math.nan)
        return np.array([_float(value) for value in column], dtype=float)
    words = where_words(column)
    wrong = words if words.any() else where_numbers(column)
    raise TableError(f"{place}: expected numbers in {column.name!r}, got {cell(column, wrong)}")


def is_numeric(column: "pd.Series[Any]") -> bool:
    """Whether all cells that are not empty are numbers, and not their text."""
    if pd.api.types.is_bool_dtype(column):
        return False
    return pd.api.types.is_numeric_dtype(column) or all(
        isinstance(value, Real | Decimal) and not isinstance(value, bool) for value in column.dropna()
    )


def where_numbers(column: "pd.Series[Any]") -> Bools:
    """(n,) where there is a number or the text of one."""
    return np.array([_is_number(value) for value in column.astype("object").where(column.notna(), "")], dtype=bool)


def where_words(column: "pd.Series[Any]") -> Bools:
    """(n,) where there is anything else."""
    return np.asarray(column.notna() & ~where_numbers(column), dtype=bool)


def require_moderate(values: Floats, *, name: str, place: str) -> None:
    """Raise a TableError at the first finite value that is too large for its powers."""
    huge = np.isfinite(values) & (np.abs(values) > LARGEST)
    if huge.any():
        raise TableError(
            f"{place}: expected values from -{LARGEST:g} to {LARGEST:g} in {name!r}, got {values[huge][0]:g}{row(huge)}"
        )


def cell(column: "pd.Series[Any]", where: Bools) -> str:
    """The first of some cells: `'n/a?' in row 6`."""
    return f"{column[where].iloc[0]!r:.60}{row(where)}"


def row(where: Bools) -> str:
    """Where the first one is, counted from 1."""
    return f" in row {int(np.argmax(where)) + 1}"


def _is_number(value: object) -> bool:
    text = str(value)
    try:
        # Python takes 1_000 for a number, and no other reader of tables does.
        return "_" not in text and not math.isnan(float(text))
    except ValueError:
        return False


def _float(value: Any) -> float:
    """A whole number may be larger than any float: infinite, as its text would be read."""
    return math.nan if pd.isna(value) else float(str(value))
