"""Analysis of variance of a complete grid with seeds, and what it says of the surface without noise."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.estimation.cells import BLOCK_AXIS, Cells
from analysis.estimation.noise import block_effects
from analysis.sensitivity.decomposition import all_subsets, subset_variances

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SEED, HIGHER, UNEXPLAINED = "seed", "higher order", "unexplained"
"""Terms that aren't axes: seeds, interactions of three and more axes, and what no term explains."""

SEED_BLOCK = f"{SEED}*{BLOCK_AXIS}"
ROUNDING = 1e-12
"""A standard deviation that is smaller than this share of the values is 0."""


@dataclass(frozen=True)
class Squares:
    """A sum of squares with its degrees of freedom."""

    value: float
    df: float

    @property
    def mean(self) -> float:
        """The mean square; NaN without degrees of freedom."""
        return self.value / self.df if self.df > 0 else math.nan


@dataclass(frozen=True)
class Factorial:
    """Sums of squares of a complete grid of n cells with the same S seeds in each.

    Args:
        names: the axes, in the order of the columns of `members`.
        members: (2^d, d) every set of axes; the first one is empty.
        variances: (2^d,) part of the variance of the cell means that belongs to exactly this set of axes, every
            level of an axis having the same weight.
        dfs: (2^d,) degrees of freedom of each set.
        num_cells, num_seeds: n and S.
        seed, block, residual: seeds; seeds x batch size (0 on 0 without that axis); what is left.
        filled: trials that were missing and are filled in.
    """

    names: tuple[str, ...]
    members: Bools
    variances: Floats
    dfs: Floats
    num_cells: int
    num_seeds: int
    seed: Squares
    block: Squares
    residual: Squares
    filled: int = 0

    @property
    def trials(self) -> int:
        """n S."""
        return self.num_cells * self.num_seeds

    @cached_property
    def is_block(self) -> Bools:
        """(2^d,) whether the set is the batch size alone, whose noise is that of seeds x batch size."""
        if BLOCK_AXIS not in self.names or self.block.df == 0:
            return np.zeros(len(self.members), dtype=bool)
        alone: Bools = self.members.sum(axis=1) == 1
        return alone & self.members[:, self.names.index(BLOCK_AXIS)]

    @property
    def corrected(self) -> Floats:
        """(2^d,) `variances` less what noise is expected to add, df MS_e / (n S), not clipped.

        The sums over sets of axes are the corrections by e (1 - q_i) prod q_j and s_block^2 / S (1 - q_b).
        """
        residual = self.residual.mean if self.residual.df > 0 else 0.0
        block = max(self.block.mean, residual) if self.block.df > 0 else residual
        return self.variances - self.dfs * np.where(self.is_block, block, residual) / self.trials


def factorial(family: Cells) -> Factorial | None:
    """Decompose the trials of a family; None where its configurations are no complete grid.

    A missing trial is filled in with its configuration and seed effects, and costs the residual one degree of
    freedom. Axes with one level take no part.

    Source:
        Yates, The analysis of replicated experiments when the field results are incomplete, Empire Journal of
        Experimental Agriculture 1, 1933.
    """
    counts = {axis.name: family.settings[axis.name].nunique() for axis in family.axes}
    levels = {name: count for name, count in counts.items() if count > 1}
    if family.num_configs != math.prod(levels.values()) or not levels:
        return None
    completed = complete(family.outcome, family.blocks)
    if completed is None:
        return None
    values, filled = completed
    # Settings are sorted by their axes, so that the rows of a complete grid are already in its order.
    means = values.mean(axis=1).reshape(1, *levels.values())
    members = all_subsets(len(levels))
    variances = subset_variances(means, [np.full(count, 1.0 / count) for count in levels.values()])[0]
    if variances.sum() <= (ROUNDING * np.abs(means).max()) ** 2:
        variances[:] = 0.0
    dfs = np.where(members, np.array(list(levels.values())) - 1.0, 1.0).prod(axis=1)
    dfs[0] = 0.0
    blocks = family.blocks if BLOCK_AXIS in levels else np.zeros(len(values), dtype=np.intp)
    seed, block, residual = _seed_squares(values, blocks)
    residual = Squares(residual.value, max(residual.df - filled, 0.0))
    return Factorial(
        names=tuple(levels),
        members=members,
        variances=variances,
        dfs=dfs,
        num_cells=len(values),
        num_seeds=values.shape[1],
        seed=seed,
        block=block,
        residual=residual,
        filled=filled,
    )


def complete(outcome: Floats, blocks: NDArray[np.intp]) -> tuple[Floats, int] | None:
    """(n, S) outcomes with missing trials at their fitted value, and how many; None where that isn't known."""
    kept = outcome[:, np.isfinite(outcome).any(axis=0)]
    present = np.isfinite(kept)
    if present.all():
        return kept, 0
    values = kept.copy()
    for label in np.unique(blocks):
        rows = blocks == label
        fit = block_effects(kept[rows])
        if fit is None or not fit.connected or not np.isfinite(fit.effects).all():
            return None
        own = np.nanmean(kept[rows] - fit.effects, axis=1)
        values[rows] = np.where(present[rows], kept[rows], own[:, None] + fit.effects)
    return values, int((~present).sum())


@dataclass(frozen=True)
class Term:
    """A row of the analysis of variance.

    Args:
        name: the axis, a pair of axes (`a*b`), or one of the other terms.
        squares: its sum of squares.
        error: what it is tested against: `residual` or `seed*batch_size`; empty for the unexplained.
        is_random: whether its effects are a sample, as those of seeds are.
        f, p: Fisher's test; NaN without an error.
        omega2: (SS - df MS_e) / (SS_T + MS_e), not clipped, so that it is 0 on average where there is no effect;
            for the unexplained, 1 less all others. NaN without an error.
    """

    name: str
    squares: Squares
    error: str
    is_random: bool
    f: float
    p: float
    omega2: float


def anova(grid: Factorial) -> pd.DataFrame:
    """The table of the analysis of variance, for instance

        anova(factorial(cells(table, "digits", "dcl", "linear_top1")))

    Returns:
        A row a term: the axes, their pairs, interactions of three and more axes, seed, seed*batch_size, unexplained;
        columns term, squares, df, mean_square, error, f, p, omega2 as in `Term`.

    Source:
        Hays, Statistics for Psychologists, 1963 (omega squared).
    """
    return pd.DataFrame([
        {
            "term": term.name, "squares": term.squares.value, "df": term.squares.df,
            "mean_square": term.squares.mean, "error": term.error, "f": term.f, "p": term.p, "omega2": term.omega2,
        }
        for term in terms(grid)
    ])  # fmt: skip


def terms(grid: Factorial) -> list[Term]:
    """The rows of `anova`, the unexplained last."""
    total = float(grid.variances.sum()) * grid.trials + grid.seed.value + grid.block.value + grid.residual.value
    order = grid.members.sum(axis=1)
    found = [_of_sets(grid, np.arange(len(order)) == row, total) for row in np.flatnonzero(order == 1)]
    found += [_of_sets(grid, np.arange(len(order)) == row, total) for row in np.flatnonzero(order == 2)]
    if (order > 2).any():
        found.append(_of_sets(grid, order > 2, total))
    found.append(_term(grid, SEED, grid.seed, total, is_random=True))
    if grid.block.df > 0:
        found.append(_term(grid, SEED_BLOCK, grid.block, total, is_random=True))
    left = 1.0 - math.fsum(term.omega2 for term in found)
    return [*found, Term(UNEXPLAINED, grid.residual, "", True, math.nan, math.nan, left)]


def _of_sets(grid: Factorial, chosen: Bools, total: float) -> Term:
    """The term of one set of axes, or of all of higher order."""
    one = int(chosen.sum()) == 1 and int(grid.members[chosen].sum()) <= 2
    name = "*".join(np.array(grid.names)[grid.members[chosen][0]]) if one else HIGHER
    squares = Squares(float(grid.variances[chosen].sum()) * grid.trials, float(grid.dfs[chosen].sum()))
    return _term(grid, name, squares, total, against_block=bool(grid.is_block[chosen].any()))


def _term(
    grid: Factorial, name: str, squares: Squares, total: float, *, against_block: bool = False, is_random: bool = False
) -> Term:
    error = grid.block if against_block else grid.residual
    omega2, f = math.nan, math.nan
    if error.df > 0 and total > 0:
        omega2 = (squares.value - squares.df * error.mean) / (total + error.mean)
        f = squares.mean / error.mean if error.value > 0 else math.nan
    p = float(stats.f.sf(f, squares.df, error.df)) if math.isfinite(f) else math.nan
    return Term(name, squares, SEED_BLOCK if against_block else "residual", is_random, f, p, omega2)


def _seed_squares(values: Floats, blocks: NDArray[np.intp]) -> tuple[Squares, Squares, Squares]:
    """Seeds, seeds x blocks (of equal size), and what configurations and those leave."""
    count, seeds = values.shape
    labels = np.unique(blocks)
    centred = values - values.mean(axis=1, keepdims=True)
    per_block = np.array([centred[blocks == label].mean(axis=0) for label in labels])
    per_seed = per_block.mean(axis=0)
    of_seeds = count * float(np.sum(per_seed**2))
    of_blocks = count / len(labels) * float(np.sum((per_block - per_seed) ** 2))
    left = float(np.sum((centred - per_block[np.searchsorted(labels, blocks)]) ** 2))
    spare = seeds - 1.0
    return (
        Squares(of_seeds, spare),
        Squares(of_blocks, spare * (len(labels) - 1)),
        Squares(left, spare * (count - len(labels))),
    )
