"""The rows of every family over all data sets."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.estimation.balance import levelled, row_means
from analysis.estimation.fitted import Fitted
from analysis.estimation.grids import Codes, level_codes, same
from analysis.estimation.intervals import Estimate, around, missing
from analysis.robustness.bootstrap import portions, simulated
from analysis.robustness.contest import Contest
from analysis.robustness.data_sets import Range, effective_dimension, performance_range, phi, phi_plug_in
from analysis.robustness.measure_rows import Row, numbers
from analysis.table import Table

Floats = NDArray[np.float64]

_MEASURES = ("phi", "phi_plug_in", "effective_dimension")


@dataclass(frozen=True)
class _Family:
    """One family on several data sets, its configurations and seeds numbered across them.

    Args:
        fitted: on each data set.
        place: the numbers of each data set's configurations and seeds.
        shape: data sets, configurations, seeds.
        codes: (configurations, axes) level numbers.
    """

    fitted: Sequence[Fitted]
    place: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]
    shape: tuple[int, int, int]
    codes: Codes

    def arranged(self, columns: Sequence[Floats], ranges: Sequence[Range]) -> Floats:
        """(..., data sets, n, S) of G from outcomes (..., n, S) of each data set; NaN where there are no trials."""
        lead = columns[0].shape[:-2]
        found = np.full((*lead, *self.shape), np.nan)
        for index, (column, scale, (rows, seeds)) in enumerate(zip(columns, ranges, self.place, strict=True)):
            found[..., index, rows[:, None], seeds] = scale.normalised(column)
        return found


def data_set_rows(table: Table, contests: Sequence[Contest], *, seed: int) -> Iterator[Row]:
    """phi, phi_plug_in and effective_dimension of every family that ran on all data sets; none with one data set.

    Args:
        contests: one a data set.
        seed: of the bootstrap.
    """
    if len(contests) < 2:
        return
    everything = [np.concatenate([one.fitted.outcome.means for one in found.families]) for found in contests]
    ranges = [Range(0.0, 1.0) if table.normalised else performance_range(means) for means in everything]
    for name in sorted({one.fitted.cells.family for found in contests for one in found.families}):
        fitted = [one.fitted for found in contests for one in found.families if one.fitted.cells.family == name]
        values = dict.fromkeys(_MEASURES, missing("not on every data set"))
        if len(fitted) == len(contests):
            values = _values(table, _family(table, fitted), ranges, seed)
        for measure, value in values.items():
            yield _labels(table, name, fitted, measure) | numbers(value, measure)


def _values(table: Table, family: _Family, ranges: Sequence[Range], seed: int) -> dict[str, Estimate]:
    cells = [one.cells for one in family.fitted]
    outcome = family.arranged([one.balanced.column for one in cells], ranges)
    chosen_on = [levelled(one.selection, one.failed, one.blocks) for one in cells]
    selection = family.arranged(chosen_on, ranges)
    scale = "as given" if table.normalised else "from the 5th to the 95th percentile"
    words = f"G {scale} on {len(cells)} data sets"
    plug_in = phi_plug_in(row_means(outcome))
    biased = "no interval: maxima of noisy means are biased"
    found = {"phi_plug_in": Estimate(plug_in, math.nan, math.nan, f"plug-in; {words}", biased)}
    if math.isnan(plug_in):
        return dict.fromkeys(
            ("phi", "phi_plug_in", "effective_dimension"), missing("no configuration on every data set")
        )
    seeds = min(one.num_seeds for one in cells)
    value = float(phi(outcome, selection))
    if seeds < 2 or math.isnan(value):
        reason = "one seed" if seeds < 2 else "no configuration has two seeds on every data set"
        return found | dict.fromkeys(("phi", "effective_dimension"), missing(reason))
    error = _error(family, ranges, seed)
    dimension = effective_dimension(outcome, selection, family.codes)
    alone = Estimate(dimension, math.nan, math.nan, f"cross-fitted; {words}", "no interval: a whole number")
    return found | {
        "phi": around(value, error, seeds=seeds, method=f"cross-fitted; {words}; parametric bootstrap", least=0.0),
        "effective_dimension": alone if math.isfinite(dimension) else missing("nothing is gained on any data set"),
    }


def _error(family: _Family, ranges: Sequence[Range], seed: int) -> float:
    """Root mean squared error of phi over data sets simulated from their noise models."""
    first = family.fitted[0].cells
    rng = np.random.default_rng([seed, crc32(first.family.encode())])
    expected = [one.outcome.expected[:, None] * np.ones(one.cells.outcome.shape) for one in family.fitted]
    truth = phi_plug_in(row_means(family.arranged(expected, ranges)))
    squares = []
    for count in portions(max(one.cells.outcome.size for one in family.fitted)):
        chosen_on, outcomes = [], []
        for one in family.fitted:
            selection, outcome, failed = simulated(one, rng, count)
            chosen_on.append(levelled(selection, failed, one.cells.blocks))
            outcomes.append(levelled(outcome, failed, one.cells.blocks))
        found = phi(family.arranged(outcomes, ranges), family.arranged(chosen_on, ranges))
        squares.append((found - truth) ** 2)
    known = np.concatenate(squares)
    known = known[np.isfinite(known)]
    return float(np.sqrt(known.mean())) if len(known) else math.nan


def _family(table: Table, fitted: Sequence[Fitted]) -> _Family:
    settings = [one.cells.settings for one in fitted]
    codes = level_codes(pd.concat(settings, ignore_index=True))
    numbers_of = same(codes)
    ends = np.cumsum([len(one) for one in settings])
    rows = np.split(numbers_of, ends[:-1])
    trials = table.trials
    labels = [np.unique(trials.loc[trials["dataset"] == one.cells.dataset, "seed"].to_numpy()) for one in fitted]
    every = np.unique(np.concatenate(labels))
    place = [(own, np.searchsorted(every, seeds).astype(np.intp)) for own, seeds in zip(rows, labels, strict=True)]
    first = np.unique(numbers_of, return_index=True)[1]
    return _Family(fitted, place, (len(fitted), len(first), len(every)), codes[first])


def _labels(table: Table, family: str, fitted: Sequence[Fitted], measure: str) -> Row:
    return {
        "dataset": "",
        "outcome": table.outcome,
        "family": family,
        "measure": measure,
        "axis": "",
        "tolerance": math.nan,
        "reference": "own",
        "n_configs": sum(one.cells.num_configs for one in fitted),
        "n_seeds": min(one.cells.num_seeds for one in fitted),
        "n_failed": sum(int(one.cells.failed.sum()) for one in fitted),
    }
