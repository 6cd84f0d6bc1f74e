"""The figures of one data set that show numbers with their intervals, and what a random search finds."""

from collections.abc import Iterator

import pandas as pd

from analysis.figures import difference_figure, expected_best_figure, share_figure, trade_off_figure
from analysis.labels import quantity, share, words
from analysis.report.frame import Frame, file_stem
from analysis.report.numbers import SHARES, expected_best_rows
from analysis.report.results import Results, untrained_level


def whisker_frames(results: Results, dataset: str) -> Iterator[Frame]:
    """Every such figure, where there is anything to show."""
    yield from _trade_off(results, dataset)
    yield from _differences(results)
    yield from _shares(results)
    yield from _expected_best(results, dataset)


def _trade_off(results: Results, dataset: str) -> Iterator[Frame]:
    rows, shown = results.measures, quantity(results.table.outcome)
    best = rows[(rows["measure"] == "best") & (rows["reference"] == "common")]
    regret = rows[(rows["measure"] == "normalised_regret") & (rows["reference"] == "own")]
    both = pd.merge(_short(best, "best"), _short(regret, "regret"), on="family").dropna(subset=["best", "regret"])
    both = both[both["family"].isin(list(results.table.axes))]
    if both.empty:
        return
    texts = [
        f"{row['family']}: best {shown.text(row['best'])}, a random setting loses {share(row['regret'])}."
        for row in both.to_dict("records")
    ]
    yield Frame(
        section="plane",
        name="performance_and_sensitivity",
        title="Performance against sensitivity",
        caption=(
            f"What tuning reaches (up: the cross-fitted best {shown.label}) against what a random setting of the same "
            "family is expected to lose of it (right: more sensitive), in percent of the way from the family's best "
            f"to the floor. {'Low' if results.table.direction == 'minimize' else 'High'} and left is what one wants. "
            "Crosses are 95 % intervals; where they overlap, only the paired comparison can tell."
        ),
        description=" ".join(texts),
        figure=trade_off_figure(
            both, families=list(results.table.axes), quantity=shown,
            untrained=untrained_level(results.table, dataset, results.table.outcome),
        ),
    )  # fmt: skip


def _short(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    columns = {"estimate": name, "low": f"{name}_low", "high": f"{name}_high"}
    return rows[["family", *columns]].rename(columns=columns)


def _differences(results: Results) -> Iterator[Frame]:
    table, rows, shown = results.table, results.comparisons, quantity(results.table.outcome)
    if rows.empty or table.reference is None:
        return
    rows = (
        rows[rows["measure"] == "difference"].dropna(subset=["difference"]).rename(columns={"difference": "estimate"})
    )
    if rows.empty:
        return
    texts = [
        f"{row['family']}, {row['profile']}: {shown.difference(row['estimate'])} "
        f"({shown.number(row['low'])} to {shown.number(row['high'])}), {row['verdict']}."
        for row in rows.to_dict("records")
    ]
    yield Frame(
        section="compared",
        name="differences",
        title=f"Paired differences from {table.reference}",
        caption=(
            f"Differences from {table.reference} with 95 % intervals; the grey band is the margin within which "
            f"families count as equivalent. {'Left' if table.direction == 'minimize' else 'Right'} of 0 is better."
        ),
        description=" ".join(texts),
        figure=difference_figure(rows, quantity=shown, margin=table.equivalence, reference=table.reference),
    )


def _shares(results: Results) -> Iterator[Frame]:
    rows = results.sensitivity
    rows = rows[rows["measure"].isin(SHARES)].dropna(subset=["estimate"]) if len(rows) else rows
    if rows.empty:
        return
    rows = rows.assign(measure=rows["measure"].map(SHARES))
    families = [family for family in results.table.axes if family in set(rows["family"])]
    total = rows[rows["measure"] == "total"]
    texts = [f"{row['family']}, {words(row['axis'])}: {share(row['estimate'])}." for row in total.to_dict("records")]
    yield Frame(
        section="axes",
        name="variance_shares",
        title="Shares of variance by axis",
        caption=(
            "What each axis decides of a family's variance over its settings, with 95 % intervals: in total (filled), "
            "and by itself (open). Where both differ, the axis acts together with others."
        ),
        description=" ".join(["Total shares.", *texts]),
        figure=share_figure(rows, families=families),
    )


def _expected_best(results: Results, dataset: str) -> Iterator[Frame]:
    rows, shown = expected_best_rows(results), quantity(results.table.outcome)
    if rows.empty or rows["n"].nunique() < 2:
        return
    families = [family for family in results.table.axes if family in set(rows["family"])]
    last = rows.loc[rows.groupby("family", sort=False)["n"].idxmax()]
    texts = [f"{row['family']}: {shown.text(row['estimate'])} at n = {row['n']:,}." for row in last.to_dict("records")]
    banded = rows["low"].notna().any()
    yield Frame(
        section="search",
        name=f"{file_stem(results.table.outcome)}_of_random_search",
        title="Expected best of a random search",
        caption=(
            f"Expected best {shown.label} of so many settings drawn at random: a curve that is flat from the start "
            "needs no tuning. "
            + ("Bands hold at 95 % for all n at once." if banded else "A grid is no sample: there are no bands.")
        ),
        description=" ".join(["At the largest n.", *texts]),
        figure=expected_best_figure(
            rows, families=families, quantity=shown,
            untrained=untrained_level(results.table, dataset, results.table.outcome),
        ),
    )  # fmt: skip
