"""The outcomes of one family as an array: a row a configuration, a column a seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.estimation.balance import Balance, balance, row_means
from analysis.estimation.crossfit import highest_mean
from analysis.estimation.weights import PRECISION, effective_size, imbalance, level_weights
from analysis.table import Axis, Table, TableError
from analysis.table.failures import failed_rows, failure_note
from search_spaces.dimensions import Scale

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BLOCK_AXIS = "batch_size"
"""Runs of a seed see the same batches where this axis has the same value."""

FAILED = "failed"
"""The outcome that is 1 for a failed trial and 0 for one that ended well."""

_NEARLY_ALL = 0.95
"""Weights that leave this share of a sample are not worth a note."""


@dataclass(frozen=True)
class Cells:
    """One family on one data set, larger is better.

    The reference measure is uniform over the levels of each axis and on the scale of a continuous one: where the
    levels of an axis do not have equal numbers of configurations, these have `weights`.

    Args:
        outcome_name: the column of the outcome.
        axes: the axes with more than one value, in the order of the columns of `settings`.
        settings: (n, axes) the axis values of each configuration, sorted.
        points: (n, d) the same on transformed axes, ranges mapped to [0, 1].
        blocks: (n,) which batch size: runs of a batch size and seed see the same batches.
        outcome: (n, S) outcome times `sign`, failures at the floor, NaN where there is no trial.
        selection: (n, S) likewise, the column on which maxima are chosen; a trial that has none of it can't
            be chosen.
        chosen_on: name of that column.
        failed: (n, S) whether the trial failed.
        sign: 1, or -1 where a smaller outcome is better.
        floor: the floor times `sign`; NaN where none is declared and no trial of the data set ended well.
        note: which failures ended well by their own account; mostly empty.
    """

    dataset: str
    family: str
    outcome_name: str
    axes: tuple[Axis, ...]
    settings: pd.DataFrame
    points: Floats
    blocks: NDArray[np.intp]
    outcome: Floats
    selection: Floats
    chosen_on: str
    failed: Bools
    sign: float
    floor: float
    note: str = ""

    @property
    def num_configs(self) -> int:
        """Configurations with at least one trial."""
        return len(self.outcome)

    @property
    def num_seeds(self) -> int:
        """Seeds with at least one trial."""
        return int(np.isfinite(self.outcome).any(axis=0).sum())

    @property
    def all_failed(self) -> bool:
        """Whether no trial ended well."""
        return not np.isfinite(self.succeeded).any()

    @property
    def succeeded(self) -> Floats:
        """The outcomes of the trials that ended well, NaN elsewhere."""
        return np.where(self.failed, np.nan, self.outcome)

    @cached_property
    def balanced(self) -> Balance:
        """The outcomes from which means can be compared where trials are missing."""
        return balance(self.outcome, self.failed, self.blocks)

    @cached_property
    def means(self) -> Floats:
        """(n,) mean outcome of each configuration, balanced over seeds."""
        return row_means(self.balanced.column)

    @property
    def is_connected(self) -> bool:
        """Whether enough trials are there to compare all configurations of each batch size."""
        return bool(self.balanced.connected.all())

    @cached_property
    def weights(self) -> Floats:
        """(n,) shares of the configurations in the reference measure; their sum is 1."""
        return level_weights(self.settings, self.axes)

    @property
    def weights_note(self) -> str:
        """What the weights leave of the sample; empty where that is nearly all of it."""
        off, left = imbalance(self.settings, self.axes, self.weights), effective_size(self.weights)
        even = off <= 10 * PRECISION
        if even and left >= _NEARLY_ALL * self.num_configs:
            return ""
        size = f"effective sample size {left:.1f} of {self.num_configs}"
        how = "equal levels" if even else f"levels that are equal within {100 * off:.2g} %"
        return f"weighted to {how}: {size}"

    @cached_property
    def chosen(self) -> int:
        """The configuration with the best mean of the selection column over all seeds; 0 where no mean is known."""
        levels = (balance(column, self.failed, self.blocks).column for column in (self.selection, self.outcome))
        selection, outcome = levels
        return int(highest_mean(selection if np.isfinite(selection).any() else outcome))

    @property
    def chosen_setting(self) -> dict[str, float | int | str]:
        """The values of the axes at the setting chosen on all seeds; empty where no trial ended well."""
        if not np.isfinite(self.means).any():
            return {}
        row = self.settings.iloc[[self.chosen]]
        return {axis.name: row[axis.name].item() for axis in self.axes}


def cells(table: Table, dataset: str, family: str, outcome: str) -> Cells | None:
    """Arrange the trials of one family; None where no trial has this outcome.

    Failures enter at the floor, `stopped` rows are left out, and an infinite outcome counts as a failure, as does
    a missing one of a trial that ended well where it is the table's own. A family of which all trials failed is
    there. For instance:

        family = cells(table, "digits", "nt_xent", "linear_top1")

    Raises:
        TableError: a configuration ran twice with the same seed, and the outcomes differ.
    """
    trials = table.trials
    of_dataset = trials["dataset"] == dataset
    rows = trials[of_dataset & (trials["family"] == family) & (trials["status"] != "stopped")]
    axes = tuple(axis for axis in table.axes.get(family, ()) if axis.varies)
    names = [axis.name for axis in axes]
    tie = [table.outcome] if table.outcome in rows else []
    rows = rows.sort_values([*names, "seed", *tie], kind="stable", ignore_index=True)
    failed = failed_rows(table, rows)
    values, failed_here = _column(table, rows, failed, dataset, outcome)
    # Where no trial ended well and no floor is declared, failures are there without a value.
    present = np.isfinite(values) | (failed_here if outcome == table.outcome else False)
    if not present.any():
        return None
    chosen_on = table.selection_of(dataset, outcome)
    selection = values if chosen_on == outcome else _column(table, rows, failed_here, dataset, chosen_on)[0]
    keys, order = _configurations(rows, names)
    # Every family of a data set has the same columns, so that their trials can be paired.
    seeds = np.sort(trials.loc[of_dataset, "seed"].unique())
    columns = np.searchsorted(seeds, rows["seed"].to_numpy())
    _check_repeated(rows, order * len(seeds) + columns, values, names)

    def arranged(column: Floats) -> Floats:
        array = np.full((len(keys), len(seeds)), np.nan)
        array[order[present], columns[present]] = column[present]
        return array

    kept = np.unique(order[present])
    settings = keys.iloc[kept].reset_index(drop=True)
    smaller_is_better = outcome == FAILED or table.direction_of(outcome) == "minimize"
    sign = -1.0 if smaller_is_better else 1.0
    return Cells(
        dataset=dataset,
        family=family,
        outcome_name=outcome,
        axes=axes,
        settings=settings,
        points=unit_points(settings, axes),
        blocks=_blocks(settings),
        outcome=sign * arranged(values)[kept],
        selection=sign * arranged(selection)[kept],
        chosen_on=chosen_on,
        failed=arranged(failed_here.astype(float))[kept] > 0,
        sign=sign,
        floor=sign * (1.0 if outcome == FAILED else table.floor_of(dataset, outcome)),
        note=failure_note(table, rows),
    )


def all_cells(table: Table, dataset: str, outcome: str) -> list[Cells]:
    """The cells of every family of a data set that has this outcome, in the order of the families' names."""
    found = [cells(table, dataset, family, outcome) for family in sorted(table.axes)]
    return [family for family in found if family is not None]


def unit_points(settings: pd.DataFrame, axes: Sequence[Axis]) -> Floats:
    """Configurations on transformed axes: a numeric axis is one column, its range mapped to [0, 1].

    A category is one column per level, 1/sqrt(2) where it applies, so that two levels are 1 apart.
    """
    columns: list[Floats] = []
    for axis in axes:
        values = settings[axis.name]
        if axis.scale is None:
            columns += [(values == level).to_numpy(dtype=float) / np.sqrt(2.0) for level in axis.levels]
        else:
            columns.append(unit_coordinate(values.to_numpy(dtype=float), axis))
    return np.column_stack(columns) if columns else np.zeros((len(settings), 0))


def unit_coordinate(values: Floats, axis: Axis) -> Floats:
    """Where values of a numeric axis lie between its ends, on its scale."""
    scale = axis.scale or "linear"
    low, high = _transformed(np.array([axis.low, axis.high]), scale)
    return np.asarray((_transformed(np.asarray(values, dtype=float), scale) - low) / (high - low))


def axis_values(coordinates: Floats, axis: Axis) -> Floats:
    """The inverse of `unit_coordinate`."""
    scale = axis.scale or "linear"
    low, high = _transformed(np.array([axis.low, axis.high]), scale)
    inner = low + np.asarray(coordinates) * (high - low)
    if scale == "linear":
        return np.asarray(inner)
    return np.asarray(np.exp2(inner) if scale == "log2" else np.exp(inner))


def _transformed(values: Floats, scale: Scale) -> Floats:
    if scale == "linear":
        return values
    return np.log2(values) if scale == "log2" else np.log(values)


def _check_repeated(rows: pd.DataFrame, cell: NDArray[np.intp], values: Floats, names: list[str]) -> None:
    """Rows are sorted by cell and outcome."""
    same = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    differ = np.flatnonzero((cell[1:] == cell[:-1]) & ~same)
    if not len(differ):
        return
    first = rows.iloc[differ[0]]
    setting = ", ".join(f"{name}={first[name]}" for name in names)
    raise TableError(
        f"{first['family']}: {setting or 'its one configuration'} with seed {first['seed']}: expected one outcome, got "
        f"{values[differ[0]]:g} and {values[differ[0] + 1]:g}"
    )


def _column(table: Table, rows: pd.DataFrame, failed: Bools, dataset: str, name: str) -> tuple[Floats, Bools]:
    """A column with failures at its floor, and which rows count as failures of it."""
    if name == FAILED:
        return failed.astype(float), failed
    if not table.trials[name].notna().any():
        # A column that was never measured must not turn into one of failures.
        return np.full(len(rows), np.nan), failed
    values = rows[name].to_numpy(dtype=float, na_value=np.nan)
    failed = failed | np.isinf(values)
    return np.where(failed, table.floor_of(dataset, name), values), failed


def _configurations(rows: pd.DataFrame, names: list[str]) -> tuple[pd.DataFrame, NDArray[np.intp]]:
    """The different configurations in the order of the rows, and the configuration of each row."""
    if not names:
        return pd.DataFrame(index=range(1)), np.zeros(len(rows), dtype=np.intp)
    groups = rows.groupby(names, sort=True, dropna=False)
    order = groups.ngroup().to_numpy().astype(np.intp)
    keys = rows[names].assign(_order=order).drop_duplicates("_order").sort_values("_order")
    return keys[names].reset_index(drop=True), order


def _blocks(settings: pd.DataFrame) -> NDArray[np.intp]:
    if BLOCK_AXIS not in settings:
        return np.zeros(len(settings), dtype=np.intp)
    return np.unique(settings[BLOCK_AXIS].to_numpy(), return_inverse=True)[1].astype(np.intp)
