"""Tables of collapse on the page: its share of the space, rank against the outcome, choosing by a metric."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.collapse import METRICS, UNDERCOVERS
from analysis.labels import quantity, share, words
from analysis.report.facts import COLLAPSE, Grid
from analysis.report.numbers import with_interval
from analysis.report.results import Results

_CORRELATIONS = {"spearman": "Spearman", "kendall": "Kendall", "partial": "partial"}
_SHARES = ("dimensional", "complete")

Row = Mapping[Hashable, Any]


@dataclass(frozen=True)
class NotedGrid(Grid):
    """A table of the page, and what to know of its numbers: reason -> where it holds."""

    notes: Mapping[str, str]


def collapse_counts(results: Results, dataset: str) -> Grid:
    """Trials by family and category of collapse of the embeddings, and the shares; failed trials have none.

    No rows of a table that does not tell.
    """
    table = results.table
    columns = ["family", *COLLAPSE, "not measured", *(f"{name}, % of trials" for name in _SHARES)]
    rows: list[list[str]] = []
    if "collapse" not in table.trials:
        return Grid(columns, rows)
    every = pd.concat([frame for frame in (table.trials, table.baseline) if len(frame)])
    for family in [*table.axes, *table.baseline["family"].unique()]:
        trials = every[(every["dataset"] == dataset) & (every["family"] == family)]
        counts = [int((trials["collapse"] == category).sum()) for category in COLLAPSE]
        measured = _measured(results, family, "collapse_")
        shares = [with_interval(measured.get(name), lambda value: share(value).removesuffix(" %")) for name in _SHARES]
        rows.append([family, *(f"{count:,}" for count in [*counts, len(trials) - sum(counts)]), *shares])
    return Grid(columns, rows)


def rank_accuracy(results: Results) -> NotedGrid:
    """Correlations of effective rank and outcome, a family a row; no rows where none was measured."""
    found = {family: _measured(results, family, "rank_accuracy_") for family in results.table.axes}
    return _noted(found, _CORRELATIONS, _correlation)


def correlation(results: Results, family: str, method: str) -> str:
    """One of these correlations with its interval, a dash where there is none."""
    return with_interval(_measured(results, family, "rank_accuracy_").get(method), _correlation)


def choice_regrets(results: Results, space: str) -> NotedGrid:
    """What choosing a setting by each metric loses against the best, a family a row; no rows where none was measured.

    Args:
        space: `z` for metrics of embeddings, `h` for those of representations.
    """
    found = {family: _measured(results, family, "choice_regret_") for family in results.table.axes}
    names = [name for name in METRICS if name[0] == space and any(name in measured for measured in found.values())]
    titles = {"random": "random setting"} | {name: words(name[2:]) for name in names}
    return _noted(found if names else {}, titles, quantity(results.table.outcome).number)


def _measured(results: Results, family: str, prefix: str) -> dict[str, Row]:
    """What comes behind the prefix in the names of the family's measures -> the row."""
    rows = results.measures
    rows = rows[(rows["family"] == family) & rows["measure"].str.startswith(prefix)] if len(rows) else rows
    return {str(row["measure"]).removeprefix(prefix): row for row in rows.to_dict("records")}


def _noted(
    found: Mapping[str, Mapping[str, Row]], titles: Mapping[str, str], text: Callable[[float], str]
) -> NotedGrid:
    """A row a family that has any, a column a measure; how well intervals of choices cover stands above the table."""
    rows: list[list[str]] = []
    notes: dict[str, list[str]] = {}
    for family, measured in found.items():
        if not measured:
            continue
        rows.append([family, *(with_interval(measured.get(name), text) for name in titles)])
        reasons = {name: str(measured[name]["reason"]).split("; ") for name in titles if name in measured}
        for reason in dict.fromkeys(one for several in reasons.values() for one in several):
            if reason and reason != UNDERCOVERS:
                where = [titles[name] for name, several in reasons.items() if reason in several]
                notes.setdefault(reason, []).append(f"{family}: {', '.join(where)}")
    return NotedGrid(["family", *titles.values()], rows, {reason: "; ".join(where) for reason, where in notes.items()})


def _correlation(value: float) -> str:
    return f"{value:z.2f}"
