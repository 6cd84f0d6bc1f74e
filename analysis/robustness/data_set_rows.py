"""The rows of every family over all data sets."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
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
NOT_EVERYWHERE = "not on every data set"


@dataclass(frozen=True)
class Across:
    """One family that ran on every data set, its configurations and seeds numbered across them.

    Args:
        fitted: on each data set.
        ranges: of the performances of all families on each.
        place: the numbers of each data set's configurations and seeds.
        shape: data sets, configurations, seeds.
        codes: (configurations, axes) level numbers.
    """

    fitted: Sequence[Fitted]
    ranges: Sequence[Range]
    place: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]
    shape: tuple[int, int, int]
    codes: Codes

    @property
    def num_seeds(self) -> int:
        """Of the data set with the fewest."""
        return min(one.cells.num_seeds for one in self.fitted)

    @cached_property
    def outcome(self) -> Floats:
        """(data sets, n, S) G, balanced over seeds."""
        return self._arranged([one.cells.balanced.column for one in self.fitted])

    @cached_property
    def selection(self) -> Floats:
        """(data sets, n, S) the column on which maxima are chosen, likewise."""
        cells = [one.cells for one in self.fitted]
        return self._arranged([levelled(one.selection, one.failed, one.blocks) for one in cells])

    @cached_property
    def phi(self) -> float:
        """Cross-fitted; NaN where `reason` is given."""
        return float(phi(self.outcome, self.selection))

    @property
    def reason(self) -> str:
        """Why there is no phi; empty where there is."""
        if math.isnan(phi_plug_in(row_means(self.outcome))):
            return "no configuration on every data set"
        if self.num_seeds < 2:
            return "one seed"
        return "no configuration has two seeds on every data set" if math.isnan(self.phi) else ""

    def errors(self, *, seed: int) -> Floats:
        """(replicates,) phi found minus true in data sets simulated from the noise models.

        phi does not change where all runs of a seed gain the same, and families share nothing else: the errors of a
        difference of two families are the differences of theirs.
        """
        rng = np.random.default_rng([seed, crc32(self.fitted[0].cells.family.encode())])
        expected = [one.outcome.simulated[:, None] * np.ones(one.cells.outcome.shape) for one in self.fitted]
        truth = phi_plug_in(row_means(self._arranged(expected)))
        errors = []
        for count in portions(max(one.cells.outcome.size for one in self.fitted)):
            chosen_on, outcomes = [], []
            for one in self.fitted:
                selection, outcome, failed = simulated(one, rng, count)
                chosen_on.append(levelled(selection, failed, one.cells.blocks))
                outcomes.append(levelled(outcome, failed, one.cells.blocks))
            errors.append(phi(self._arranged(outcomes), self._arranged(chosen_on)) - truth)
        return np.concatenate(errors)

    def _arranged(self, columns: Sequence[Floats]) -> Floats:
        """(..., data sets, n, S) of G from outcomes (..., n, S) of each data set; NaN where there are no trials."""
        lead = columns[0].shape[:-2]
        found = np.full((*lead, *self.shape), np.nan)
        for index, (column, scale, (rows, seeds)) in enumerate(zip(columns, self.ranges, self.place, strict=True)):
            found[..., index, rows[:, None], seeds] = scale.normalised(column)
        return found


def across(table: Table, by_dataset: Sequence[Sequence[Fitted]]) -> dict[str, Across]:
    """Family -> its runs on all data sets, of the families that ran on every one; empty with one data set.

    Args:
        by_dataset: all families with an outcome on each data set; their performances set its range.
    """
    if len(by_dataset) < 2:
        return {}
    named = [{one.cells.family: one for one in families} for families in by_dataset]
    names = sorted(set.intersection(*(set(each) for each in named)))
    if not names:
        return {}
    everything = [np.concatenate([one.outcome.means for one in families]) for families in by_dataset]
    ranges = [Range(0.0, 1.0) if table.normalised else performance_range(means) for means in everything]
    return {name: _across(table, [each[name] for each in named], ranges) for name in names}


def data_set_rows(table: Table, contests: Sequence[Contest], *, seed: int) -> Iterator[Row]:
    """phi, phi_plug_in and effective_dimension of every family that ran on all data sets; none with one data set.

    Args:
        contests: one a data set.
        seed: of the bootstrap.
    """
    if len(contests) < 2:
        return
    by_dataset = [[one.fitted for one in found.families] for found in contests]
    everywhere = across(table, by_dataset)
    for name in sorted({one.cells.family for families in by_dataset for one in families}):
        values = dict.fromkeys(_MEASURES, missing(NOT_EVERYWHERE))
        if name in everywhere:
            values = _values(table, everywhere[name], seed)
        fitted = [one for families in by_dataset for one in families if one.cells.family == name]
        for measure, value in values.items():
            yield _labels(table, name, fitted, measure) | numbers(value, measure)


def _values(table: Table, family: Across, seed: int) -> dict[str, Estimate]:
    plug_in = phi_plug_in(row_means(family.outcome))
    if math.isnan(plug_in):
        return dict.fromkeys(_MEASURES, missing(family.reason))
    scale = "as given" if table.normalised else "from the 5th to the 95th percentile"
    words = f"G {scale} on {len(family.fitted)} data sets"
    biased = "no interval: maxima of noisy means are biased"
    found = {"phi_plug_in": Estimate(plug_in, math.nan, math.nan, f"plug-in; {words}", biased)}
    if family.reason:
        return found | dict.fromkeys(("phi", "effective_dimension"), missing(family.reason))
    error = root_mean_square(family.errors(seed=seed))
    dimension = effective_dimension(family.outcome, family.selection, family.codes)
    alone = Estimate(dimension, math.nan, math.nan, f"cross-fitted; {words}", "no interval: a whole number")
    method = f"cross-fitted; {words}; parametric bootstrap"
    return found | {
        "phi": around(family.phi, error, seeds=family.num_seeds, method=method, least=0.0),
        "effective_dimension": alone if math.isfinite(dimension) else missing("nothing is gained on any data set"),
    }


def root_mean_square(errors: Floats) -> float:
    """Of those that are known; NaN where none is."""
    known = errors[np.isfinite(errors)]
    return float(np.sqrt(np.mean(known**2))) if len(known) else math.nan


def _across(table: Table, fitted: Sequence[Fitted], ranges: Sequence[Range]) -> Across:
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
    return Across(fitted, ranges, place, (len(fitted), len(first), len(every)), codes[first])


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
