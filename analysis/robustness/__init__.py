"""Robustness of every family: how good it gets, and how much of its space is nearly that good."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.estimation.intervals import Estimate, missing
from analysis.robustness.absent_rows import absent_rows, exploratory_rows
from analysis.robustness.contender import ALL_FAILED, choice_words
from analysis.robustness.contest import Contest, contest
from analysis.robustness.data_set_rows import data_set_rows
from analysis.robustness.measure_rows import Row, family_rows, labels, mass_rows, numbers
from analysis.robustness.scorecard import scorecard
from analysis.surfaces.profiles import profiles
from analysis.table import Table
from analysis.table.exploratory import split

__all__ = ["COLUMNS", "mass_curve", "measures", "measures_and_curve", "profiles", "scorecard"]

COLUMNS = (
    "dataset", "outcome", "family", "measure", "axis", "tolerance", "reference", "estimate", "low", "high",
    "method", "n_configs", "n_seeds", "n_failed", "reason",
)  # fmt: skip

CURVE_POINTS = 61
"""Tolerances of the curve of near-optimal mass, from 0 to five times the largest declared."""


def measures(table: Table, *, seed: int) -> pd.DataFrame:
    """Every robustness measure of every family and data set. In a notebook:

        found = measures(table, seed=0)
        found[found["measure"] == "near_optimal_mass"].pivot(index="family", columns=["reference", "tolerance"])

    Level (reference `common`, as no best is needed to measure from): best and worst_case, cross-fitted
    (`best_plug_in` and `best_null` beside them; with an empty family, the best of all), cvar_10 (mean of the worst
    tenth), interquartile_mean, iqr, seed_sd, failure_rate, expected_best_<n> of n random configurations.
    From the family's best (`own`) and from the best of all families (`common`): near_optimal_mass, search_cost,
    normalised_regret. Around the family's best (`own`): worst_octave_drop, basin_width. Over the default (`own`):
    default_gap, tuning_gain of an axis or pair alone, joint_gain of a pair. Over two or more data sets (`own`, with
    an empty data set): phi, phi_plug_in, effective_dimension. Adaptive trials enter nothing but rows marked
    exploratory.

    Args:
        seed: of the bootstrap, the permutations and the surrogates' restarts.

    Returns:
        A row a measure (columns `COLUMNS`), accuracies as shares; NaN with a reason where there is too
        little data.
    """
    kept, _ = split(table)
    return _measures(table, kept, _contests(kept, seed), seed)


def mass_curve(table: Table, *, seed: int) -> pd.DataFrame:
    """Near-optimal mass over a fine grid of tolerances: the rows of `measures`, own and common reference."""
    kept, _ = split(table)
    return _mass_curve(kept, _contests(kept, seed))


def measures_and_curve(table: Table, *, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`measures` and `mass_curve` for the price of one: both rest on the same fits."""
    kept, _ = split(table)
    found = _contests(kept, seed)
    return _measures(table, kept, found, seed), _mass_curve(kept, found)


def _contests(table: Table, seed: int) -> list[Contest]:
    return [contest(table, dataset, seed=seed) for dataset in table.datasets]


def _measures(table: Table, kept: Table, contests: Sequence[Contest], seed: int) -> pd.DataFrame:
    rows: list[Row] = []
    for found in contests:
        for family in found.families:
            rows += family_rows(kept, found, family)
        for cells in found.without:
            rows += absent_rows(kept, cells, ALL_FAILED)
        if found.families:
            rows.append(_overall_best(kept, found))
    rows += exploratory_rows(table)
    rows += data_set_rows(kept, contests, seed=seed)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _mass_curve(table: Table, contests: Sequence[Contest]) -> pd.DataFrame:
    tolerances = np.linspace(0.0, 5 * max(table.tolerances), CURVE_POINTS).round(12).tolist()
    rows: list[Row] = []
    for found in contests:
        for family in found.families:
            rows += mass_rows(table, found, family, tolerances)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _overall_best(table: Table, found: Contest) -> Row:
    """The value of the best of all families: its family and its setting are both chosen."""
    cells = [one.fitted.cells for one in found.competing or found.families]
    value = missing(found.reason)
    if math.isfinite(found.best):
        reason = "no interval: families differ in their noise"
        value = Estimate(cells[0].sign * found.best, math.nan, math.nan, choice_words(cells[0]), reason)
    return (
        labels(table, cells[0], "best")
        | numbers(value.noting(found.note), "best")
        | {
            "family": "",
            "n_configs": sum(one.num_configs for one in cells),
            "n_seeds": max(one.num_seeds for one in cells),
            "n_failed": sum(int(one.failed.sum()) for one in cells),
        }
    )
