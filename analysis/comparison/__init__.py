"""Families against a reference, trial by trial: the same seed and the same shared setting on both sides."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.comparison.measures import measure_differences, paired_shares
from analysis.comparison.pairs import PROFILES, Pairs, Profile, pairs
from analysis.comparison.verdicts import VERDICTS, TTest, adjusted, verdict
from analysis.estimation.cells import Cells, cells
from analysis.estimation.means import Mean, crossed_mean, seed_mean
from analysis.table import Table
from analysis.table.exploratory import only_exploratory, split

__all__ = ["COLUMNS", "VERDICTS", "compare", "paired_differences", "paired_mean"]

COLUMNS = (
    "dataset", "outcome", "family", "against", "profile", "measure", "difference", "low", "high", "p", "p_adjusted",
    "verdict", "n_pairs", "n_seeds", "reason",
)  # fmt: skip


def compare(table: Table, *, seed: int) -> pd.DataFrame:
    """Every family against the reference: the rows of comparisons.csv.

    By `measure`: `difference`, the paired differences of `paired_differences`, on which verdicts rest;
    `near_optimal_mass_<tolerance>` and `normalised_regret`, differences of robustness
    (`measures.measure_differences`); `probability_of_improvement` and `sign_flip`
    (`measures.paired_shares`). In a notebook:

        found = compare(table, seed=0)
        found[found["measure"] == "difference"].set_index(["family", "profile"])["verdict"]

    Args:
        seed: of the simulated data sets and the sign flips.

    Returns:
        Columns `COLUMNS`. `profile` says what stands for a family: the `mean` or the `best` of its own axes, or,
        of a difference of robustness, its `own` best or the `common` one from which both are measured. p is
        adjusted by Holm's method over families within a data set, profile and measure. No rows without a
        reference.
    """
    kept, _ = split(table)
    rows = paired_differences(kept) + _exploratory_rows(table)
    rows += measure_differences(kept, seed=seed) + paired_shares(kept, seed=seed)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def paired_differences(table: Table) -> list[dict[str, Any]]:
    """Paired differences of every family from the reference, with a verdict.

    With d(x, s) the difference at shared setting x and seed s, and d_s its mean over x:

        difference = mean_s d_s,    interval: +- t(S - 1) sd(d_s) / sqrt(S)

    The settings of a grid are fixed, so the seeds alone are the sample; where they are chosen (`best`), the
    error is that of `paired_mean`. In scattered designs settings are a sample too:
    error^2 = max(MS_x + MS_s - MS_xs, MS_x, MS_s) / (n S) with Satterthwaite's degrees of freedom. Missing pairs are
    filled in from their setting and seed.

    The margin is `table.equivalence`. In this order: the 90 % interval inside +-margin is `equivalent`; the
    95 % interval above 0 `better`, below 0 `worse`, above -margin `non-inferior`; else `undecided`, with how
    many seeds more would decide.

    Returns:
        A row a family and profile (columns `COLUMNS`), differences in the outcome's unit and direction; p from
        the t distribution, adjusted by Holm's method within a profile. NaN with a reason where there are fewer
        than 3 seeds or 6 pairs. The profile `best` only where a side has axes that are not shared.
    """
    return [
        row for dataset in table.datasets for profile in PROFILES for row in adjusted(_rows(table, dataset, profile))
    ]


def paired_mean(found: Pairs, *, sampled: bool) -> Mean:
    """The mean of paired differences with its error.

    Folds of chosen settings share seeds and mostly choices, so that their spread misses how the choice varies; the
    jackknife, which chooses anew without each seed, counts it too often, the more the more seeds there are. On
    grids the error of chosen settings is the geometric mean of both (simulated: .95 to .97 at a nominal .95 and
    A/A families told apart in .02 to .04, from 3 to 20 seeds; the spread alone .89 to .94 and .06 to .13).

    Args:
        sampled: whether settings are a sample, as seeds are.
    """
    if sampled:
        return crossed_mean(found.differences)
    mean, left_out = seed_mean(found.differences), found.left_out
    if left_out is None or not math.isfinite(mean.error):
        return mean
    jackknife = math.sqrt(max(len(left_out) - 1, 0) * float(left_out.var()))
    if math.isnan(jackknife):
        return replace(mean, error=math.nan, reason="no interval: trials missing")
    return replace(mean, error=math.sqrt(mean.error * jackknife))


def _rows(table: Table, dataset: str, profile: Profile) -> Iterator[dict[str, Any]]:
    if table.reference is None or table.reference not in table.axes:
        return
    reference = cells(table, dataset, table.reference, table.outcome)
    if reference is None:
        return
    for family in table.axes:
        compared = family != table.reference and profile in _profiles(table, family)
        found = cells(table, dataset, family, table.outcome) if compared else None
        if found is not None:
            yield _labels(table, dataset, family, profile) | _difference(table, found, reference, profile)


def _exploratory_rows(table: Table) -> list[dict[str, Any]]:
    """What is not compared since a search chose its settings: a mean over them says nothing."""
    if table.reference is None:
        return []
    searched = set(only_exploratory(table))
    unknown = _undecided("adaptive design") | {"p_adjusted": math.nan, "n_pairs": 0, "n_seeds": 0}
    return [
        _labels(table, dataset, family, profile) | unknown
        for dataset in table.datasets
        for profile in PROFILES
        for family in table.axes
        if family != table.reference and profile in _profiles(table, family)
        if searched & {(dataset, family), (dataset, table.reference)}
    ]


def _profiles(table: Table, family: str) -> tuple[Profile, ...]:
    """What can stand for a family: where all axes are shared, there are no own ones to be the best of."""
    names = {axis.name for name in (family, str(table.reference)) for axis in table.axes[name]}
    return PROFILES if names - set(table.shared) else ("mean",)


def _labels(table: Table, dataset: str, family: str, profile: Profile) -> dict[str, Any]:
    return {
        "dataset": dataset, "outcome": table.outcome, "family": family, "against": table.reference,
        "profile": profile, "measure": "difference",
    }  # fmt: skip


def _difference(table: Table, family: Cells, reference: Cells, profile: Profile) -> dict[str, Any]:
    found = pairs(family, reference, shared=table.shared, profile=profile)
    count = {"n_pairs": found.num_pairs, "n_seeds": found.num_seeds}
    if found.too_few:
        return _undecided(_joined(found.too_few, found.note)) | count
    sampled = table.design != "grid"
    mean = paired_mean(found, sampled=sampled)
    if math.isnan(mean.error):
        return _undecided(_joined(mean.reason, found.note)) | count
    lasting = max(mean.error**2 - seed_mean(found.differences).error ** 2, 0.0) if sampled else 0.0
    test = TTest(mean.estimate, mean.error, mean.df, found.num_seeds, lasting)
    words, reason = verdict(test, margin=table.equivalence)
    ends = [family.sign * (test.mean + side * test.half_width(0.95)) for side in (-1, 1)]
    return count | {
        "difference": family.sign * test.mean, "low": min(ends), "high": max(ends), "p": test.p, "verdict": words,
        "reason": _joined(reason, found.note),
    }  # fmt: skip


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _undecided(reason: str) -> dict[str, Any]:
    numbers = dict.fromkeys(("difference", "low", "high", "p"), math.nan)
    return numbers | {"verdict": "undecided", "reason": reason}
