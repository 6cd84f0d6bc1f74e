"""Tables of numbers on the page: what each axis decides, and what a random search finds."""

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import pandas as pd

from analysis.labels import MISSING, quantity, share, words
from analysis.report.facts import Grid
from analysis.report.results import Results

SHARES = {"ST_corrected": "total", "S1_corrected": "alone"}
"""Measures of what an axis decides, in the words of the page."""

_SEARCH = "expected_best_"


def axis_shares(results: Results) -> Grid:
    """Shares of the variance over the settings, an axis a row; no rows where no family has any."""
    rows = results.sensitivity
    rows = rows[rows["measure"].isin(SHARES)] if len(rows) else rows
    if rows.empty or rows["estimate"].isna().all():
        return Grid([], [])
    # A family none of whose axes has a number says why once.
    lines = []
    for (family, axis), of_axis in rows.groupby(["family", "axis"], sort=False):
        by_measure = {row["measure"]: row for row in of_axis.to_dict("records")}
        found = [_share(by_measure.get(measure)) for measure in SHARES]
        lines.append([str(family), words(str(axis)), *found, str(by_measure["ST_corrected"]["reason"] or "")])
    return Grid(["family", "axis", *(f"{how}, % of variance" for how in SHARES.values()), "note"], lines)


def deciding_axes(results: Results) -> list[tuple[str, list[str]]]:
    """Axis -> the families of which it decides most, the most frequent first; only where the interval of its total
    share lies above those of all other axes.
    """
    rows = results.sensitivity
    rows = rows[(rows["measure"] == "ST_corrected") & rows["low"].notna()] if len(rows) else rows
    found: dict[str, list[str]] = {}
    for family, of_family in rows.groupby("family", sort=False) if len(rows) else ():
        first, *others = of_family.sort_values("estimate", ascending=False, kind="stable").to_dict("records")
        if others and first["low"] > max(one["high"] for one in others):
            found.setdefault(str(first["axis"]), []).append(str(family))
    return sorted(found.items(), key=lambda one: (-len(one[1]), one[0]))


def expected_bests(results: Results) -> Grid:
    """The expected best of n random settings, a family a row; at most seven n."""
    shown, rows = quantity(results.table.outcome), expected_best_rows(results)
    if rows.empty:
        return Grid([], [])
    counts = sorted(rows["n"].unique().tolist())
    counts = counts[:: max(math.ceil(len(counts) / 7), 1)]
    lines = []
    for family, of_family in rows.groupby("family", sort=False):
        by_count = {row["n"]: row for row in of_family.to_dict("records")}
        lines.append([str(family), *(with_interval(by_count.get(n), shown.number) for n in counts)])
    return Grid(["family", *(f"n = {n:,}" for n in counts)], lines)


def expected_best_rows(results: Results) -> pd.DataFrame:
    """The rows of robustness.csv about the expected best of `n` random settings, with that number."""
    rows = results.measures
    rows = rows[rows["measure"].str.startswith(_SEARCH) & rows["estimate"].notna()]
    return rows.assign(n=rows["measure"].str.removeprefix(_SEARCH).astype(int))


def _share(row: Mapping[Hashable, Any] | None) -> str:
    return with_interval(row, lambda value: share(value).removesuffix(" %"))


def with_interval(row: Mapping[Hashable, Any] | None, text: Callable[[float], str]) -> str:
    """A row's estimate with its interval where it has one, a dash where there is no number."""
    if row is None or math.isnan(row["estimate"]):
        return MISSING
    interval = f" ({text(row['low'])} to {text(row['high'])})" if not pd.isna(row["low"]) else ""
    return f"{text(row['estimate'])}{interval}"
