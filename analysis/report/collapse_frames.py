"""Collapse and training of one data set: when trials collapse, rank against the outcome, spectra."""

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.collapse import CATEGORIES
from analysis.collapse.epochs import collapse_over_epochs, half_collapsed
from analysis.collapse.settings import rank_and_outcome, spectra, thinned
from analysis.figures import Colouring, collapse_figure, rank_figure, spectrum_figure
from analysis.labels import counted, level, quantity, share, shortened, words
from analysis.report.collapse_tables import correlation
from analysis.report.frame import Frame
from analysis.report.results import RANK, Results, has_failed
from analysis.table import Axis

_MOST_SETTINGS, _FEWEST_SETTINGS = 400, 12
"""Points of all panels of a figure together, and of one panel at least: more make the page heavy, not clearer."""

_MOST_LINES, _FEWEST_LINES = 120, 5
"""The same of lines."""

_SMALL = 0.01
"""A singular value below this share of the largest adds next to nothing."""

_SPACES = {"z_spectrum": "embeddings", "h_spectrum": "representations"}


def collapse_frames(results: Results, dataset: str) -> Iterator[Frame]:
    """Every figure of collapse that the report shows, where there is anything to show."""
    yield from _epochs(results, dataset)
    by = colour_axes(results)
    yield from _rank(results, dataset, Colouring(by))
    for column in _SPACES:
        yield from _spectra(results, dataset, column, Colouring(by))


def colour_axes(results: Results) -> dict[str, Axis]:
    """Family -> its temperature, else the logarithmic axis of its own that decides most, else the same of the shared.

    Families without a logarithmic axis are absent.
    """
    rows = results.sensitivity
    rows = rows[(rows["measure"] == "ST_corrected") & rows["estimate"].notna()] if len(rows) else rows
    total = {(row["family"], row["axis"]): float(row["estimate"]) for row in rows.to_dict("records")}
    found = {}
    for family, axes in results.table.axes.items():
        able = [axis for axis in axes if axis.varies and axis.scale in ("log", "log2")]
        own = [axis for axis in able if axis.name not in results.table.shared]
        named = [axis for axis in able if axis.name == "temperature"] or own or able
        if named:
            shares = [total.get((family, axis.name), -math.inf) for axis in named]
            found[family] = named[shares.index(max(shares))]
    return found


def _epochs(results: Results, dataset: str) -> Iterator[Frame]:
    shares = collapse_over_epochs(results.table, results.history, dataset=dataset)
    if shares.empty:
        return
    families = list(shares["family"].unique())
    last = shares.loc[shares.groupby(["family", "category"], sort=False)["epoch"].idxmax()]
    ends = [
        f"{family}: {_interval(rows[rows['category'] == 'any'])} collapsed at epoch {level(rows['epoch'].iloc[0])}, "
        f"{_interval(rows[rows['category'] == 'complete'])} completely"
        for family, rows in last.groupby("family", sort=False)
    ]
    half = _half(shares)
    yield Frame(
        section="epochs",
        name="collapse_over_epochs",
        title="Collapse over epochs",
        caption=(
            "Share of the trials whose embeddings are collapsed while training: dimensional or complete (solid), and "
            "complete alone (dotted). Bands are 95 % intervals in which all runs of a seed share its luck. Only "
            f"epochs at which every batch size was evaluated. {half} {_untrained(results)}{_left_out(results)}"
        ),
        description=f"{'; '.join(ends)}. {half}",
        figure=collapse_figure(shares, families=families, every=list(results.table.axes)),
    )


def _half(shares: pd.DataFrame) -> str:
    """When half of the trials of which families have collapsed."""
    found, first, total = half_collapsed(shares), shares["epoch"].min(), shares["family"].nunique()
    if not found:
        return "In no family half of the trials are collapsed at any of these epochs."
    parts = []
    for epoch in sorted(set(found.values())):
        families = [family for family, reached in found.items() if reached == epoch]
        when = f"by epoch {level(epoch)}" + (", the first evaluated," if epoch == first else "")
        whom = f"all {len(families)} families" if 1 < len(families) == total else shortened(families)
        parts.append(f"{when} in {whom}")
    return f"At least half of the trials are collapsed {'; '.join(parts)}."


def _untrained(results: Results) -> str:
    """What the same rule says of encoders before any training."""
    baseline = results.table.baseline
    told = baseline["collapse"].dropna() if "collapse" in baseline else baseline["family"].iloc[:0]
    if told.empty:
        return ""
    return f"Of {counted(len(told), 'untrained encoder')} {int(told.isin(CATEGORIES).sum())} would count as collapsed. "


def _rank(results: Results, dataset: str, colouring: Colouring) -> Iterator[Frame]:
    table = results.table
    every = rank_and_outcome(table, dataset, rank=RANK, by=colouring.axes)
    if every.empty or table.outcome == RANK:
        return
    families = list(every["family"].unique())
    drawn = thinned(every, most=_most(len(families), _MOST_SETTINGS, _FEWEST_SETTINGS))
    rank, outcome = quantity(RANK), quantity(table.outcome)
    texts = []
    for family, rows in every.groupby("family", sort=False):
        ends = [
            f"{shown.label} {shown.number(rows[name].min())} to {shown.text(rows[name].max())}"
            for name, shown in (("rank", rank), ("outcome", outcome))
        ]
        told = correlation(results, str(family), "spearman")
        texts.append(f"{family}, {counted(len(rows), 'setting')}: {', '.join(ends)}; Spearman's correlation {told}.")
    yield Frame(
        section="rank_accuracy",
        name="rank_and_outcome",
        title=f"{outcome.label.capitalize()} against {rank.label}",
        caption=(
            f"A point a setting: its mean {rank.label} (across) and {outcome.label} (up), with bars of one standard "
            "deviation over seeds to either side, where there are at least two. All panels share both scales. Points "
            f"that rise to the right: within this family {outcome.label} rises with the rank. "
            f"{_colours(colouring, families)}{_drawn(drawn, every)}{_left_out(results)}"
        ),
        description=" ".join(texts),
        figure=rank_figure(drawn, families=families, rank=rank, outcome=outcome, colouring=_of(colouring, families)),
    )


def _spectra(results: Results, dataset: str, column: str, colouring: Colouring) -> Iterator[Frame]:
    every = spectra(results.table, dataset, column=column, by=colouring.axes)
    if every.empty:
        return
    families = list(every["family"].unique())
    drawn = thinned(every, most=_most(len(families), _MOST_LINES, _FEWEST_LINES))
    what = _SPACES[column]
    yield Frame(
        section="spectra",
        name=column.replace("spectrum", "spectra"),
        title=f"Spectra of the {what}",
        caption=(
            f"Singular values of the {what} of test images, largest first, as shares of the largest; a line a setting, "
            "the median over its seeds. A line that stays high uses many directions; one that drops at once has "
            f"collapsed. Shares below a millionth are not shown. {_colours(colouring, families)}"
            f"{_drawn(drawn, every)}{_left_out(results)}"
        ),
        description=" ".join(
            _spectrum_text(str(family), rows, colouring) for family, rows in every.groupby("family", sort=False)
        ),
        figure=spectrum_figure(drawn, families=families, colouring=_of(colouring, families)),
    )


def _spectrum_text(family: str, rows: pd.DataFrame, colouring: Colouring) -> str:
    """How many directions the settings with the fewest and with the most use."""
    counts = [int((shares >= _SMALL).sum()) for shares in rows["shares"]]
    axis = colouring.axes.get(family)
    first, last = (
        f"{count}"
        + ("" if axis is None else f" at {words(axis.name)} {level(rows['value'].iloc[counts.index(count)])}")
        for count in (min(counts), max(counts))
    )
    total = max(map(len, rows["shares"]))
    return f"{family}: from {first} to {last} of {total} singular values are at least {share(_SMALL)} of the largest."


def _of(colouring: Colouring, families: Sequence[str]) -> Colouring:
    return Colouring({family: axis for family, axis in colouring.axes.items() if family in families})


def _colours(colouring: Colouring, families: Sequence[str]) -> str:
    names = list(dict.fromkeys(words(axis.name) for axis in _of(colouring, families).axes.values()))
    if not names:
        return ""
    if len(names) == 1:
        return f"Colour is {names[0]}. "
    return "Colour is the axis below each panel, dark at its lowest and bright at its highest value. "


def _drawn(drawn: pd.DataFrame, every: pd.DataFrame) -> str:
    if len(drawn) == len(every):
        return ""
    return f"Of {len(every):,} settings {len(drawn):,} are drawn, evenly spaced in the order of their values. "


def _left_out(results: Results) -> str:
    """What is not in the figure."""
    failed = int(has_failed(results.table.trials).sum())
    return f"{counted(failed, 'failed trial')} left out." if failed else "No trial failed."


def _most(num_families: int, together: int, least: int) -> int:
    return max(together // num_families, least)


def _interval(rows: pd.DataFrame) -> str:
    one = rows.iloc[0]
    return f"{share(one['estimate'])} ({share(one['low'])} to {share(one['high'])})"
