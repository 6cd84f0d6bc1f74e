"""The rows of one family: its measures as the table of robustness shows them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from analysis.estimation.cells import Cells
from analysis.estimation.crossfit import normalised_regret
from analysis.estimation.intervals import (
    UNDERCOVERS,
    UNDERCOVERS_WITH_FAILURES,
    Estimate,
    around,
    deviation,
    missing,
    rate,
)
from analysis.estimation.means import mean_interval
from analysis.estimation.noise import fit_noise
from analysis.robustness.choices import Key
from analysis.robustness.contender import ALL_FAILED, Contender, choice_words, outcome_limits
from analysis.robustness.contest import Contest
from analysis.robustness.near_optimal import mass, mass_bounds, search_cost
from analysis.robustness.search import RAW, SHRUNKEN, expected_best_rows, search_counts
from analysis.robustness.spread import interquartile
from analysis.table import Axis, Table

Row = dict[str, Any]


def family_rows(table: Table, found: Contest, family: Contender) -> Iterator[Row]:
    """All measures of a family: by itself, from its own best, and from the best of all."""
    yield from _level_rows(table, family)
    yield from _search_rows(table, family)
    yield from _shape_rows(table, family)
    yield from _tuning_rows(table, family)
    yield from _regret_rows(table, found, family)
    yield from mass_rows(table, found, family, table.tolerances)
    yield from _cost_rows(table, found, family)


def _level_rows(table: Table, family: Contender) -> Iterator[Row]:
    """Measures that need no best to be measured from."""
    cells = family.fitted.cells
    least, most = outcome_limits(table, cells.sign)
    plug_in = float(np.nanmax(family.fitted.outcome.means))
    biased = "no interval: the maximum of noisy means is biased"
    sampled = table.design != "grid"
    level = {
        "best": family.best,
        "best_plug_in": Estimate(plug_in, math.nan, math.nan, "plug-in", biased),
        "best_null": family.null,
        "worst_case": _worded(family.measure(Key("worst_case"), least=least, most=most), cells),
        "cvar_10": family.measure(Key("cvar_10"), least=least, most=most),
        "interquartile_mean": interquartile(
            cells.outcome, sampled=sampled, weights=cells.weights, least=least, most=most
        ),
    }
    for measure, value in level.items():
        yield row(table, family, measure, value.flipped(cells.sign))
    yield row(table, family, "iqr", family.measure(Key("iqr"), least=0.0))
    yield row(table, family, "seed_sd", _seed_sd(cells))
    yield row(table, family, "failure_rate", rate(cells.failed, np.isfinite(cells.outcome), sampled=sampled))


def _seed_sd(cells: Cells) -> Estimate:
    """Of the runs that ended well: how far the floor lies below them is no noise."""
    found = deviation(fit_noise(cells.succeeded, cells.blocks))
    if not cells.failed.any():
        return found
    if math.isnan(found.estimate):
        return missing(ALL_FAILED if cells.all_failed else "too few trials ended well")
    return replace(found, method=f"runs that ended well; {found.method}")


def _worded(found: Estimate, cells: Cells) -> Estimate:
    return replace(found, method=f"{choice_words(cells)}; {found.method}") if found.method else found


def _search_rows(table: Table, family: Contender) -> Iterator[Row]:
    """Expected best of n random configurations; one seed is enough."""
    cells = family.fitted.cells
    least, most = outcome_limits(table, cells.sign)
    # A sum of main effects may leave the range of a share.
    values = np.clip(family.fitted.outcome.expected, least, most)
    counts = search_counts(cells.num_configs)
    found = expected_best_rows(
        values, counts, sampled=table.design != "grid", least=least, most=most,
        seeds=mean_interval(cells.outcome, weights=cells.weights), weights=cells.weights,
        method=SHRUNKEN if math.isfinite(family.fitted.outcome.noise.residual) else RAW,
    )  # fmt: skip
    for n, value in zip(counts, found, strict=True):
        yield row(table, family, f"expected_best_{n}", value.flipped(cells.sign))


def _shape_rows(table: Table, family: Contender) -> Iterator[Row]:
    """What is lost next to the best."""
    for axis in family.fitted.cells.axes:
        value = _octave_drop(family, axis)
        yield row(table, family, "worst_octave_drop", value, axis=axis.name, reference="own")
    for axis in family.fitted.cells.axes:
        for tolerance in table.tolerances:
            value = _basin_width(family, axis, tolerance)
            yield row(table, family, "basin_width", value, axis=axis.name, tolerance=tolerance, reference="own")


def _octave_drop(family: Contender, axis: Axis) -> Estimate:
    key = Key("worst_octave_drop", axis.name)
    if family.reason:
        return missing(family.reason)
    if axis.scale not in ("log", "log2"):
        return missing("not a log axis")
    if key not in family.values:
        return missing("too few configurations")
    # The best is a point of its own slice, so the drop can't be negative.
    return family.measure(key, least=0.0)


def _basin_width(family: Contender, axis: Axis, tolerance: float) -> Estimate:
    key = Key("basin_width", axis.name, tolerance)
    if family.reason:
        return missing(family.reason)
    if axis.scale is None:
        return missing("not a numeric axis")
    if key not in family.values:
        return missing("too few configurations")
    ends = np.log2([axis.low, axis.high]) if axis.scale in ("log", "log2") else np.array([axis.low, axis.high])
    found = family.measure(key, least=0.0, most=float(np.ptp(ends)))
    unit = f"the unit of {axis.name}" if axis.scale == "linear" else "octaves"
    censored = "censored: it touches the end of the range" if key in family.censored else ""
    return replace(found, method=f"in {unit}; {found.method}", reason=censored).noting(found.reason)


def _tuning_rows(table: Table, family: Contender) -> Iterator[Row]:
    """What tuning gains over the default: all axes, one alone, and two together."""
    cells = family.fitted.cells
    yield row(table, family, "default_gap", _gain(family, Key("default_gap")), reference="own")
    names = [axis.name for axis in cells.axes]
    pairs = [f"{a}*{b}" for index, a in enumerate(names) for b in names[index + 1 :]]
    for measure, axes in (("tuning_gain", names), ("tuning_gain", pairs), ("joint_gain", pairs)):
        for axis in axes:
            yield row(table, family, measure, _gain(family, Key(measure, axis)), axis=axis, reference="own")


def _gain(family: Contender, key: Key) -> Estimate:
    if family.reason:
        return missing(family.reason)
    if key not in family.values:
        scattered = "scattered design: no trials beside the default"
        return missing(scattered if Key("default_gap") in family.values else family.default)
    found = family.measure(key)
    return replace(found, method=f"{found.method}; {family.default}")


def _regret_rows(table: Table, found: Contest, family: Contender) -> Iterator[Row]:
    cells = family.fitted.cells
    own = family.measure(Key("normalised_regret"), least=0.0, most=1.0)
    yield row(table, family, "normalised_regret", missing(family.reason) if family.reason else own, reference="own")
    common = missing(found.reason_for(family))
    if not common.reason:
        common = around(
            normalised_regret(found.best, cells.balanced.column, floor=cells.floor, weights=cells.weights),
            found.regret_errors[cells.family], seeds=cells.num_seeds, method="parametric bootstrap",
            least=0.0, most=1.0,
        )  # fmt: skip
        common = found.supported(common)
    yield row(table, family, "normalised_regret", common, reference="common")


def mass_rows(table: Table, found: Contest, family: Contender, tolerances: Sequence[float]) -> Iterator[Row]:
    """Near-optimal mass at some tolerances, from the own best and from that of all families."""
    for reference in ("own", "common"):
        for tolerance in tolerances:
            value = _mass(table, found, family, reference, tolerance)
            yield row(table, family, "near_optimal_mass", value, tolerance=tolerance, reference=reference)


def _cost_rows(table: Table, found: Contest, family: Contender) -> Iterator[Row]:
    """The cost of a search falls with the mass: its interval is that of the mass, turned round."""
    for reference in ("own", "common"):
        for tolerance in table.tolerances:
            share = _mass(table, found, family, reference, tolerance)
            value = replace(
                share,
                estimate=search_cost(share.estimate),
                low=search_cost(share.high),
                high=search_cost(share.low),
            )
            yield row(table, family, "search_cost", value, tolerance=tolerance, reference=reference)


def _mass(table: Table, found: Contest, family: Contender, reference: str, tolerance: float) -> Estimate:
    sampled, own = table.design != "grid", reference == "own"
    bounds, reason = (family.bounds, family.reason) if own else (found.bounds, found.reason_for(family))
    if bounds is None or reason:
        return missing(reason)
    surface = family.fitted.outcome
    best = family.best.estimate if own else found.best
    kept = slice(None) if own else found.spans[family.fitted.cells.family]
    weights = family.fitted.cells.weights
    low, high = mass_bounds(bounds, kept, tolerance=tolerance, sampled=sampled, weights=weights)
    words = f"cross-fitted best, shrunken means; Tukey bands{_degrees(bounds.df)}"
    if sampled:
        words += "; Clopper-Pearson over configurations"
    value = mass(surface.expected, surface.error, best, tolerance=tolerance, weights=weights)
    shown = Estimate(value, low, high, words).holding()
    return (family if own else found).supported(shown)


def _degrees(df: tuple[float, float]) -> str:
    """Degrees of freedom within and between batch sizes in words; those that there are."""
    known = [f"{value:.0f}" for value in df if math.isfinite(value)]
    return f", {' and '.join(known)} df" if known else ""


def row(
    table: Table, family: Contender, measure: str, found: Estimate, *, axis: str = "",
    tolerance: float = math.nan, reference: str = "common",
) -> Row:  # fmt: skip
    """A row of robustness.csv."""
    cells = family.fitted.cells
    about = labels(table, cells, measure, axis=axis, tolerance=tolerance, reference=reference)
    beside = UNDERCOVERS_WITH_FAILURES.get(measure, "") if cells.failed.any() and math.isfinite(found.low) else ""
    return about | numbers(found.noting(family.note).noting(beside), measure)


def labels(
    table: Table, cells: Cells, measure: str, *, axis: str = "", tolerance: float = math.nan, reference: str = "common"
) -> Row:
    """What a row is about, and how many trials stand behind it."""
    return {
        "dataset": cells.dataset,
        "outcome": table.outcome,
        "family": cells.family,
        "measure": measure,
        "axis": axis,
        "tolerance": tolerance,
        "reference": reference,
        "n_configs": cells.num_configs,
        "n_seeds": cells.num_seeds,
        "n_failed": int(cells.failed.sum()),
    }


def numbers(found: Estimate, measure: str) -> Row:
    """The numbers of a row, with what is known of their interval; one that begins or ends at its number, as of a rate
    of 0, is not meant.
    """
    note = UNDERCOVERS.get(measure, "") if found.low < found.estimate < found.high else ""
    reason = found.noting(note).reason
    return {"estimate": found.estimate, "low": found.low, "high": found.high, "method": found.method, "reason": reason}
