"""One family with all that its own measures are computed from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.cells import Cells
from analysis.estimation.fitted import Fitted, cell_surrogate
from analysis.estimation.intervals import Estimate, around, missing
from analysis.estimation.noise import CONFIDENCE
from analysis.robustness.bootstrap import own_errors
from analysis.robustness.choices import Key, Problem, between_errors, censored, own_measures
from analysis.robustness.lines import default_line, default_point, octave_slices, whole_slices
from analysis.robustness.near_optimal import Shortfall, shortfall
from analysis.robustness.null import best_null
from analysis.robustness.tunability import tuned_slices
from analysis.table import Table

Floats = NDArray[np.float64]


TRIALS_MISSING = "trials missing"
"""The reason where configurations of a batch size share too few seeds to be compared."""

ALL_FAILED = "all failed"


@dataclass(frozen=True)
class Contender:
    """One family.

    Args:
        fitted: its trials, noise and surface.
        values, errors: measures and their standard errors; empty with one seed.
        best: cross-fitted, larger is better.
        bounds: how far each configuration is below the family's best; None where `reason` is given.
        default: the default configuration in words, or why there is no gap to it.
        reason: why the shape of the family can't be measured; empty where it can.
        note: what is missing of the planned grid.
        null: the best if no configuration were better than another.
        censored: basins that touch an end of their axis.
    """

    fitted: Fitted
    values: Mapping[Key, float]
    errors: Mapping[Key, float]
    best: Estimate
    bounds: Shortfall | None
    default: str
    reason: str
    note: str
    null: Estimate = field(default_factory=lambda: missing("one seed"))
    censored: frozenset[Key] = frozenset()

    def measure(self, key: Key, *, least: float = -math.inf, most: float = math.inf) -> Estimate:
        """A measure with its bootstrap interval; NaN with one seed."""
        if not self.values:
            return missing(self.reason)
        seeds = self.fitted.cells.num_seeds
        value, error = self.values.get(key, math.nan), self.errors.get(key, math.nan)
        found = around(value, error, seeds=seeds, method="parametric bootstrap", least=least, most=most)
        return self.supported(found)

    def supported(self, found: Estimate) -> Estimate:
        """Without its interval where too few trials are there to compare configurations."""
        if self.fitted.cells.is_connected or not math.isfinite(found.estimate):
            return found
        return found.without_interval(TRIALS_MISSING)


def not_measured(best: float, outcome: Floats, floor: float, *, shared: bool) -> str:
    """Why distances from a cross-fitted best of (n, S) outcomes say nothing; empty where they do."""
    if math.isnan(best):
        several = bool((np.isfinite(outcome).sum(axis=1) > 1).any())
        return "what was chosen ran on too few seeds" if several else "no configuration has two seeds"
    # Nothing is robust about what never gets off the floor.
    return "" if above(best, floor) else "every family at floor" if shared else "at floor"


def contender(table: Table, fitted: Fitted, seed: int) -> Contender:
    """Measure a family by itself; with one seed, say so."""
    cells, note = fitted.cells, _note(table, fitted)
    if cells.num_seeds < 2:
        return Contender(fitted, {}, {}, missing("one seed"), None, "one seed", "one seed", note)
    if not np.isfinite(cells.selection).any():
        reason = f"no {cells.chosen_on}"
        return Contender(fitted, {}, {}, missing(reason), None, reason, reason, note)
    problem, default = _problem(table, fitted, seed)
    found = own_measures(problem, cells.selection, cells.outcome, cells.failed)
    values = {key: float(value) for key, value in found.items()}
    errors = own_errors(problem, seed=seed)
    errors |= {key: math.hypot(errors.get(key, math.nan), error) for key, error in between_errors(problem).items()}
    key = Key("best")
    least, most = outcome_limits(table, cells.sign)
    best = around(
        values[key], errors.get(key, math.nan), seeds=cells.num_seeds,
        method=f"{choice_words(cells)}; parametric bootstrap",
        least=least, most=most,
    )  # fmt: skip
    failed = ALL_FAILED if cells.all_failed else ""
    reason = failed or not_measured(values[key], cells.outcome, cells.floor, shared=False)
    if math.isnan(best.estimate):
        best = missing(reason)
    elif failed or not cells.is_connected:
        best = best.without_interval(failed or TRIALS_MISSING)
    reason = reason or ("one configuration" if cells.num_configs == 1 else "")
    bounds = None if reason else _own_bounds(table, fitted)
    null = best_null(cells, seed=seed)
    return Contender(fitted, values, errors, best, bounds, default, reason, note, null, censored(problem))


def choice_words(cells: Cells) -> str:
    """How maxima are chosen, as a method says it."""
    on_outcome = cells.chosen_on == cells.outcome_name and cells.outcome_name.endswith("_top1")
    return "cross-fitted, chosen on the outcome" if on_outcome else "cross-fitted"


def above(value: float, floor: float) -> bool:
    """Whether a value is off the floor by more than rounding: a mean of floors differs from it in its last digits."""
    return value > floor + 1e-12 * abs(floor)


def outcome_limits(table: Table, sign: float) -> tuple[float, float]:
    """The range of the table's outcome times its sign.

    Accuracies are shares; so is an outcome to maximise of which every finite value lies in [0, 1]. Others are taken
    as unbounded.
    """
    if not table.outcome.endswith("_top1"):
        values = table.trials[table.outcome].to_numpy(dtype=float, na_value=np.nan)
        finite = values[np.isfinite(values)]
        share = table.direction == "maximize" and len(finite) and finite.min() >= 0 and finite.max() <= 1
        if not share:
            return -math.inf, math.inf
    return (0.0, 1.0) if sign > 0 else (-1.0, 0.0)


def _own_bounds(table: Table, fitted: Fitted) -> Shortfall:
    cells, surface = fitted.cells, fitted.outcome
    return shortfall(
        surface.means, cells.blocks, surface.variances, surface.noise,
        shares=cells.balanced.shares, confidence=confidence(table),
    )  # fmt: skip


def confidence(table: Table) -> float:
    """In scattered designs half of the error is left to the draw of the configurations."""
    return CONFIDENCE if table.design == "grid" else 0.5 + CONFIDENCE / 2


def _problem(table: Table, fitted: Fitted, seed: int) -> tuple[Problem, str]:
    """What to measure along: slices, and the default with what it is or why there is none."""
    cells, sampled = fitted.cells, table.design != "grid"
    surrogate = cell_surrogate(cells, table.outcome, seed=seed) if sampled else None
    if sampled and surrogate is None:
        return Problem(fitted, {}, None, sampled), "too few configurations"

    slices = {axis.name: octave_slices(cells, axis, surrogate) for axis in cells.axes if axis.scale in ("log", "log2")}
    point, reason = default_point(cells)
    default = default_line(cells, point, surrogate) if point else None
    words = ", ".join(f"{name}={value:.3g}" for name, value in point.items())
    if default is None and not reason:
        reason = f"no trial at the default {words}" if point else "one configuration"
    tuned = {} if default is None or sampled else tuned_slices(cells, int(default.members[0]))
    basins = {axis.name: whole_slices(cells, axis, surrogate) for axis in cells.axes if axis.scale is not None}
    problem = Problem(fitted, slices, default, sampled, tuned, basins, table.tolerances, surrogate)
    return problem, reason or f"default {words}"


def _note(table: Table, fitted: Fitted) -> str:
    """What is missing of a planned grid, and what else to know about its failures."""
    cells = fitted.cells
    planned = math.prod(len(axis.levels) for axis in cells.axes)
    absent = cells.num_configs * cells.num_seeds - int(np.isfinite(cells.outcome).sum())
    missed = f"{absent} trials missing" if absent else ""
    if table.design == "grid" and cells.num_configs < planned:
        missed = f"{cells.num_configs} of {planned} configurations have trials"
    return "; ".join(part for part in (missed, cells.weights_note, cells.note) if part)
