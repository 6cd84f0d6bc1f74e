"""What it costs to use a setting elsewhere, on the page."""

import pandas as pd

from analysis.labels import quantity
from analysis.report.facts import Grid
from analysis.report.numbers import with_interval

_MOST_ROWS = 120


def transfer_grid(moved: pd.DataFrame, *, several: bool) -> tuple[Grid, int]:
    """What each family loses by settings that were chosen elsewhere, and how alike the two places order them.

    Args:
        moved: rows of transfer.csv, with `study` and `other_study`.
        several: whether places are named with their study.

    Returns:
        A row a family and two places, the greatest loss first where there are more rows than a page should have;
        and how many rows there would be.
    """
    moved = moved[_is_between(moved)]
    where = {
        side: (moved[f"{side}study"] + ": " if several else "") + moved[f"{side}dataset"] for side in ("", "other_")
    }
    moved = moved.assign(here=where[""], there=where["other_"])
    alike = {
        (row["family"], frozenset((row["here"], row["there"])), row["measure"]): row
        for row in moved[moved["measure"] != "transferred_regret"].to_dict("records")
    }
    lost = moved[moved["measure"] == "transferred_regret"]
    count = len(lost)
    if count > _MOST_ROWS:
        lost = lost.sort_values("estimate", ascending=False, kind="stable").head(_MOST_ROWS)
    rows = []
    for row in lost.to_dict("records"):
        shown = quantity(row["outcome"])
        both = frozenset((row["here"], row["there"]))
        ranks = [alike[row["family"], both, measure] for measure in ("rank_correlation", "top_overlap")]
        rows.append([
            row["family"], row["there"], row["here"], with_interval(row, shown.number),
            *(with_interval(found, "{:.2f}".format) for found in ranks), f"{row['n_configs']:,}",
            "; ".join(dict.fromkeys(found["reason"] for found in (row, *ranks) if found["reason"])),
        ])  # fmt: skip
    units = {quantity(name).difference_unit for name in lost["outcome"]}
    unit = f", {units.pop()}" if len(units) == 1 and any(units) else ""
    titles = ["family", "chosen on", "used on", f"lost{unit}", "rank correlation", "best tenth in common", "settings"]
    return Grid([*titles, "note"], rows), count


def _is_between(moved: pd.DataFrame) -> "pd.Series[bool]":
    """Rows of one family in two places, not of two families in one."""
    return (moved["study"] != moved["other_study"]) | (moved["dataset"] != moved["other_dataset"])
