"""Names from anybody's data as a page can show them: of moderate length, and nothing in them that is not text."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from analysis.labels import visible
from analysis.table import Axis, Table

LONGEST = 60


def legible(name: str) -> str:
    """A name as it is where a page can show it; else its visible start and six digits of its hash.

    Names that differ stay different, and a name is shown alike in every table that has it.
    """
    text = visible(name)
    if text == name and len(name) <= LONGEST:
        return name
    digits = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=3).hexdigest()
    return f"{text[: LONGEST - len(digits) - 1]}\u2026{digits}"


def illegible_names(table: Table) -> dict[str, str]:
    """What a page can't show of a table's families, data sets, axes, categories and outcome -> how it is shown."""
    return {name: shown for name in _names(table) if (shown := legible(name)) != name}


def renamed(table: Table, names: Mapping[str, str]) -> Table:
    """The same table with other names; those that are no key stay."""
    if not names:
        return table

    def of(name: str) -> str:
        return names.get(name, name)

    notes, own = table.notes, [axis.name for axes in table.axes.values() for axis in axes]
    for name in sorted(names, key=len, reverse=True):
        notes = tuple(note.replace(name, names[name]) for note in notes)
    return replace(
        table,
        trials=renamed_rows(table.trials, names, axes=own),
        baseline=renamed_rows(table.baseline, names, axes=own),
        axes={of(family): tuple(_renamed_axis(axis, names) for axis in own) for family, own in table.axes.items()},
        shared=tuple(of(name) for name in table.shared),
        outcome=of(table.outcome),
        selection=None if table.selection is None else of(table.selection),
        reference=None if table.reference is None else of(table.reference),
        floors={of(dataset): floor for dataset, floor in table.floors.items()},
        notes=notes,
    )


def renamed_rows(rows: pd.DataFrame, names: Mapping[str, str], *, axes: Collection[str] = ()) -> pd.DataFrame:
    """Rows whose columns, families, data sets and categories of axes have other names."""
    if not names:
        return rows
    told = [name for name in {"family", "dataset", *axes} & {*rows} if not is_numeric_dtype(rows[name])]
    changed = {name: _renamed_column(rows[name], names) for name in told}
    return rows.assign(**changed).rename(columns=dict(names))


def _names(table: Table) -> Iterator[str]:
    yield table.outcome
    for rows in (table.trials, table.baseline):
        for column in ("family", "dataset"):
            yield from map(str, rows[column].unique())
    yield from table.floors
    for family, axes in table.axes.items():
        yield family
        for axis in axes:
            yield axis.name
            yield from (level for level in axis.levels if isinstance(level, str))


def _renamed_axis(axis: Axis, names: Mapping[str, str]) -> Axis:
    levels = tuple(names.get(level, level) if isinstance(level, str) else level for level in axis.levels)
    return replace(axis, name=names.get(axis.name, axis.name), levels=levels)


def _renamed_column(column: "pd.Series[Any]", names: Mapping[str, str]) -> "pd.Series[Any]":
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.rename_categories(dict(names))
    return column.map(lambda value: names.get(value, value) if isinstance(value, str) else value)
