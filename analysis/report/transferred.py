"""What it costs to use a setting elsewhere, on the page."""

from typing import Any

import pandas as pd

from analysis.labels import counted, quantity
from analysis.report.facts import Grid
from analysis.report.numbers import with_interval
from analysis.report.prose import Passage

_MOST_ROWS = 120


def between_places(moved: pd.DataFrame, *, several: bool) -> pd.DataFrame:
    """The rows about one family in two places, with `here` and `there`, the names of the places.

    Args:
        moved: rows of transfer.csv, with `study` and `other_study`.
        several: whether places are named with their study.
    """
    apart = (moved["study"] != moved["other_study"]) | (moved["dataset"] != moved["other_dataset"])
    moved = moved[apart]
    named = {side: place(moved[f"{side}study"], moved[f"{side}dataset"], several) for side in ("", "other_")}
    return moved.assign(here=named[""], there=named["other_"])


def place(study: Any, dataset: Any, several: bool) -> Any:
    """How the page calls a data set of a study; of columns, a column."""
    return study + ": " + dataset if several else dataset


def transfer_grid(moved: pd.DataFrame) -> tuple[Grid, int]:
    """What each family loses by settings that were chosen elsewhere, and how alike the two places order them.

    Args:
        moved: as `between_places` gives them.

    Returns:
        A row a family and two places, the greatest loss first where there are more rows than a page should have;
        and how many rows there would be.
    """
    alike = {
        (row["family"], frozenset((row["here"], row["there"])), row["measure"]): row
        for row in moved[moved["measure"] != "transferred_regret"].to_dict("records")
    }
    lost = _regrets(moved)
    count = len(lost)
    if count > _MOST_ROWS:
        lost = lost.sort_values("estimate", ascending=False, kind="stable").head(_MOST_ROWS)
    rows = []
    for row in lost.to_dict("records"):
        both = frozenset((row["here"], row["there"]))
        ranks = [alike[row["family"], both, measure] for measure in ("rank_correlation", "top_overlap")]
        rows.append([
            row["family"], row["there"], row["here"], with_interval(row, quantity(row["outcome"]).number),
            *(with_interval(found, "{:.2f}".format) for found in ranks), f"{row['n_configs']:,}",
            "; ".join(dict.fromkeys(found["reason"] for found in (row, *ranks) if found["reason"])),
        ])  # fmt: skip
    units = {quantity(name).difference_unit for name in lost["outcome"]}
    unit = f", {units.pop()}" if len(units) == 1 and any(units) else ""
    titles = ["family", "chosen on", "used on", f"lost{unit}", "rank correlation", "best tenth in common", "settings"]
    return Grid([*titles, "note"], rows), count


def transfer_passage(moved: pd.DataFrame, here: str) -> list[Passage]:
    """What settings from elsewhere cost in one place, where an interval says it; else nothing."""
    lost = _regrets(moved)
    lost = lost[(lost["here"] == here) & lost["low"].notna()]
    if lost.empty:
        return []
    costly = lost[lost["low"] > 0]
    shown = quantity(lost["outcome"].iloc[0])
    if costly.empty:
        row = lost.iloc[int(lost["high"].argmax())]
        text = (
            "No setting that was chosen elsewhere is known to cost anything here; at most "
            f"{shown.difference(row['high'])}, the upper end of the interval of {row['family']} from {row['there']}."
        )
    else:
        row = costly.iloc[int(costly["estimate"].argmax())]
        known = "is known to cost something here:" if len(costly) == 1 else "are known to cost something here, most"
        text = (
            f"{len(costly)} of {counted(len(lost), 'setting')} chosen elsewhere {known} that of {row['family']} from "
            f"{row['there']}: {shown.difference(row['estimate'])} "
            f"({shown.number(row['low'])} to {shown.number(row['high'])})."
        )
    return [Passage("From elsewhere", text, "transfer.csv: measure transferred_regret")]


def _regrets(moved: pd.DataFrame) -> pd.DataFrame:
    return moved[moved["measure"] == "transferred_regret"]
