"""The rows of families that can't be measured: all of their trials failed, or a search chose them."""

import math
from collections.abc import Iterator

import numpy as np

from analysis.estimation.balance import levelled
from analysis.estimation.cells import Cells, cells
from analysis.estimation.crossfit import choose_best
from analysis.estimation.intervals import Estimate, missing
from analysis.robustness.measure_rows import Row, labels, numbers
from analysis.table import Table
from analysis.table.exploratory import only_exploratory, split

ADAPTIVE = "adaptive design"


def exploratory_rows(table: Table) -> Iterator[Row]:
    """Families whose every trial was chosen by the outcomes of others: their best and failures, marked as
    exploratory and without intervals, and nothing that averages over the space.
    """
    _, aside = split(table)
    for dataset, name in only_exploratory(table):
        family = cells(aside, dataset, name, table.outcome)
        if family is not None:
            yield from absent_rows(table, family, ADAPTIVE, best=_best(family), method="exploratory")


def absent_rows(
    table: Table, family: Cells, reason: str, *, best: Estimate | None = None, method: str = "share of all trials"
) -> Iterator[Row]:
    """Every measure of a family, NaN for this reason but for its best, where given, and its failures."""
    known = {"best": missing(reason) if best is None else best, "failure_rate": _failures(family, reason, method)}
    for measure in (
        "best", "best_plug_in", "best_null", "worst_case", "cvar_10", "interquartile_mean", "iqr", "seed_sd",
        "failure_rate",
    ):  # fmt: skip
        found = known.get(measure, missing(reason))
        yield labels(table, family, measure) | numbers(found.flipped(family.sign if measure == "best" else 1), measure)
    nothing = numbers(missing(reason), "")
    for axis in table.axes[family.family]:
        yield labels(table, family, "worst_octave_drop", axis=axis.name, reference="own") | nothing
        for tolerance in table.tolerances:
            yield labels(table, family, "basin_width", axis=axis.name, tolerance=tolerance, reference="own") | nothing
    yield labels(table, family, "default_gap", reference="own") | nothing
    for reference in ("own", "common"):
        yield labels(table, family, "normalised_regret", reference=reference) | nothing
        for measure in ("near_optimal_mass", "search_cost"):
            for tolerance in table.tolerances:
                yield labels(table, family, measure, tolerance=tolerance, reference=reference) | nothing


def _best(family: Cells) -> Estimate:
    if family.num_seeds < 2:
        return missing("one seed")
    selection, outcome = (levelled(one, family.failed, family.blocks) for one in (family.selection, family.outcome))
    value = choose_best(selection, outcome).mean
    if math.isnan(value):
        return missing("no configuration has two seeds")
    return Estimate(value, math.nan, math.nan, "exploratory; cross-fitted", f"no interval: {ADAPTIVE}")


def _failures(family: Cells, reason: str, method: str) -> Estimate:
    ran = np.isfinite(family.outcome) | family.failed
    return Estimate(float(family.failed[ran].mean()), math.nan, math.nan, method, f"no interval: {reason}")
