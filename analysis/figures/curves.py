"""Curves with bands: near-optimal mass, expected best, one-axis profiles, training over epochs."""

from collections.abc import Iterator, Sequence
from textwrap import fill

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from analysis.figures.legends import draw_legend, family_handles
from analysis.figures.levels import Level, level_handles, line_across
from analysis.figures.places import coordinates, label_axis
from analysis.figures.style import (
    FAINT,
    INK,
    FamilyStyle,
    Sheet,
    drawing_style,
    family_styles,
    scaled_ticks,
    set_title,
    sheet,
)
from analysis.labels import Quantity, words
from analysis.table import Axis

_HEIGHT = 1.35
_STRIP = 0.42
_COLUMNS = 4
_NUM_MARKERS = 9
_MOST_LABELS = 5
_LABEL_WIDTH = 26  # characters beside a panel
_NUM_TOGETHER = 8  # above this many families one panel of all of them is a thicket


def tolerance_figure(
    frame: pd.DataFrame, *, families: Sequence[str], tolerances: Sequence[float], quantity: Quantity
) -> Figure:
    """Draw near-optimal mass over the tolerance: all families together, then each with its interval.

    Args:
        frame: columns family, tolerance, estimate, low, high, shares 0..1.
        families: in the order of the panels.
        tolerances: those of the study, drawn as vertical lines.
        quantity: the outcome, for the unit of the tolerance.
    """
    styles = family_styles(families)
    together = 1 if 1 < len(families) <= _NUM_TOGETHER else 0
    with drawing_style():
        page = sheet(len(families) + together, columns=_COLUMNS, height=_HEIGHT, strip=_STRIP)
        for index, axes, shown in _families_panels(page, families, together=together):
            axes.grid(visible=True, linewidth=0.6)
            for tolerance in tolerances:
                axes.axvline(tolerance, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
            for family in shown:
                rows = frame[frame["family"] == family].sort_values("tolerance")
                _curve(axes, rows, "tolerance", styles[family], band=index >= together)
            _finish_tolerance(axes, quantity, frame["tolerance"], is_first=page.is_first_column(index))
        # Titles name the families where no panel shows several.
        handles = family_handles(styles if together else {})
        if len(tolerances):
            handles["study's tolerances"] = Line2D([], [], color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
        draw_legend(page, handles)
        return page.figure


def expected_best_figure(
    frame: pd.DataFrame, *, families: Sequence[str], quantity: Quantity, untrained: Level | None
) -> Figure:
    """Draw the expected best of n random settings: all families together, then each with its band.

    Args:
        frame: columns family, n, estimate, low, high.
        families: in the order of the panels.
        quantity: the outcome.
        untrained: the untrained encoder's mean and interval; None where it was not run.
    """
    styles = family_styles(families)
    together = 1 if 1 < len(families) <= _NUM_TOGETHER else 0
    alone = len(families) if not together or frame["low"].notna().any() else 0
    counts = sorted(frame["n"].unique())
    with drawing_style():
        page = sheet(alone + together, columns=_COLUMNS, height=_HEIGHT, strip=_STRIP)
        for index, axes, shown in _families_panels(page, families, together=together):
            line_across(axes, untrained)
            for family in shown:
                rows = frame[frame["family"] == family].sort_values("n")
                _curve(axes, rows, "n", styles[family], band=index >= together)
            axes.set_xscale("log", base=2)
            axes.set_xticks(counts, [f"{count:,}" for count in counts])
            axes.minorticks_off()
            axes.set_xlabel("random settings tried")
            _outcome_axis(axes, quantity, is_first=page.is_first_column(index))
        _share_y(page.panels)
        draw_legend(page, {**family_handles(styles if together else {}), **level_handles(untrained)})
        return page.figure


def profile_figure(
    frame: pd.DataFrame, *, panels: Sequence[tuple[str, Axis]], families: Sequence[str], quantity: Quantity,
    untrained: Level | None,
) -> Figure:  # fmt: skip
    """Draw the outcome along one axis at a time, on one scale of y.

    Args:
        frame: columns family, axis, value, estimate, low, high.
        panels: a family and one of its axes for each panel.
        families: all of the report, so that each keeps its colour from figure to figure.
        quantity: the outcome.
        untrained: the untrained encoder's mean and interval; None where it was not run.
    """
    styles = family_styles(families)
    with drawing_style():
        page = sheet(len(panels), columns=_COLUMNS, height=_HEIGHT, strip=_STRIP)
        for index, (family, axis) in enumerate(panels):
            axes = page.panels[index]
            set_title(axes, family)
            rows = frame[(frame["family"] == family) & (frame["axis"] == axis.name)]
            line_across(axes, untrained)
            rows = rows.assign(value=coordinates(axis, rows["value"]))
            _curve(axes, rows.sort_values("value"), "value", styles[family], band=True)
            label_axis(axes.xaxis, axis, positions=coordinates, most=_MOST_LABELS)
            axes.set_xlabel(words(axis.name))
            _outcome_axis(axes, quantity, is_first=page.is_first_column(index))
        _share_y(page.panels)
        _line_legend(page, "mean over the other axes, with interval", untrained)
        return page.figure


def epoch_figure(
    frame: pd.DataFrame, *, families: Sequence[str], quantity: Quantity, untrained: Level | None
) -> Figure:
    """Draw the outcome over epochs: the mean of a family's trials and the spread of them.

    Args:
        frame: columns family, epoch, estimate, low, high.
        families: in the order of the panels.
        quantity: the outcome.
        untrained: the untrained encoder's mean and interval; None where it was not run.
    """
    styles = family_styles(families)
    with drawing_style():
        page = sheet(len(families), columns=_COLUMNS, height=_HEIGHT, strip=_STRIP)
        for index, family in enumerate(families):
            axes = page.panels[index]
            set_title(axes, family)
            line_across(axes, untrained)
            _curve(
                axes,
                frame[frame["family"] == family].sort_values("epoch"),
                "epoch",
                styles[family],
                band=True,
            )
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.set_xlabel("epoch")
            _outcome_axis(axes, quantity, is_first=page.is_first_column(index))
        _share_y(page.panels)
        _line_legend(page, "mean of the trials, with their 10 % to 90 % range", untrained)
        return page.figure


def _families_panels(
    page: Sheet, families: Sequence[str], *, together: int
) -> Iterator[tuple[int, Axes, Sequence[str]]]:
    """Titled panels with the families that each shows: the first `together` show all, the others one each."""
    for index, axes in enumerate(page.panels):
        shown = families if index < together else families[index - together : index - together + 1]
        set_title(axes, "all families" if index < together else shown[0])
        yield index, axes, shown


def _curve(axes: Axes, rows: pd.DataFrame, x: str, style: FamilyStyle, *, band: bool) -> None:
    places, middle = rows[x].to_numpy(float), rows["estimate"].to_numpy(float)
    if band:
        low, high = rows["low"].to_numpy(float), rows["high"].to_numpy(float)
        axes.fill_between(places, low, high, color=style.colour, alpha=0.22, linewidth=0)
    step = max(1, len(places) // _NUM_MARKERS)
    axes.plot(
        places, middle, color=style.colour, linestyle=style.line, marker=style.marker, markevery=step,
        markersize=3.6, linewidth=1.5,
    )  # fmt: skip


def _finish_tolerance(axes: Axes, quantity: Quantity, tolerances: pd.Series, *, is_first: bool) -> None:
    axes.set_xlim(0, tolerances.max() if len(tolerances) else 1)
    axes.set_ylim(-0.02, 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(scaled_ticks(quantity.factor))
    axes.yaxis.set_major_formatter(scaled_ticks(100.0))
    unit = f" ({quantity.difference_unit})" if quantity.difference_unit else ""
    axes.set_xlabel(f"tolerance{unit}")
    if is_first:
        axes.set_ylabel("share of settings (%)")
    sns.despine(ax=axes)


def _outcome_axis(axes: Axes, quantity: Quantity, *, is_first: bool) -> None:
    axes.grid(visible=True, axis="y", linewidth=0.6)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(scaled_ticks(quantity.factor))
    if is_first:
        axes.set_ylabel(fill(quantity.title, _LABEL_WIDTH))
    sns.despine(ax=axes)


def _share_y(panels: Sequence[Axes]) -> None:
    limits = [axes.get_ylim() for axes in panels]
    for axes in panels:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _line_legend(page: Sheet, what: str, untrained: Level | None) -> None:
    mean = (Patch(color=INK, alpha=0.22, linewidth=0), Line2D([], [], color=INK, linewidth=1.5))
    draw_legend(page, {what: mean, **level_handles(untrained)})
