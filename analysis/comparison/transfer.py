"""Whether what is good here is good there: settings over data sets and families, families over data sets."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.comparison.pairs import setting_keys
from analysis.estimation.balance import levelled, row_means
from analysis.estimation.cells import Cells, all_cells
from analysis.estimation.intervals import Estimate, missing
from analysis.labels import shortened
from analysis.robustness.contender import TRIALS_MISSING
from analysis.robustness.data_set_rows import NOT_EVERYWHERE
from analysis.table import Table
from analysis.table.exploratory import split

Floats = NDArray[np.float64]

COLUMNS = (
    "dataset", "other_dataset", "outcome", "family", "other_family", "measure", "estimate", "low", "high", "method",
    "n_configs", "n_seeds", "n_failed", "reason",
)  # fmt: skip
FRIEDMAN_COLUMNS = (
    "outcome", "family", "mean_rank", "critical_difference", "statistic", "p", "n_datasets", "method", "reason",
)  # fmt: skip

FEWEST_SETTINGS, FEWEST_DATASETS, TOP_SHARE = 10, 8, 0.1


def transfer(table: Table) -> pd.DataFrame:
    """Do settings keep their ranks on another data set, or with another family?

    `rank_correlation`: Spearman's, of the mean outcomes of the settings that both sides have.
    `top_overlap`: the share of the best tenth of settings on one side that is among the best tenth on the other
    (.1 by chance). Between data sets, of one family's configurations; between families of a data set, of their
    shared settings, the families' own axes averaged. In a notebook:

        transfer(table).query("measure == 'rank_correlation' and family == other_family")

    Returns:
        A row a pair and measure (columns `COLUMNS`; its file is transfer.csv). Intervals take settings as the
        sample; noise of few seeds pulls both measures towards chance. NaN with fewer than 10 settings. Settings
        that a search chose are left out.
    """
    table, _ = split(table)
    found = {
        dataset: {one.family: one for one in all_cells(table, dataset, table.outcome)} for dataset in table.datasets
    }
    rows: list[dict[str, Any]] = []
    for here, there in itertools.combinations(found, 2):
        for family in sorted(found[here].keys() & found[there].keys()):
            rows += _pair_rows(table, found[here][family], found[there][family], None)
    for families in found.values():
        for one, other in itertools.combinations(sorted(families), 2):
            rows += _pair_rows(table, families[one], families[other], table.shared)
    return pd.DataFrame(rows, columns=list(COLUMNS))


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


def friedman(table: Table) -> pd.DataFrame:
    """Ranks of families over data sets, and how far apart two mean ranks must be to differ.

    Families are ranked on each data set by their mean outcome over their space, failures at the floor; 1 is
    best. Two mean ranks differ at 5 % where they are further apart than

        critical_difference = q(.95, k) / sqrt(2) * sqrt(k (k + 1) / (6 N))

    with k families, N data sets and Tukey's studentised range q.

    Returns:
        A row a family, best first (columns `FRIEDMAN_COLUMNS`), with Friedman's statistic and its p; NaN with
        fewer than 8 data sets or 3 families on all of them. A family that lacks a data set is not ranked; where
        families lack seeds, what a seed shifts on all of them is taken out. Settings that a search chose are left
        out.

    Source:
        Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006.
    """
    table, _ = split(table)
    frame = pd.DataFrame({dataset: _levels(table, dataset) for dataset in table.datasets})
    frame = frame.T.reindex(columns=sorted(table.axes))
    left_out = [family for family in sorted(table.axes) if not len(frame) or frame[family].isna().any()]
    frame = frame.drop(columns=left_out)
    count, families = frame.shape
    labels = {"outcome": table.outcome, "n_datasets": count, "method": "mean over settings; Friedman and Nemenyi"}
    unknown = dict.fromkeys(("mean_rank", "critical_difference", "statistic", "p"), math.nan)
    rows = []
    if count < FEWEST_DATASETS or families < 3:
        reason = f"fewer than {FEWEST_DATASETS} data sets or 3 families on all of them"
        rows = [{**labels, "family": family, **unknown, "reason": reason} for family in frame]
    else:
        ranks = frame.rank(axis=1, ascending=False).mean().sort_values(kind="stable")
        test = stats.friedmanchisquare(*(frame[family] for family in frame))
        critical = critical_difference(families, count)
        numbers = {"critical_difference": critical, "statistic": float(test.statistic), "p": float(test.pvalue)}
        reason = f"not on every data set: {shortened(left_out)}" if left_out else ""
        rows = [
            {**labels, "family": family, "mean_rank": float(rank), **numbers, "reason": reason}
            for family, rank in ranks.items()
        ]
    rows += [{**labels, "family": family, **unknown, "reason": NOT_EVERYWHERE} for family in left_out]
    return pd.DataFrame(rows, columns=list(FRIEDMAN_COLUMNS))


def _levels(table: Table, dataset: str) -> dict[str, float]:
    """Family -> mean outcome over its settings, as if all families had run on the same seeds."""
    found = all_cells(table, dataset, table.outcome)
    if not found:
        return {}
    outcome, failed = (
        np.concatenate(parts) for parts in zip(*((one.outcome, one.failed) for one in found), strict=True)
    )
    means = row_means(levelled(outcome, failed, np.zeros(len(outcome), dtype=np.intp)))
    parts = np.split(means, np.cumsum([one.num_configs for one in found])[:-1])
    return {one.family: float(part.mean()) for one, part in zip(found, parts, strict=True)}


def critical_difference(families: int, datasets: int) -> float:
    """Of two mean ranks, by Nemenyi at 5 %."""
    quantile = float(stats.studentized_range.ppf(0.95, families, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(families * (families + 1) / (6 * datasets))


def _pair_rows(table: Table, one: Cells, other: Cells, shared: tuple[str, ...] | None) -> Iterator[dict[str, Any]]:
    names = [name for name in one.settings if name in other.settings and (shared is None or name in shared)]
    keys = setting_keys(one.settings[names], other.settings[names])
    common = np.intersect1d(*keys)
    means = [_profile(side, key, common) for side, key in zip((one, other), keys, strict=True)]
    there = np.isfinite(means[0]) & np.isfinite(means[1])
    counts = {"n_configs": int(there.sum()), "n_seeds": min(one.num_seeds, other.num_seeds)}
    counts["n_failed"] = int(one.failed.sum()) + int(other.failed.sum())
    comparable = one.is_connected and other.is_connected
    for name, function in (("rank_correlation", rank_correlation), ("top_overlap", top_overlap)):
        found = function(means[0][there], means[1][there]) if comparable else missing(TRIALS_MISSING)
        yield {
            "dataset": one.dataset, "other_dataset": other.dataset, "outcome": table.outcome, "family": one.family,
            "other_family": other.family, "measure": name, **vars(found), **counts,
        }  # fmt: skip


def _profile(cells: Cells, keys: NDArray[np.intp], common: NDArray[np.intp]) -> Floats:
    """(k,) means of a family, balanced over seeds, at some shared settings, over its own axes."""
    rows = np.isin(keys, common)
    place = np.searchsorted(common, keys[rows])
    found: Floats = np.bincount(place, cells.means[rows], len(common)) / np.bincount(place, minlength=len(common))
    return found


def _not_ranked(one: Floats, other: Floats) -> str:
    if len(one) < FEWEST_SETTINGS:
        return f"fewer than {FEWEST_SETTINGS} settings in common"
    return "constant" if np.ptp(one) == 0 or np.ptp(other) == 0 else ""
