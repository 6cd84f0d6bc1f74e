"""The best of a family in which no configuration is better than another."""

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.balance import levelled
from analysis.estimation.cells import Cells
from analysis.estimation.crossfit import choose_best, seed_average
from analysis.estimation.intervals import Estimate, missing

Floats = NDArray[np.float64]

PERMUTATIONS = 200

_AT_ONCE = 2**18


def best_null(cells: Cells, *, seed: int) -> Estimate:
    """Cross-fitted best where outcomes are dealt anew to the configurations within each seed and batch size.

    Returns:
        Its mean over permutations and their 2.5 and 97.5 % quantiles: a `best` inside them shows no
        configuration that is better than the others of its batch size. NaN with one seed.
    """
    if cells.num_seeds < 2:
        return missing("one seed")
    rng = np.random.default_rng(seed)
    selection, outcome = (levelled(column, cells.failed, cells.blocks) for column in (cells.selection, cells.outcome))
    found, same = [], np.array_equal(cells.selection, cells.outcome, equal_nan=True)
    size = max(_AT_ONCE // outcome.size, 1)
    for start in range(0, PERMUTATIONS, size):
        order = _dealt(cells.blocks, (min(size, PERMUTATIONS - start), outcome.shape[1]), rng)
        dealt = _taken(outcome, order)
        found.append(seed_average(choose_best(dealt if same else _taken(selection, order), dealt).values))
    best = np.concatenate(found)
    best = best[np.isfinite(best)]
    if not len(best):
        return missing("not enough trials")
    low, high = np.quantile(best, [0.025, 0.975]).tolist()
    return Estimate(float(best.mean()), low, high, f"{PERMUTATIONS} permutations within seed and batch size")


def _dealt(blocks: NDArray[np.intp], shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.intp]:
    """(*shape, n) numbers of configurations, permuted within their block."""
    order = np.empty((*shape, len(blocks)), dtype=np.intp)
    for label in np.unique(blocks):
        members = np.flatnonzero(blocks == label)
        order[..., members] = rng.permuted(np.broadcast_to(members, (*shape, len(members))), axis=-1)
    return order


def _taken(column: Floats, order: NDArray[np.intp]) -> Floats:
    """(count, n, S) from (n, S)."""
    found = np.take_along_axis(np.broadcast_to(column.T, order.shape), order, axis=-1)
    return np.swapaxes(found, -1, -2)
