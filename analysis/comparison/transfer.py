"""Whether settings that are good here are good there: on other data sets, with other families, in other studies."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.comparison import paired_mean
from analysis.comparison.pairs import Pairs, setting_keys, without_seed
from analysis.comparison.verdicts import FEWEST_SEEDS
from analysis.estimation.balance import levelled
from analysis.estimation.cells import Cells, all_cells
from analysis.estimation.crossfit import choose_best, highest_mean
from analysis.estimation.intervals import Estimate, missing
from analysis.estimation.means import seed_mean
from analysis.labels import counted
from analysis.robustness.contender import TRIALS_MISSING
from analysis.table import Table
from analysis.table.exploratory import split

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

COLUMNS = (
    "dataset", "other_dataset", "outcome", "family", "other_family", "measure", "estimate", "low", "high", "method",
    "n_configs", "n_seeds", "n_failed", "reason",
)  # fmt: skip

FEWEST_SETTINGS, TOP_SHARE = 10, 0.1


def transfer(table: Table) -> pd.DataFrame:
    """Do settings keep their ranks on another data set, or with another family, and what does moving them cost?

    `rank_correlation`: Spearman's, of the mean outcomes of the settings that both sides have.
    `top_overlap`: the share of the best tenth of settings on one side that is among the best tenth on the other
    (.1 by chance). Between data sets, of one family's configurations; between families of a data set, of their
    shared settings, the families' own axes averaged.
    `transferred_regret`: what `dataset` loses by the setting that `other_dataset` chooses (`transferred_regret`
    below). In a notebook:

        transfer(table).query("measure == 'transferred_regret'").pivot(
            index=["dataset", "family"], columns="other_dataset", values="estimate"
        )

    Returns:
        A row a pair and measure (columns `COLUMNS`; its file is transfer.csv). Intervals of the first two take
        settings as the sample; noise of few seeds pulls both measures towards chance. NaN with fewer than 10
        settings. Settings that a search chose are left out.
    """
    found = _by_dataset(table)
    rows: list[dict[str, Any]] = []
    for here, there in itertools.combinations(found, 2):
        rows += _between(table.outcome, found[here], table.outcome, found[there])
    for families in found.values():
        for one, other in itertools.combinations(sorted(families), 2):
            rows += _pair_rows(table.outcome, families[one], families[other], table.shared)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def transfer_between(one: Table, other: Table) -> pd.DataFrame:
    """The same for two studies that are not pooled, for families of the same label: columns `COLUMNS`.

    `dataset` and `outcome` are of `one`, but for half of the rows of `transferred_regret`, which are about
    `other`: there `is_reversed`, a further column, is true. Axes that only one side varies are averaged over; a
    setting is not moved then.
    """
    rows = [
        row
        for here in _by_dataset(one).values()
        for there in _by_dataset(other).values()
        for row in _between(one.outcome, here, other.outcome, there)
    ]
    return pd.DataFrame(rows, columns=[*COLUMNS, "is_reversed"])


def transferred_regret(here: Cells, there: Cells) -> Estimate:
    """What the setting that is chosen there loses here, against choosing here.

        d_s = outcome here on seed s of (the best here without s) - (the best there, on all its seeds)

    with the error of paired differences of chosen settings (`paired_mean`), given the setting that was chosen
    there.

    Args:
        here, there: one family in two places; the setting is chosen among those that both have.

    Returns:
        In the outcome's unit, lower is better; below 0 only by noise. NaN where their axes differ, where they
        have no setting in common, and with fewer than 3 seeds here.
    """
    if set(here.settings) != set(there.settings):
        return missing("other axes")
    if not (here.is_connected and there.is_connected):
        return missing(TRIALS_MISSING)
    ours, theirs = _keys(here, there, None)
    scores = levelled(there.selection, there.failed, there.blocks)
    possible = np.flatnonzero(np.isin(theirs, ours) & np.isfinite(scores).any(axis=1))
    if not len(possible):
        return missing("no setting in common")
    moved = int(np.flatnonzero(ours == theirs[possible[int(highest_mean(scores[possible]))]])[0])

    def lost(cells: Cells) -> Floats:
        selection = levelled(cells.selection, cells.failed, cells.blocks)
        values: Floats = choose_best(selection, cells.outcome).values - cells.outcome[moved]
        return values[None, :]

    found = lost(here)
    seeds = np.flatnonzero(np.isfinite(found[0]))
    if len(seeds) < FEWEST_SEEDS:
        return missing(f"fewer than {FEWEST_SEEDS} seeds")
    left_out = np.array([seed_mean(lost(without_seed(here, seed))).estimate for seed in seeds.tolist()])
    mean = paired_mean(Pairs(found[:, seeds], "", left_out), sampled=False)
    shown = mean.interval("cross-fitted; paired by seed")
    if mean.error == 0:
        shown = shown.without_interval("no interval: the same on every seed")
    left = there.num_configs - int(np.isin(theirs, ours).sum())
    return shown.noting(f"chosen without {counted(left, 'setting')} of one side only" if left else "")


def rank_correlation(one: Floats, other: Floats) -> Estimate:
    """Spearman's rank correlation of settings, with Bonett and Wright's interval.

        tanh(artanh(r) +- 1.96 sqrt((1 + r^2 / 2) / (n - 3)))

    Args:
        one, other: (n,) mean outcomes of the same settings.

    Returns:
        -1 to 1; NaN with fewer than 10 settings or where one side is constant.

    Source:
        Bonett & Wright, Psychometrika 65, 2000.
    """
    if reason := _not_ranked(one, other):
        return missing(reason)
    r = float(stats.spearmanr(one, other).statistic)
    half = stats.norm.ppf(0.975) * math.sqrt((1 + r**2 / 2) / (len(one) - 3))
    if abs(r) > 1 - 1e-12:
        return Estimate(r, math.nan, math.nan, "Spearman", "no interval: the same order")
    low, high = (math.tanh(math.atanh(r) + side * half) for side in (-1, 1))
    return Estimate(r, low, high, "Spearman; Bonett-Wright over settings")


def top_overlap(one: Floats, other: Floats) -> Estimate:
    """Share of the best tenth on one side that is among the best tenth on the other, with Clopper and Pearson's
    interval over these settings; larger outcomes are better.

    Returns:
        0 to 1, .1 by chance; where settings tie at the edge of the tenth, those in front count. NaN with fewer
        than 10 settings.
    """
    if reason := _not_ranked(one, other):
        return missing(reason)
    count = math.ceil(TOP_SHARE * len(one))
    best = [set(np.argsort(-side, kind="stable")[:count].tolist()) for side in (one, other)]
    interval = stats.binomtest(len(best[0] & best[1]), count).proportion_ci(0.95, method="exact")
    words = f"best {count} of {len(one)}; Clopper-Pearson; chance {count / len(one):.2g}"
    return Estimate(len(best[0] & best[1]) / count, float(interval.low), float(interval.high), words)


def _by_dataset(table: Table) -> dict[str, dict[str, Cells]]:
    """Data set -> family -> its cells, without settings that a search chose."""
    kept, _ = split(table)
    return {dataset: {one.family: one for one in all_cells(kept, dataset, kept.outcome)} for dataset in kept.datasets}


def _between(
    outcome: str, here: Mapping[str, Cells], other_outcome: str, there: Mapping[str, Cells]
) -> Iterator[dict[str, Any]]:
    """Rows of the families that are in both places."""
    for family in sorted(here.keys() & there.keys()):
        one, other = here[family], there[family]
        yield from _pair_rows(outcome, one, other, None)
        for name, sides, is_reversed in ((outcome, (one, other), False), (other_outcome, (other, one), True)):
            common = len(np.intersect1d(*_keys(*sides, None)))
            found = transferred_regret(*sides)
            yield _row(name, *sides, "transferred_regret", found, common) | {"is_reversed": is_reversed}


def _keys(one: Cells, other: Cells, shared: tuple[str, ...] | None) -> tuple[Indices, Indices]:
    """Numbers of each side's settings, equal for the same values of the axes that both have."""
    names = [name for name in one.settings if name in other.settings and (shared is None or name in shared)]
    return setting_keys(one.settings[names], other.settings[names])


def _pair_rows(outcome: str, one: Cells, other: Cells, shared: tuple[str, ...] | None) -> Iterator[dict[str, Any]]:
    keys = _keys(one, other, shared)
    common = np.intersect1d(*keys)
    means = [_profile(side, key, common) for side, key in zip((one, other), keys, strict=True)]
    there = np.isfinite(means[0]) & np.isfinite(means[1])
    comparable = one.is_connected and other.is_connected
    for name, function in (("rank_correlation", rank_correlation), ("top_overlap", top_overlap)):
        found = function(means[0][there], means[1][there]) if comparable else missing(TRIALS_MISSING)
        yield _row(outcome, one, other, name, found, int(there.sum())) | {"is_reversed": False}


def _row(outcome: str, one: Cells, other: Cells, measure: str, found: Estimate, count: int) -> dict[str, Any]:
    return {
        "dataset": one.dataset, "other_dataset": other.dataset, "outcome": outcome, "family": one.family,
        "other_family": other.family, "measure": measure, **vars(found), "n_configs": count,
        "n_seeds": min(one.num_seeds, other.num_seeds),
        "n_failed": int(one.failed.sum()) + int(other.failed.sum()),
    }  # fmt: skip


def _profile(cells: Cells, keys: Indices, common: Indices) -> Floats:
    """(k,) means of a family, balanced over seeds, at some shared settings, over its own axes."""
    rows = np.isin(keys, common)
    place = np.searchsorted(common, keys[rows])
    found: Floats = np.bincount(place, cells.means[rows], len(common)) / np.bincount(place, minlength=len(common))
    return found


def _not_ranked(one: Floats, other: Floats) -> str:
    if len(one) < FEWEST_SETTINGS:
        return f"fewer than {FEWEST_SETTINGS} settings in common"
    return "constant" if np.ptp(one) == 0 or np.ptp(other) == 0 else ""
