"""Two families side by side: their differences at the same shared setting and the same seed."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.estimation.cells import Cells
from analysis.estimation.crossfit import left_out_means
from analysis.labels import counted

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Profile = Literal["mean", "best"]

PROFILES: tuple[Profile, ...] = ("mean", "best")
"""What stands for a family at a shared setting: the mean over its own axes, or their best, chosen on other seeds."""


@dataclass(frozen=True)
class Pairs:
    """Differences of a family from another, larger is better.

    Args:
        differences: (n, S) a row a shared setting, a column a seed at which both have every trial.
        note: what they were taken of and what was left out; empty where that goes without saying.
    """

    differences: Floats
    note: str

    @property
    def num_seeds(self) -> int:
        """S."""
        return int(self.differences.shape[1])


def pairs(family: Cells, reference: Cells, *, shared: tuple[str, ...], profile: Profile) -> Pairs:
    """Pair two families of one data set.

        d(x, s) = profile of the family at (x, s) - profile of the reference at (x, s)

    x runs over the shared settings that both have, the only one where they share no axis. A seed at which
    either lacks a trial is left out, and said.

    Args:
        shared: names of the axes that both have in common.
        profile: `mean` over the settings of a family's own axes, or their cross-fitted `best`.
    """
    names = [name for name in family.settings.columns if name in shared and name in reference.settings.columns]
    ours, theirs = setting_keys(family.settings[names], reference.settings[names])
    common = np.intersect1d(ours, theirs)
    (one, ours_each), (other, theirs_each) = (
        profiled(cells, key, common, profile) for cells, key in ((family, ours), (reference, theirs))
    )
    found = one - other
    complete, ran = np.isfinite(found).all(axis=0), np.isfinite(found).any(axis=0)
    notes = []
    if profile == "best":
        notes.append(f"best of {_span(ours_each)} settings against {_span(theirs_each)}")
    if apart := len(np.union1d(ours, theirs)) - len(common):
        notes.append(f"{counted(apart, 'shared setting')} of one side only left out")
    if dropped := int((ran & ~complete).sum()):
        notes.append(f"{counted(dropped, 'seed')} left out: trials missing")
    return Pairs(found[:, complete & ran], "; ".join(notes))


def setting_keys(one: pd.DataFrame, other: pd.DataFrame) -> tuple[Indices, Indices]:
    """(n,) and (m,) numbers of settings: the same number for the same values of all columns, which agree."""
    names = list(one.columns)
    if not names:
        return np.zeros(len(one), dtype=np.intp), np.zeros(len(other), dtype=np.intp)
    both = pd.concat([one, other], ignore_index=True).groupby(names, sort=True, dropna=False).ngroup()
    keys = both.to_numpy().astype(np.intp)
    return keys[: len(one)], keys[len(one) :]


def profiled(cells: Cells, keys: Indices, common: Indices, profile: Profile) -> tuple[Floats, Indices]:
    """A family's profile at some shared settings.

    Args:
        keys: (n,) number of each configuration's shared setting.
        common: (k,) the numbers that count, sorted.
        profile: `mean` or `best` of the configurations with the same number.

    Returns:
        (k, S), NaN where a trial is missing, and (k,) of how many configurations each is.
    """
    rows = np.flatnonzero(np.isin(keys, common))
    rows = rows[np.argsort(keys[rows], kind="stable")]
    _, starts, counts = np.unique(keys[rows], return_index=True, return_counts=True)
    outcome = cells.outcome[rows]
    if not len(rows):
        return outcome, counts
    if profile == "mean":
        return np.add.reduceat(outcome, starts, axis=0) / counts[:, None], counts
    return _best_of_each(cells.selection[rows], outcome, starts, counts), counts


def _best_of_each(selection: Floats, outcome: Floats, starts: Indices, counts: Indices) -> Floats:
    """`crossfit.choose_best` within each run of rows, all at once."""
    scores = np.where(np.isfinite(outcome), left_out_means(selection), np.nan)
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    top = np.maximum.reduceat(scores, starts, axis=0)
    possible = np.isfinite(top)
    level = np.where(possible, top, 0.0)
    least = np.repeat(np.where(possible, level - 1e-12 * np.maximum(1.0, np.abs(level)), np.inf), counts, axis=0)
    picked = scores >= least
    sums = np.add.reduceat(np.where(picked, outcome, 0.0), starts, axis=0)
    return np.where(possible, sums / np.maximum(np.add.reduceat(picked, starts, axis=0, dtype=float), 1.0), np.nan)


def _span(counts: Indices) -> str:
    low, high = (int(counts.min()), int(counts.max())) if len(counts) else (0, 0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
