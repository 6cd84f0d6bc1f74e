"""Two families side by side: their differences at the same shared setting and the same seed."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.comparison.verdicts import FEWEST_PAIRS, FEWEST_SEEDS
from analysis.estimation.balance import levelled
from analysis.estimation.cells import Cells
from analysis.estimation.crossfit import choose_highest, left_out_means
from analysis.estimation.means import seed_mean
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
        differences: (n, S) a row a shared setting, a column a seed; NaN where either side lacks a trial.
        note: what they were taken of and what was left out; empty where that goes without saying.
        left_out: (S,) their mean without each seed, settings chosen anew; None where nothing was chosen.
    """

    differences: Floats
    note: str
    left_out: Floats | None = None

    @property
    def num_pairs(self) -> int:
        """How many differences there are."""
        return int(np.isfinite(self.differences).sum())

    @property
    def num_seeds(self) -> int:
        """S, those with a difference."""
        return int(np.isfinite(self.differences).any(axis=0).sum())

    @property
    def too_few(self) -> str:
        """Why nothing is said; empty where enough pairs are there."""
        few = self.num_seeds < FEWEST_SEEDS or self.num_pairs < FEWEST_PAIRS
        return f"fewer than {FEWEST_SEEDS} seeds or {FEWEST_PAIRS} pairs" if few else ""


def pairs(family: Cells, reference: Cells, *, shared: tuple[str, ...], profile: Profile) -> Pairs:
    """Pair two families of one data set.

        d(x, s) = profile of the family at (x, s) - profile of the reference at (x, s)

    x runs over the shared settings that both have, the only one where they share no axis. A pair of which
    either side lacks a trial is left out, and said; so are the seeds that only one side has.

    Args:
        shared: names of the axes that both have in common.
        profile: `mean` over the settings of a family's own axes, or their cross-fitted `best`.
    """
    names = [name for name in family.settings.columns if name in shared and name in reference.settings.columns]
    ours, theirs = setting_keys(family.settings[names], reference.settings[names])
    common = np.intersect1d(ours, theirs)

    def differences(family: Cells, reference: Cells) -> tuple[Floats, Indices, Indices]:
        (one, ours_each), (other, theirs_each) = (
            profiled(cells, key, common, profile) for cells, key in ((family, ours), (reference, theirs))
        )
        return one - other, ours_each, theirs_each

    found, ours_each, theirs_each = differences(family, reference)
    notes = []
    if profile == "best":
        notes.append(f"best of {_span(ours_each)} settings against {_span(theirs_each)}")
    if apart := len(np.union1d(ours, theirs)) - len(common):
        notes.append(f"{counted(apart, 'shared setting')} of one side only left out")
    ran, ran_there = (np.isfinite(side.outcome).any(axis=0) for side in (family, reference))
    if alone := int((ran ^ ran_there).sum()):
        notes.append(f"{counted(alone, 'seed')} of one side only left out")
    if dropped := int(np.isnan(found[:, ran & ran_there]).sum()):
        notes.append(f"{counted(dropped, 'pair')} left out: trials missing")
    there = np.isfinite(found)
    left_out, ran_both = None, np.flatnonzero(there.any(axis=0)).tolist()
    if profile == "best" and bool(np.any(ours_each > 1) or np.any(theirs_each > 1)):
        sides = ([without_seed(cells, seed) for cells in (family, reference)] for seed in ran_both)
        left_out = np.array([seed_mean(differences(*each)[0]).estimate for each in sides])
    return Pairs(found[there.any(axis=1)][:, there.any(axis=0)], "; ".join(notes), left_out)


def without_seed(cells: Cells, seed: int) -> Cells:
    """A family's cells without one column."""
    columns = {name: np.delete(getattr(cells, name), seed, axis=1) for name in ("outcome", "selection", "failed")}
    return replace(cells, **columns)


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
    scores = left_out_means(levelled(cells.selection, cells.failed, cells.blocks))[rows]
    place = np.arange(int(counts.max()))
    inside = place < counts[:, None]
    of_each = np.where(inside, starts[:, None] + place, 0)
    one, other = (np.where(inside[..., None], column[of_each], np.nan) for column in (scores, outcome))
    return choose_highest(one, other).values, counts


def _span(counts: Indices) -> str:
    low, high = (int(counts.min()), int(counts.max())) if len(counts) else (0, 0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
