"""The scorecard as the page shows it: a row a family, numbers with intervals, dashes with reasons."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.labels import MISSING, Quantity, counted, quantity, setting
from analysis.report.results import Results

_REGRET = Quantity("normalised_regret", "regret", "%", factor=100.0, digits=1)
_SHARE = Quantity("share", "share", "%", factor=100.0, digits=0)


@dataclass(frozen=True)
class Cell:
    """One number of the scorecard.

    Args:
        text: the number, or a dash.
        interval: `[low, high]`, empty where there is none.
        value: what the column is sorted by; None sorts last.
        reason: why there is no number, or what to know about it; mostly empty.
    """

    text: str
    interval: str
    value: float | None
    reason: str


@dataclass(frozen=True)
class Column:
    """A column of the scorecard: where its numbers are, how they are shown, how to read them."""

    key: str
    title: str
    shown: Quantity
    help: str
    measure: str
    tolerance: float | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Row:
    """A family's line; `size` counts settings and seeds with at least one trial, `is_baseline` marks the untrained
    encoder.
    """

    family: str
    size: str
    best_setting: str
    is_baseline: bool
    cells: Sequence[Cell]


def columns(results: Results) -> list[Column]:
    """The columns of the scorecard, in the order of the page."""
    shown = quantity(results.table.outcome)
    spread = Quantity("seed_sd", "sd", factor=shown.factor, digits=shown.digits + 1)
    best = (
        "the family's best setting, chosen on some seeds and read on the others: an honest, slightly low "
        "estimate of what tuning gives"
    )
    masses = [
        Column(
            f"near_optimal_mass_{tolerance:g}", _within(shown, tolerance), _SHARE,
            f"share of settings whose expected outcome lies within {shown.difference(tolerance)} of the "
            "best of all families: large means little tuning",
            "near_optimal_mass", tolerance, "common",
        )
        for tolerance in results.table.tolerances
    ]  # fmt: skip
    return [
        Column("best", "best", shown, best, "best"),
        Column("best_plug_in", "best, naive", shown, "the largest mean: biased upwards", "best_plug_in"),
        *masses,
        Column(
            "normalised_regret", "regret", _REGRET,
            "how far a random setting is expected to fall short of the best of all families; 0 %: not at all, 100 %: "
            "as bad as the floor",
            "normalised_regret", None, "common",
        ),
        Column("worst_case", "worst", shown, "the worst setting, cross-fitted like the best", "worst_case"),
        Column("seed_sd", _with_unit("seed sd", shown), spread, "standard deviation over seeds", "seed_sd"),
        Column("failure_rate", "failed", _SHARE, "share of trials that failed, at the floor", "failure_rate"),
    ]  # fmt: skip


def score_rows(results: Results) -> list[Row]:
    """The lines of the scorecard, in the order of its table: the most robust first, untrained last."""
    shown = columns(results)
    return [
        Row(
            family=str(row["family"]),
            size=f"{counted(int(row['n_configs']), 'setting')}, {counted(int(row['n_seeds']), 'seed')}",
            best_setting=setting(results.chosen.get((str(row["dataset"]), str(row["family"])), {})),
            is_baseline=bool(row["is_baseline"]),
            cells=[_cell(results, row, column) for column in shown],
        )
        for _, row in results.scorecard.iterrows()
    ]


def notes(shown: Sequence[Column], rows: Sequence[Row]) -> dict[str, str]:
    """Reason -> the numbers it is about, so that reasons can be read without pointing at a number."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for column, cell in zip(shown, row.cells, strict=True):
            if cell.reason and not row.is_baseline:
                found.setdefault(cell.reason, []).append(f"{row.family}: {column.title}")
    return {reason: "; ".join(places) for reason, places in found.items()}


def _cell(results: Results, row: "pd.Series[float]", column: Column) -> Cell:
    value = _number(row, column.key)
    reason = _reason(results.measures, str(row["family"]), column)
    if value is None:
        return Cell(MISSING, "", None, reason or "does not apply")
    low, high = _number(row, f"{column.key}_low"), _number(row, f"{column.key}_high")
    interval = "" if low is None else f"[{column.shown.number(low)}, {column.shown.number(high)}]"
    return Cell(column.shown.text(value), interval, value, reason)


def _number(row: "pd.Series[float]", key: str) -> float | None:
    value = row.get(key)
    return None if value is None or math.isnan(value) else float(value)


def _reason(measures: pd.DataFrame, family: str, column: Column) -> str:
    """What the measures say about a number or about its absence; empty where they say nothing."""
    rows = measures[(measures["family"] == family) & (measures["measure"] == column.measure)]
    if column.reference is not None:
        rows = rows[rows["reference"] == column.reference]
    if column.tolerance is not None:
        rows = rows[rows["tolerance"] == column.tolerance]
    reasons = [str(reason) for reason in rows["reason"] if reason]
    return reasons[0] if reasons else ""


def _with_unit(title: str, shown: Quantity) -> str:
    unit = shown.difference_unit.removeprefix("percentage ")
    return f"{title}, {unit}" if unit else title


def _within(shown: Quantity, tolerance: float) -> str:
    return f"within {shown.difference(tolerance)}".replace("percentage ", "")
