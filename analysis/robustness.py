"""Robustness of every family: how good it gets, and how much of its space is nearly that good."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.contest import Contender, Contest, choice_words, contest, outcome_limits
from analysis.crossfit import interquartile_mean, normalised_regret
from analysis.intervals import Estimate, around, deviation, missing, rate
from analysis.near_optimal import mass, mass_bounds, search_cost
from analysis.profiles import profiles
from analysis.scorecard import scorecard
from analysis.statistics import fit_noise
from analysis.table import Axis, Table

__all__ = ["COLUMNS", "mass_curve", "measures", "measures_and_curve", "profiles", "scorecard"]

COLUMNS = (
    "dataset", "outcome", "family", "measure", "axis", "tolerance", "reference", "estimate", "low", "high",
    "method", "n_configs", "n_seeds", "n_failed", "reason",
)  # fmt: skip

CURVE_POINTS = 61
"""Tolerances of the curve of near-optimal mass, from 0 to five times the largest declared."""


def measures(table: Table, *, seed: int) -> pd.DataFrame:
    """Every robustness measure of every family and data set.

    best, worst_case: cross-fitted value of the best and the worst configuration (`best_plug_in` beside it);
    `best` with an empty family and reference `common` is cross-fitted over families and configurations.
    near_optimal_mass, search_cost, normalised_regret: from the family's best (reference `own`) and from the
    best of all families (`common`). worst_octave_drop: loss within a factor 2 of the best along a log axis.
    seed_sd, failure_rate, interquartile_mean: over all of the family's trials. default_gap: what tuning
    gains.

    Args:
        seed: of the bootstrap and the surrogates' restarts.

    Returns:
        A row a measure (columns `COLUMNS`), accuracies as shares; NaN with a reason where there is too
        little data.
    """
    return _measures(table, _contests(table, seed))


def mass_curve(table: Table, *, seed: int) -> pd.DataFrame:
    """Near-optimal mass over a fine grid of tolerances: the rows of `measures`, own and common reference."""
    return _mass_curve(table, _contests(table, seed))


def measures_and_curve(table: Table, *, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`measures` and `mass_curve` for the price of one: both rest on the same fits."""
    found = _contests(table, seed)
    return _measures(table, found), _mass_curve(table, found)


def _contests(table: Table, seed: int) -> list[Contest]:
    return [contest(table, dataset, seed=seed) for dataset in table.datasets]


def _measures(table: Table, contests: Sequence[Contest]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for found in contests:
        for family in found.families:
            rows += _own_rows(table, family)
            rows += _regret_rows(table, found, family)
            rows += _mass_rows(table, found, family, table.tolerances)
            rows += _cost_rows(table, found, family)
        if found.families:
            rows.append(_overall_best(table, found))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _mass_curve(table: Table, contests: Sequence[Contest]) -> pd.DataFrame:
    tolerances = np.linspace(0.0, 5 * max(table.tolerances), CURVE_POINTS).round(12).tolist()
    rows: list[dict[str, Any]] = []
    for found in contests:
        for family in found.families:
            rows += _mass_rows(table, found, family, tolerances)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _own_rows(table: Table, family: Contender) -> Iterator[dict[str, Any]]:
    """Measures of a family by itself."""
    cells = family.fitted.cells
    least, most = outcome_limits(table.outcome, cells.sign)
    plug_in = float(np.nanmax(family.fitted.outcome.means))
    biased = "no interval: the maximum of noisy means is biased"
    yield _row(table, family, "best", family.best.flipped(cells.sign))
    yield _row(table, family, "best_plug_in", Estimate(cells.sign * plug_in, math.nan, math.nan, "plug-in", biased))
    worst = family.measure("worst_case", least=least, most=most)
    worst = replace(worst, method=f"{choice_words(cells)}; {worst.method}") if worst.method else worst
    yield _row(table, family, "worst_case", worst.flipped(cells.sign))
    yield _row(table, family, "interquartile_mean", _middle(family, least, most).flipped(cells.sign))
    yield _row(table, family, "seed_sd", deviation(fit_noise(cells.outcome, cells.blocks)))
    failures = rate(cells.failed, np.isfinite(cells.outcome), sampled=table.design != "grid")
    yield _row(table, family, "failure_rate", failures)
    for axis in cells.axes:
        yield _row(table, family, "worst_octave_drop", _octave_drop(family, axis), axis=axis.name)
    yield _row(table, family, "default_gap", _default_gap(family))


def _middle(family: Contender, least: float, most: float) -> Estimate:
    """The interquartile mean, which one seed is enough for, though not for its interval."""
    if family.values:
        return family.measure("interquartile_mean", least=least, most=most)
    value = interquartile_mean(family.fitted.cells.outcome)
    return around(value, math.nan, seeds=1, method="middle half of all trials")


def _octave_drop(family: Contender, axis: Axis) -> Estimate:
    if family.reason:
        return missing(family.reason)
    if axis.scale not in ("log", "log2"):
        return missing("not a log axis")
    if ("worst_octave_drop", axis.name) not in family.values:
        return missing("too few configurations")
    # The best is a point of its own slice, so the drop can't be negative.
    return family.measure("worst_octave_drop", axis.name, least=0.0)


def _default_gap(family: Contender) -> Estimate:
    if family.reason:
        return missing(family.reason)
    if ("default_gap", "") not in family.values:
        return missing(family.default)
    found = family.measure("default_gap")
    return replace(found, method=f"{found.method}; {family.default}")


def _overall_best(table: Table, found: Contest) -> dict[str, Any]:
    """The value of the best of all families: its family and its setting are both chosen."""
    cells = [family.fitted.cells for family in found.families]
    value = missing(found.reason)
    if math.isfinite(found.best):
        reason = "no interval: families differ in their noise"
        value = Estimate(cells[0].sign * found.best, math.nan, math.nan, choice_words(cells[0]), reason)
    return _row(table, found.families[0], "best", value, reference="common") | {
        "family": "",
        "n_configs": sum(one.num_configs for one in cells),
        "n_seeds": max(one.num_seeds for one in cells),
        "n_failed": sum(int(one.failed.sum()) for one in cells),
        "reason": value.reason,
    }


def _regret_rows(table: Table, found: Contest, family: Contender) -> Iterator[dict[str, Any]]:
    cells = family.fitted.cells
    own = family.measure("normalised_regret", least=0.0, most=1.0)
    yield _row(table, family, "normalised_regret", missing(family.reason) if family.reason else own, reference="own")
    common = missing(found.reason_for(family))
    if not common.reason:
        common = around(
            normalised_regret(found.best, cells.balanced.column, floor=cells.floor),
            found.regret_errors[cells.family], seeds=cells.num_seeds, method="parametric bootstrap",
            least=0.0, most=1.0,
        )  # fmt: skip
        common = found.supported(common)
    yield _row(table, family, "normalised_regret", common, reference="common")


def _mass_rows(
    table: Table, found: Contest, family: Contender, tolerances: Sequence[float]
) -> Iterator[dict[str, Any]]:
    for reference in ("own", "common"):
        for tolerance in tolerances:
            value = _mass(table, found, family, reference, tolerance)
            yield _row(table, family, "near_optimal_mass", value, tolerance=tolerance, reference=reference)


def _cost_rows(table: Table, found: Contest, family: Contender) -> Iterator[dict[str, Any]]:
    """The cost of a search falls with the mass: its interval is that of the mass, turned round."""
    for reference in ("own", "common"):
        for tolerance in table.tolerances:
            share = _mass(table, found, family, reference, tolerance)
            value = replace(
                share,
                estimate=search_cost(share.estimate),
                low=search_cost(share.high),
                high=search_cost(share.low),
            )
            yield _row(table, family, "search_cost", value, tolerance=tolerance, reference=reference)


def _mass(table: Table, found: Contest, family: Contender, reference: str, tolerance: float) -> Estimate:
    sampled, own = table.design != "grid", reference == "own"
    bounds, reason = (family.bounds, family.reason) if own else (found.bounds, found.reason_for(family))
    if bounds is None or reason:
        return missing(reason)
    surface = family.fitted.outcome
    best = family.best.estimate if own else found.best
    kept = slice(None) if own else found.spans[family.fitted.cells.family]
    low, high = mass_bounds(bounds, kept, tolerance=tolerance, sampled=sampled)
    within, between = bounds.df
    words = f"cross-fitted best, shrunken means; Tukey bands, {within:.0f} and {between:.1f} df"
    if sampled:
        words += "; Clopper-Pearson over configurations"
    value = mass(surface.expected, surface.error, best, tolerance=tolerance)
    shown = Estimate(value, low, high, words).holding()
    return (family if own else found).supported(shown)


def _row(
    table: Table, family: Contender, measure: str, found: Estimate, *, axis: str = "",
    tolerance: float = math.nan, reference: str = "own",
) -> dict[str, Any]:  # fmt: skip
    cells = family.fitted.cells
    return {
        "dataset": cells.dataset,
        "outcome": table.outcome,
        "family": cells.family,
        "measure": measure,
        "axis": axis,
        "tolerance": tolerance,
        "reference": reference,
        "estimate": found.estimate,
        "low": found.low,
        "high": found.high,
        "method": found.method,
        "n_configs": cells.num_configs,
        "n_seeds": cells.num_seeds,
        "n_failed": int(cells.failed.sum()),
        "reason": "; ".join(part for part in (found.reason, family.note) if part),
    }
