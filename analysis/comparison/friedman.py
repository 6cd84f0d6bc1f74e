"""Which family is better over many data sets: Friedman's test of their ranks."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from analysis.estimation.balance import levelled, row_means
from analysis.estimation.cells import all_cells
from analysis.labels import shortened
from analysis.robustness.data_set_rows import NOT_EVERYWHERE
from analysis.table import Table
from analysis.table.exploratory import split

COLUMNS = (
    "outcome", "family", "mean_rank", "critical_difference", "statistic", "p", "n_datasets", "method", "reason",
)  # fmt: skip

FEWEST_DATASETS = 8


def friedman(table: Table) -> pd.DataFrame:
    """Ranks of families over data sets, and how far apart two mean ranks must be to differ.

    Families are ranked on each data set by their mean outcome over their space, failures at the floor; 1 is
    best. Two mean ranks differ at 5 % where they are further apart than

        critical_difference = q(.95, k) / sqrt(2) * sqrt(k (k + 1) / (6 N))

    with k families, N data sets and Tukey's studentised range q.

    Returns:
        A row a family, best first (columns `COLUMNS`), with Friedman's statistic and its p; NaN with
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
    return pd.DataFrame(rows, columns=list(COLUMNS))


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
