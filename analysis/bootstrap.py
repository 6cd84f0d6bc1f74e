"""Errors of a family's measures, from data sets drawn out of its own noise model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from analysis.balance import balance, row_means
from analysis.crossfit import choose_best, choose_worst, interquartile_mean, left_out_means, normalised_regret
from analysis.fitted import Fitted
from analysis.lines import Line
from analysis.statistics import Noise, fit_noise

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Key = tuple[str, str]

REPLICATES = 200
"""Simulated data sets: the standard error itself is then known within 5 %."""


@dataclass(frozen=True)
class Problem:
    """What the measures of one family need beside its outcomes.

    Args:
        fitted: the family.
        slices: log axis -> the slice of two octaves through a configuration, by its number.
        default: the default configuration, where there is one.
        sampled: whether configurations are a sample of the space and not all of it.
    """

    fitted: Fitted
    slices: Mapping[str, Callable[[int], Line]]
    default: Line | None
    sampled: bool


def own_measures(
    problem: Problem, selection: Floats, outcome: Floats, failed: Bools, rows: NDArray[np.intp]
) -> dict[Key, float]:
    """Every measure of one family that needs no other family, by (measure, axis).

    Args:
        selection, outcome: (n, S), larger is better.
        failed: (n, S) trials that failed.
        rows: configurations over which averages are taken.
    """
    cells = problem.fitted.cells
    floor = cells.floor
    selection, outcome = (balance(column, failed, cells.blocks).column for column in (selection, outcome))
    best, worst = choose_best(selection, outcome), choose_worst(selection, outcome)
    found: dict[Key, float] = {
        ("best", ""): best.mean,
        ("worst_case", ""): worst.mean,
        ("normalised_regret", ""): normalised_regret(best.mean, outcome[rows], floor=floor),
        ("interquartile_mean", ""): interquartile_mean(outcome[rows]),
    }
    filled = _filled(outcome)
    if problem.default is not None:
        gaps = [best.values[s] - problem.default.values(filled[:, s])[0] for s in range(outcome.shape[1])]
        found["default_gap", ""] = _mean(gaps)
    scores = _filled(left_out_means(selection))
    for axis, line_at in problem.slices.items():
        found["worst_octave_drop", axis] = _mean(_drops(line_at, best.weights, scores, filled))
    return found


def own_errors(problem: Problem, *, seed: int) -> dict[Key, float]:
    """Root mean squared error of each measure over simulated data sets.

    A data set is the shrunken surface plus seed, seed x batch size and residual noise; where configurations
    are a sample, those that are averaged are drawn anew. What is chosen on a simulated set is judged by its
    expected value there; regret is measured from the surface's true best, so that falling short of it counts
    as error. Empty where no two runs tell anything about noise.
    """
    fitted = problem.fitted
    if not np.isfinite(fitted.outcome.noise.residual):
        return {}
    rng = np.random.default_rng([seed, crc32(f"{fitted.cells.dataset}/{fitted.cells.family}".encode())])
    count = fitted.cells.num_configs
    every = np.arange(count)
    expected = np.where(np.isfinite(fitted.cells.outcome), fitted.outcome.expected[:, None], np.nan)
    regret = normalised_regret(float(fitted.outcome.expected.max()), expected, floor=fitted.cells.floor)
    squares: dict[Key, list[float]] = {}
    for _ in range(REPLICATES):
        selection, outcome, failed = _simulated(fitted, rng)
        rows = np.sort(rng.integers(count, size=count)) if problem.sampled else every
        estimate = own_measures(problem, selection, outcome, failed, rows)
        target = own_measures(problem, selection, expected, failed, every) | {("normalised_regret", ""): regret}
        for key, value in estimate.items():
            squares.setdefault(key, []).append((value - target[key]) ** 2)
    return {key: _root_mean(values) for key, values in squares.items()}


def common_noise(families: Sequence[Fitted]) -> tuple[Noise, NDArray[np.intp]]:
    """The noise model of all families of a data set, in blocks of a family and a batch size.

    What all runs of a seed share cancels between families; the rest of a family's seed effects does not.
    The residual's degrees of freedom are those of the family with the fewest.
    """
    blocks = np.concatenate([_labels(index, one) for index, one in enumerate(families)])
    blocks = np.unique(blocks, axis=0, return_inverse=True)[1].ravel().astype(np.intp)
    outcome = np.concatenate([one.cells.succeeded for one in families])
    noise = fit_noise(outcome, blocks)
    df = [one.outcome.noise.df_residual for one in families if one.outcome.noise.residual > 0]
    return replace(noise, df_residual=min(df, default=noise.df_residual)), blocks


def common_regret_errors(families: Sequence[Fitted], *, sampled: bool, seed: int) -> Floats:
    """(families,) root mean squared errors of the regret measured from the best of all families.

    Seeds act on all families alike; each has its own residual noise and its own share of failures. The best
    is chosen on the simulated outcome itself.
    """
    noise, blocks = common_noise(families)
    rng = np.random.default_rng([seed, crc32(families[0].cells.dataset.encode())])
    spans, floor = list(family_slices(families)), families[0].cells.floor
    successful = np.concatenate([one.outcome.successful for one in families])
    residual = np.concatenate([np.full(len(one.cells.points), one.outcome.noise.residual) for one in families])
    failing = np.concatenate([one.outcome.failing for one in families])
    present = np.concatenate([np.isfinite(one.cells.outcome) for one in families])
    top = max(float(one.outcome.expected.max()) for one in families)
    truth = [normalised_regret(top, one.outcome.expected[:, None], floor=floor) for one in families]
    errors = np.zeros((REPLICATES, len(families)))
    for replicate in range(REPLICATES):
        outcome = _draw(successful, noise, residual, blocks, rng, present.shape[1])
        failed = present & (rng.uniform(size=present.shape) < failing[:, None])
        outcome = np.where(present, np.where(failed, floor, outcome), np.nan)
        outcome = balance(outcome, failed, blocks).column
        best = choose_best(outcome, outcome).mean
        for index, span in enumerate(spans):
            own = outcome[span]
            own = own[np.sort(rng.integers(len(own), size=len(own)))] if sampled else own
            errors[replicate, index] = normalised_regret(best, own, floor=floor) - truth[index]
    return np.array([_root_mean(list(column**2)) for column in errors.T])


def family_slices(families: Sequence[Fitted]) -> Iterator[slice]:
    """Where each family's configurations lie when all are stacked."""
    start = 0
    for one in families:
        yield slice(start, start + one.cells.num_configs)
        start += one.cells.num_configs


def _simulated(fitted: Fitted, rng: np.random.Generator) -> tuple[Floats, Floats, Bools]:
    """Selection, outcome and failures of one simulated data set; a run that fails, fails in both."""
    cells, noise = fitted.cells, fitted.outcome.noise
    present = np.isfinite(cells.outcome)
    failed = present & (rng.uniform(size=present.shape) < fitted.outcome.failing[:, None])
    outcome = _draw(fitted.outcome.successful, noise, noise.residual, cells.blocks, rng, present.shape[1])
    selection = outcome
    if fitted.selection is not fitted.outcome:
        noise = fitted.selection.noise
        selection = _draw(fitted.selection.successful, noise, noise.residual, cells.blocks, rng, present.shape[1])
    selection = np.where(np.isfinite(cells.selection), np.where(failed, cells.floor, selection), np.nan)
    return selection, np.where(present, np.where(failed, cells.floor, outcome), np.nan), failed


def _draw(
    expected: Floats, noise: Noise, residual: Floats | float, blocks: NDArray[np.intp],
    rng: np.random.Generator, seeds: int,
) -> Floats:  # fmt: skip
    seed = rng.normal(0.0, np.sqrt(noise.seed), seeds)
    block = rng.normal(0.0, np.sqrt(noise.block), (int(blocks.max()) + 1, seeds))
    own = rng.normal(size=(len(expected), seeds)) * np.sqrt(np.reshape(residual, (-1, 1)))
    drawn: Floats = expected[:, None] + seed + block[blocks] + own
    return drawn


def _drops(line_at: Callable[[int], Line], chosen: Floats, scores: Floats, outcome: Floats) -> Iterator[float]:
    """By seed left out: the best minus the least on its slice, both found on the other seeds."""
    for s in range(outcome.shape[1]):
        if not chosen[:, s].any():
            continue
        line = line_at(int(np.argmax(chosen[:, s])))
        least = int(np.argmin(line.values(scores[:, s])))
        read = line.values(outcome[:, s])
        yield float(read[0] - read[least])


def _filled(column: Floats) -> Floats:
    """Missing trials at their configuration's mean."""
    return np.where(np.isfinite(column), column, row_means(column)[:, None])


def _labels(index: int, fitted: Fitted) -> NDArray[np.intp]:
    blocks = fitted.cells.blocks
    return np.column_stack([np.full(len(blocks), index), blocks])


def _mean(values: "Sequence[float] | Iterator[float]") -> float:
    numbers = np.fromiter(values, dtype=float)
    numbers = numbers[np.isfinite(numbers)]
    return float(numbers.mean()) if len(numbers) > 1 else float("nan")


def _root_mean(squares: list[float]) -> float:
    numbers = np.array(squares)
    numbers = numbers[np.isfinite(numbers)]
    return float(np.sqrt(numbers.mean())) if len(numbers) else float("nan")
