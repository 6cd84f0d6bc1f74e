"""Errors of a family's measures, from data sets drawn out of its own noise model."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.balance import levelled, row_means
from analysis.estimation.crossfit import choose_best, highest_mean, mean_regret, seed_average
from analysis.estimation.fitted import Fitted
from analysis.estimation.noise import Noise, fit_noise
from analysis.estimation.weights import redrawn
from analysis.robustness.choices import Key, Problem, averages, basins, choose, chosen_values, true_averages

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

REPLICATES = 200
"""Simulated data sets: the standard error itself is then known within 5 %."""

_AT_ONCE = 2**18
"""Simulated trials that are worked on together: few enough to stay near the processor."""


def own_errors(problem: Problem, *, seed: int) -> dict[Key, float]:
    """Root mean squared error of each measure over simulated data sets.

    A data set is the shrunken surface plus seed, seed x batch size and residual noise; where configurations
    are a sample, those that are averaged are drawn anew. What is chosen on a simulated set is judged by its
    expected value there; averages by those of the surface, regret from its true best, so that falling short of
    it counts as error. Empty where no two runs tell anything about noise.
    """
    fitted = problem.fitted
    if not np.isfinite(fitted.outcome.noise.residual):
        return {}
    cells = fitted.cells
    rng = np.random.default_rng([seed, crc32(f"{cells.dataset}/{cells.family}".encode())])
    expected = np.broadcast_to(fitted.outcome.simulated[:, None], cells.outcome.shape)
    truth = true_averages(problem)
    squares: dict[Key, list[Floats]] = {}
    for count in portions(cells.outcome.size):
        selection, outcome, failed = simulated(fitted, rng, count)
        same = selection is outcome
        outcome = levelled(outcome, failed, cells.blocks)
        selection = outcome if same else levelled(selection, failed, cells.blocks)
        chosen, means = choose(problem, selection, outcome), row_means(outcome)
        found = chosen_values(problem, chosen, outcome)
        best = found[Key("best")]
        found |= basins(problem, best, highest_mean(selection), means)
        found |= averages(problem, best, *_redrawn(means, cells.weights, problem.sampled, rng))
        target = chosen_values(problem, chosen, np.broadcast_to(expected, outcome.shape)) | truth
        for key, value in found.items():
            squares.setdefault(key, []).append((value - target[key]) ** 2)
    return {key: _root_mean(np.concatenate(parts)) for key, parts in squares.items()}


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
    residual = np.concatenate([np.full(one.cells.num_configs, one.outcome.noise.residual) for one in families])
    failing = np.concatenate([one.outcome.failing for one in families])
    present = np.concatenate([np.isfinite(one.cells.outcome) for one in families])
    top = np.array(max(float(one.outcome.simulated.max()) for one in families))
    shares = [one.cells.weights for one in families]
    truth = np.array([
        mean_regret(top, one.outcome.simulated, floor=floor, weights=weights)
        for one, weights in zip(families, shares, strict=True)
    ])  # fmt: skip
    errors = []
    for count in portions(present.size):
        failed = _failures(failing, present, rng, count)
        drawn = _draw(successful, noise, np.sqrt(residual), blocks, rng, (count, *present.shape))
        outcome = levelled(_at_floor(drawn, present, failed, floor), failed, blocks)
        best, means = seed_average(choose_best(outcome, outcome).values), row_means(outcome)
        regrets = []
        for span, weights in zip(spans, shares, strict=True):
            drawn_again, each = _redrawn(means[:, span], weights, sampled, rng)
            regrets.append(mean_regret(best, drawn_again, floor=floor, weights=each))
        errors.append(np.stack(regrets, axis=-1) - truth)
    return np.array([_root_mean(column**2) for column in np.concatenate(errors).T])


def family_slices(families: Sequence[Fitted]) -> Iterator[slice]:
    """Where each family's configurations lie when all are stacked."""
    start = 0
    for one in families:
        yield slice(start, start + one.cells.num_configs)
        start += one.cells.num_configs


def simulated(fitted: Fitted, rng: np.random.Generator, count: int) -> tuple[Floats, Floats, Bools]:
    """Selection, outcome and failures of simulated data sets, (count, n, S) each.

    A run that fails, fails in both; where a family is chosen on its outcome, both are the same array.
    """
    cells, surface = fitted.cells, fitted.outcome
    present, shape = np.isfinite(cells.outcome), (count, *cells.outcome.shape)
    failed = _failures(surface.failing, present, rng, count)
    drawn = _draw(surface.successful, surface.noise, _deviation(surface.noise), cells.blocks, rng, shape)
    outcome = _at_floor(drawn, present, failed, cells.floor)
    chosen_on = fitted.selection
    if chosen_on is surface:
        return outcome, outcome, failed
    drawn = _draw(chosen_on.successful, chosen_on.noise, _deviation(chosen_on.noise), cells.blocks, rng, shape)
    return _at_floor(drawn, np.isfinite(cells.selection), failed, cells.floor), outcome, failed


def _deviation(noise: Noise) -> Floats:
    return np.array([np.sqrt(noise.residual)])


def _draw(
    expected: Floats, noise: Noise, deviation: Floats, blocks: NDArray[np.intp],
    rng: np.random.Generator, shape: tuple[int, int, int],
) -> Floats:  # fmt: skip
    """Data sets of shape (count, n, S)."""
    count, configurations, seeds = shape
    common = rng.normal(0.0, np.sqrt(noise.seed), (count, seeds, 1))
    common = common + rng.normal(0.0, np.sqrt(noise.block), (count, seeds, int(blocks.max()) + 1))
    # Laid out seed by seed, so that sums over seeds run along long rows.
    drawn = rng.standard_normal((count, seeds, configurations))
    drawn *= deviation
    drawn += expected
    drawn += np.take(common, blocks, axis=-1)
    return np.swapaxes(drawn, -1, -2)


def _failures(failing: Floats, present: Bools, rng: np.random.Generator, count: int) -> Bools:
    if not failing.any():
        return np.zeros((count, *present.shape), dtype=bool)
    return np.asarray(present & (rng.uniform(size=(count, *present.shape)) < failing[:, None]))


def _at_floor(drawn: Floats, present: Bools, failed: Bools, floor: float) -> Floats:
    if failed.any():
        drawn[failed] = floor
    if not present.all():
        drawn[:, ~present] = np.nan
    return drawn


def _redrawn(means: Floats, weights: Floats, sampled: bool, rng: np.random.Generator) -> tuple[Floats, Floats | None]:
    """(count, n) means of configurations that are a sample drawn anew, as many as tell as much; with weights."""
    if not sampled:
        return means, weights
    return np.take_along_axis(means, redrawn(weights, len(means), rng), axis=-1), None


def portions(trials: int) -> Iterator[int]:
    """How many data sets of this many trials to draw at a time."""
    size = max(_AT_ONCE // trials, 1)
    yield from (min(size, REPLICATES - start) for start in range(0, REPLICATES, size))


def _labels(index: int, fitted: Fitted) -> NDArray[np.intp]:
    blocks = fitted.cells.blocks
    return np.column_stack([np.full(len(blocks), index), blocks])


def _root_mean(squares: Floats) -> float:
    numbers = squares[np.isfinite(squares)]
    return float(np.sqrt(numbers.mean())) if len(numbers) else float("nan")
