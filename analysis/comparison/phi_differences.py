"""Families over data sets: by how much one asks for more tuning per data set than another."""

from collections.abc import Mapping, Sequence
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.estimation.balance import levelled, row_means
from analysis.estimation.fitted import Fitted
from analysis.estimation.grids import level_codes, same
from analysis.robustness.bootstrap import portions, simulated
from analysis.robustness.data_sets import Range, performance_range, phi, phi_plug_in

Floats = NDArray[np.float64]
Place = tuple[NDArray[np.intp], NDArray[np.intp]]


def phi_errors(
    by_dataset: Mapping[str, Sequence[Fitted]], *, seed: int
) -> dict[str, tuple[float, Floats, Sequence[Fitted]]]:
    """phi of every family that ran on all data sets, and its errors in simulated ones.

    phi does not change where all runs of a seed gain the same, and nothing else is shared by two families, so
    that the errors of a difference are the differences of the errors of independent draws.

    Args:
        by_dataset: every family on each data set; ranges of performance are those of all.
        seed: of the draws.

    Returns:
        Family -> (cross-fitted phi, (replicates,) found minus true, its fits). Empty with one data set.
    """
    if len(by_dataset) < 2:
        return {}
    ranges = [
        performance_range(np.concatenate([one.outcome.means for one in families])) for families in by_dataset.values()
    ]
    names = [{one.cells.family: one for one in families} for families in by_dataset.values()]
    found: dict[str, tuple[float, Floats, Sequence[Fitted]]] = {}
    for name in sorted(set.intersection(*(set(each) for each in names))):
        fitted = [each[name] for each in names]
        places, shape = _places(fitted)
        columns = [levelled(one.cells.outcome, one.cells.failed, one.cells.blocks) for one in fitted]
        chosen_on = [levelled(one.cells.selection, one.cells.failed, one.cells.blocks) for one in fitted]
        outcome, selection = (_arranged(each, ranges, places, shape) for each in (columns, chosen_on))
        value = float(phi(outcome, selection))
        found[name] = (value, _errors(fitted, ranges, places, shape, seed), fitted)
    return found


def _errors(
    fitted: Sequence[Fitted], ranges: Sequence[Range], places: Sequence[Place], shape: tuple[int, int, int], seed: int
) -> Floats:
    rng = np.random.default_rng([seed, crc32(fitted[0].cells.family.encode()), 1])
    expected = [one.outcome.expected[:, None] * np.ones(one.cells.outcome.shape) for one in fitted]
    truth = phi_plug_in(row_means(_arranged(expected, ranges, places, shape)))
    errors = []
    for count in portions(max(one.cells.outcome.size for one in fitted)):
        columns, chosen_on = [], []
        for one in fitted:
            selected, found, failed = simulated(one, rng, count)
            columns.append(levelled(found, failed, one.cells.blocks))
            chosen_on.append(levelled(selected, failed, one.cells.blocks))
        outcome, selection = (_arranged(each, ranges, places, shape) for each in (columns, chosen_on))
        errors.append(phi(outcome, selection) - truth)
    return np.concatenate(errors)


def _places(fitted: Sequence[Fitted]) -> tuple[Sequence[Place], tuple[int, int, int]]:
    """Where each data set's configurations and seeds stand among all; (data sets, configurations, seeds)."""
    settings = [one.cells.settings for one in fitted]
    number = same(level_codes(pd.concat(settings, ignore_index=True)))
    rows = np.split(number, np.cumsum([len(one) for one in settings])[:-1])
    seeds = max(one.cells.outcome.shape[1] for one in fitted)
    places = [(own, np.arange(one.cells.outcome.shape[1])) for own, one in zip(rows, fitted, strict=True)]
    return places, (len(fitted), int(number.max()) + 1, seeds)


def _arranged(
    columns: Sequence[Floats], ranges: Sequence[Range], places: Sequence[Place], shape: tuple[int, int, int]
) -> Floats:
    """(..., data sets, configurations, seeds) of G; NaN where there are no trials."""
    found = np.full((*columns[0].shape[:-2], *shape), np.nan)
    for index, (column, scale, (rows, seeds)) in enumerate(zip(columns, ranges, places, strict=True)):
        found[..., index, rows[:, None], seeds] = scale.normalised(column)
    return found
