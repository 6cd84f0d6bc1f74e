"""What one family shows by itself: the values of what is chosen on some seeds and read on another, and averages.

Every function takes one table of outcomes or many simulated ones at once: (..., n, S), larger is better.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.balance import levelled, row_means
from analysis.estimation.crossfit import (
    Choice,
    choose_best,
    choose_highest,
    highest_mean,
    left_out_means,
    mean_regret,
    seed_average,
)
from analysis.estimation.fitted import Fitted
from analysis.estimation.surrogate import Surrogate
from analysis.estimation.weights import average
from analysis.robustness.basins import basin_width
from analysis.robustness.lines import Line, Slices, change_error
from analysis.robustness.spread import cvar, interquartile_range, without_noise
from analysis.robustness.tunability import joint_gains

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]


class Key(NamedTuple):
    """A measure of one family, of an axis or a pair `a*b` and at a tolerance where it has them."""

    measure: str
    axis: str = ""
    tolerance: float = 0.0


@dataclass(frozen=True)
class Problem:
    """What the measures of one family need beside its outcomes.

    Args:
        fitted: the family.
        slices: log axis -> the slices of two octaves through its configurations.
        default: the default configuration, where there is one.
        sampled: whether configurations are a sample of the space and not all of it.
        tuned: an axis or a pair `a*b` -> the configurations that are at the default on all other axes.
        basins: numeric axis -> the slices from end to end of it.
        tolerances: how far below the best a basin reaches.
        surrogate: what gives values between configurations of a scattered design.
    """

    fitted: Fitted
    slices: Mapping[str, Slices]
    default: Line | None
    sampled: bool
    tuned: Mapping[str, Indices] = field(default_factory=dict)
    basins: Mapping[str, Slices] = field(default_factory=dict)
    tolerances: tuple[float, ...] = ()
    surrogate: Surrogate | None = None


@dataclass(frozen=True)
class Chosen:
    """What was chosen without each seed.

    Args:
        best, worst: over all configurations.
        tuned: axis or pair -> the best of its configurations.
        lines: log axis -> the slice through the best and the number of its least point, (..., S).
    """

    best: Choice
    worst: Choice
    tuned: Mapping[str, Choice]
    lines: Mapping[str, tuple[Line, Indices]]


def own_measures(problem: Problem, selection: Floats, outcome: Floats, failed: Bools) -> dict[Key, Floats]:
    """Every measure of one family that needs no other family, by (measure, axis): (...,) each.

    Args:
        selection, outcome: (..., n, S), NaN where there is no trial.
        failed: (..., n, S) trials that failed.
    """
    blocks = problem.fitted.cells.blocks
    selection, outcome = (levelled(column, failed, blocks) for column in (selection, outcome))
    found, means = chosen_values(problem, choose(problem, selection, outcome), outcome), row_means(outcome)
    best = found[Key("best")]
    everywhere = averages(problem, best, means, problem.fitted.cells.weights)
    return found | everywhere | basins(problem, best, highest_mean(selection), means)


def choose(problem: Problem, selection: Floats, outcome: Floats) -> Chosen:
    """Choose on levelled columns."""
    left_out = left_out_means(selection)
    best = choose_highest(left_out, outcome)
    tuned = {
        name: choose_highest(left_out[..., rows, :], outcome[..., rows, :]) for name, rows in problem.tuned.items()
    }
    lines = {}
    if problem.slices:
        scores = np.swapaxes(_filled(left_out), -1, -2)
        starts = best.first
        for axis, through in problem.slices.items():
            line = through(starts)
            lines[axis] = line, np.argmin(line.values(scores), axis=-1)
    return Chosen(best, choose_highest(-left_out, outcome), tuned, lines)


def chosen_values(problem: Problem, chosen: Chosen, outcome: Floats) -> dict[Key, Floats]:
    """Values of what was chosen, (...,) each, averaged over the seeds left out.

    Args:
        outcome: (..., n, S) levelled, or the expected value of every run.
    """
    best = chosen.best.read(outcome)
    found: dict[Key, Floats] = {
        Key("best"): seed_average(best),
        Key("worst_case"): seed_average(chosen.worst.read(outcome)),
    }
    if not problem.slices and problem.default is None:
        return found
    by_seed = np.swapaxes(_filled(outcome), -1, -2)
    for axis, (line, least) in chosen.lines.items():
        read = line.values(by_seed)
        places = np.stack(np.broadcast_arrays(line.here, least), axis=-1)
        here, lowest = np.moveaxis(np.take_along_axis(read, places, axis=-1), -1, 0)
        drop = here - lowest
        found[Key("worst_octave_drop", axis)] = seed_average(np.where(np.isfinite(chosen.best.values), drop, np.nan))
    if problem.default is not None:
        default = problem.default.values(by_seed)[..., 0]
        found[Key("default_gap")] = seed_average(best - default)
        gains = {
            name: seed_average(choice.read(outcome[..., problem.tuned[name], :]) - default)
            for name, choice in chosen.tuned.items()
        }
        found |= {Key("tuning_gain", name): gain for name, gain in gains.items()}
        found |= {Key("joint_gain", name): gain for name, gain in joint_gains(gains).items()}
    return found


def averages(problem: Problem, best: Floats, means: Floats, weights: Floats | None) -> dict[Key, Floats]:
    """Measures over all configurations, (...,) each.

    Args:
        best: (...,) the value that regret is measured from.
        means: (..., n) cell means, of all configurations or of some that were drawn again.
        weights: (n,) of these; equal if None.
    """
    cells, surface = problem.fitted.cells, problem.fitted.outcome
    error = float(average(np.nan_to_num(surface.variances), cells.weights))
    regret = mean_regret(best, means, floor=cells.floor, weights=weights)
    return {Key("normalised_regret"): regret} | _spread(without_noise(means, error, weights=weights), weights)


def basins(problem: Problem, best: Floats, chosen: Indices, means: Floats) -> dict[Key, Floats]:
    """Width of the basin around a configuration along each axis, (...,) each.

    Args:
        best: (...,) f*.
        chosen: (...,) number of the configuration.
        means: (..., n) cell means.
    """
    found = {}
    for axis, through in problem.basins.items():
        line = through(chosen)
        values = line.values(means)
        for tolerance in problem.tolerances:
            width, _ = basin_width(line.at, values, line.here, best - tolerance)
            found[Key("basin_width", axis, tolerance)] = width
    return found


def censored(problem: Problem) -> frozenset[Key]:
    """Basins of the family's own trials that touch an end of their axis."""
    cells = problem.fitted.cells
    selection, outcome = (levelled(column, cells.failed, cells.blocks) for column in (cells.selection, cells.outcome))
    best, means, chosen = choose_best(selection, outcome).mean, row_means(outcome), highest_mean(selection)
    found = set()
    for axis, through in problem.basins.items():
        line = through(chosen)
        for tolerance in problem.tolerances:
            _, touches = basin_width(line.at, line.values(means), line.here, np.asarray(best - tolerance))
            found |= {Key("basin_width", axis, tolerance)} if touches else set()
    return frozenset(found)


def between_errors(problem: Problem) -> dict[Key, float]:
    """What is not known of the drops within an octave because values between configurations are a surrogate's.

    The posterior standard deviation of f(x^) - f(least point of its slice). (The bootstrap draws noise around one
    surface: with its error alone .5 to .56 of the intervals covered.)
    """
    if problem.surrogate is None:
        return {}
    cells, found = problem.fitted.cells, {}
    selection, outcome = (levelled(column, cells.failed, cells.blocks) for column in (cells.selection, cells.outcome))
    chosen, means = highest_mean(selection), row_means(outcome)
    for axis in cells.axes:
        if axis.name in problem.slices:
            line = problem.slices[axis.name](chosen)
            least = int(np.argmin(line.values(means)))
            error = change_error(cells, axis, problem.surrogate, line, int(chosen), least)
            found[Key("worst_octave_drop", axis.name)] = error
    return found


def true_averages(problem: Problem) -> dict[Key, Floats]:
    """Averages and basins of the shrunken surface itself, from its true best."""
    expected = problem.fitted.outcome.simulated
    best, chosen = np.asarray(expected.max()), np.asarray(np.argmax(expected), dtype=np.intp)
    cells = problem.fitted.cells
    regret = mean_regret(best, expected, floor=cells.floor, weights=cells.weights)
    found = {Key("normalised_regret"): regret} | _spread(expected, cells.weights)
    return found | basins(problem, best, chosen, expected)


def _spread(values: Floats, weights: Floats | None) -> dict[Key, Floats]:
    return {Key("iqr"): interquartile_range(values, weights=weights), Key("cvar_10"): cvar(values, weights=weights)}


def _filled(column: Floats) -> Floats:
    """Missing trials at their configuration's mean."""
    present = np.isfinite(column)
    return column if present.all() else np.where(present, column, row_means(column)[..., None])
