"""The families of one data set with all that their measures are computed from."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from analysis.balance import balance
from analysis.bootstrap import (
    Problem,
    common_noise,
    common_regret_errors,
    family_slices,
    own_errors,
    own_measures,
)
from analysis.cells import Cells, all_cells
from analysis.crossfit import choose_best
from analysis.fitted import Fitted, cell_surrogate, fit_family
from analysis.intervals import Estimate, around, missing
from analysis.lines import Line, default_line, default_point, octave_line
from analysis.near_optimal import Shortfall, shortfall
from analysis.statistics import CONFIDENCE
from analysis.table import Table

Floats = NDArray[np.float64]


TRIALS_MISSING = "trials missing"
"""The reason where configurations of a batch size share too few seeds to be compared."""


@dataclass(frozen=True)
class Contender:
    """One family.

    Args:
        fitted: its trials, noise and surface.
        values, errors: measures and their standard errors by (measure, axis); empty with one seed.
        best: cross-fitted, larger is better.
        bounds: how far each configuration is below the family's best; None where `reason` is given.
        default: the default configuration in words, or why there is no gap to it.
        reason: why the shape of the family can't be measured; empty where it can.
        note: what is missing of the planned grid.
    """

    fitted: Fitted
    values: Mapping[tuple[str, str], float]
    errors: Mapping[tuple[str, str], float]
    best: Estimate
    bounds: Shortfall | None
    default: str
    reason: str
    note: str

    def measure(self, name: str, axis: str = "", *, least: float = -math.inf, most: float = math.inf) -> Estimate:
        """A measure with its bootstrap interval; NaN with one seed."""
        if not self.values:
            return missing(self.reason)
        seeds, key = self.fitted.cells.num_seeds, (name, axis)
        value, error = self.values.get(key, math.nan), self.errors.get(key, math.nan)
        found = around(value, error, seeds=seeds, method="parametric bootstrap", least=least, most=most)
        return self.supported(found)

    def supported(self, found: Estimate) -> Estimate:
        """Without its interval where too few trials are there to compare configurations."""
        if self.fitted.cells.is_connected or not math.isfinite(found.estimate):
            return found
        return found.without_interval(TRIALS_MISSING)


@dataclass(frozen=True)
class Contest:
    """All families of a data set side by side.

    Args:
        families: in the order of their names.
        best: cross-fitted over families and configurations, larger is better.
        bounds: how far each configuration is below the best of all, the families that compete stacked in order.
        spans: family -> where it lies in `bounds`; absent where its noise is unknown.
        regret_errors: family -> standard error of its regret from `best`.
        reason: why nothing can be measured from the best of all; empty where it can.
        connected: whether enough trials are there to compare all configurations of all families.
    """

    families: Sequence[Contender]
    best: float
    bounds: Shortfall | None
    spans: Mapping[str, slice]
    regret_errors: Mapping[str, float]
    reason: str
    connected: bool = True

    def reason_for(self, family: Contender) -> str:
        """Why a family can't be measured from the best of all; empty where it can."""
        return self.reason or ("" if family.fitted.cells.family in self.spans else family.reason)

    def supported(self, found: Estimate) -> Estimate:
        """Without its interval where too few trials are there to compare configurations."""
        return found if self.connected else found.without_interval(TRIALS_MISSING)


def contest(table: Table, dataset: str, *, seed: int) -> Contest:
    """Fit every family of a data set, alone and side by side."""
    fitted = [fit_family(family, seed=seed) for family in all_cells(table, dataset, table.outcome)]
    families = [_contender(table, one, seed) for one in fitted]
    # Nothing is known about the noise of a family with one seed: it can't compete, nor disturb the others.
    able = [one for one in fitted if math.isfinite(one.outcome.noise.residual)]
    if not able:
        return Contest(families, math.nan, None, {}, {}, families[0].reason if families else "no trials")
    noise, blocks = common_noise(able)
    failed = np.concatenate([one.cells.failed for one in able])
    level = balance(np.concatenate([one.cells.outcome for one in able]), failed, blocks)
    selection = balance(np.concatenate([one.cells.selection for one in able]), failed, blocks).column
    best = choose_best(selection, level.column).mean
    reason = _not_measured(best, able[0].cells.floor, shared=True)
    if reason:
        return Contest(families, best, None, {}, {}, reason)
    means = np.concatenate([one.outcome.means for one in able])
    error = np.concatenate([one.outcome.variances for one in able])
    bounds = shortfall(means, blocks, error, noise, shares=level.shares, confidence=_confidence(table))
    errors = common_regret_errors(able, sampled=table.design != "grid", seed=seed)
    names = [one.cells.family for one in able]
    spans = dict(zip(names, family_slices(able), strict=True))
    return Contest(
        families, best, bounds, spans, dict(zip(names, errors.tolist(), strict=True)), "", bool(level.connected.all())
    )


def _not_measured(best: float, floor: float, *, shared: bool) -> str:
    """Why distances from a best say nothing; empty where they do."""
    if math.isnan(best):
        return "no configuration has two seeds"
    # Nothing is robust about what never gets off the floor.
    return "" if _above(best, floor) else "every family at floor" if shared else "at floor"


def _contender(table: Table, fitted: Fitted, seed: int) -> Contender:
    cells, note = fitted.cells, _note(table, fitted)
    if cells.num_seeds < 2:
        return Contender(fitted, {}, {}, missing("one seed"), None, "one seed", "one seed", note)
    if not np.isfinite(cells.selection).any():
        reason = f"no {cells.chosen_on}"
        return Contender(fitted, {}, {}, missing(reason), None, reason, reason, note)
    problem, default = _problem(table, fitted, seed)
    values = own_measures(problem, cells.selection, cells.outcome, cells.failed, np.arange(cells.num_configs))
    errors = own_errors(problem, seed=seed)
    key = ("best", "")
    least, most = outcome_limits(table.outcome, cells.sign)
    best = around(
        values[key], errors.get(key, math.nan), seeds=cells.num_seeds,
        method=f"{choice_words(cells)}; parametric bootstrap",
        least=least, most=most,
    )  # fmt: skip
    reason = _not_measured(values[key], cells.floor, shared=False)
    if math.isnan(best.estimate):
        best = missing(reason)
    elif not cells.is_connected:
        best = best.without_interval(TRIALS_MISSING)
    reason = reason or ("one configuration" if cells.num_configs == 1 else "")
    bounds = None if reason else _own_bounds(table, fitted)
    return Contender(fitted, values, errors, best, bounds, default, reason, note)


def choice_words(cells: Cells) -> str:
    """How maxima are chosen, as a method says it."""
    on_outcome = cells.chosen_on == cells.outcome_name and cells.outcome_name.endswith("_top1")
    return "cross-fitted, chosen on the outcome" if on_outcome else "cross-fitted"


def _above(value: float, floor: float) -> bool:
    """Above by more than rounding: a mean of floors differs from the floor in its last digits."""
    return value > floor + 1e-9 * max(1.0, abs(floor))


def outcome_limits(outcome: str, sign: float) -> tuple[float, float]:
    """The range of an outcome times its sign: accuracies are shares, others are taken as unbounded."""
    if not outcome.endswith("_top1"):
        return -math.inf, math.inf
    return (0.0, 1.0) if sign > 0 else (-1.0, 0.0)


def _own_bounds(table: Table, fitted: Fitted) -> Shortfall:
    cells, surface = fitted.cells, fitted.outcome
    return shortfall(
        surface.means, cells.blocks, surface.variances, surface.noise,
        shares=cells.balanced.shares, confidence=_confidence(table),
    )  # fmt: skip


def _confidence(table: Table) -> float:
    """In scattered designs half of the error is left to the draw of the configurations."""
    return CONFIDENCE if table.design == "grid" else 0.5 + CONFIDENCE / 2


def _problem(table: Table, fitted: Fitted, seed: int) -> tuple[Problem, str]:
    """What to measure along: slices, and the default with what it is or why there is none."""
    cells, sampled = fitted.cells, table.design != "grid"
    surrogate = cell_surrogate(cells, table.outcome, seed=seed) if sampled else None
    if sampled and surrogate is None:
        return Problem(fitted, {}, None, sampled), "too few configurations"

    def slice_along(name: str) -> Callable[[int], Line]:
        axis = next(axis for axis in cells.axes if axis.name == name)
        return cache(lambda start: octave_line(cells, axis, start, surrogate))

    slices = {axis.name: slice_along(axis.name) for axis in cells.axes if axis.scale in ("log", "log2")}
    point, reason = default_point(cells)
    default = default_line(cells, point, surrogate) if point else None
    words = ", ".join(f"{name}={value:.3g}" for name, value in point.items())
    if default is None and not reason:
        reason = f"no trial at the default {words}" if point else "one configuration"
    return Problem(fitted, slices, default, sampled), reason or f"default {words}"


def _note(table: Table, fitted: Fitted) -> str:
    """What is missing of a planned grid."""
    cells = fitted.cells
    planned = math.prod(len(axis.levels) for axis in cells.axes)
    if table.design == "grid" and cells.num_configs < planned:
        return f"{cells.num_configs} of {planned} configurations have trials"
    absent = cells.num_configs * cells.num_seeds - int(np.isfinite(cells.outcome).sum())
    return f"{absent} trials missing" if absent else ""
