"""Collapse over epochs, rank against the outcome, and spectra: a panel a family, all on one scale."""

from collections.abc import Sequence
from textwrap import fill
from typing import Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from analysis.figures.colouring import COLOURS, UNIT, Colouring
from analysis.figures.style import (
    FAINT,
    INK,
    Sheet,
    drawing_style,
    family_styles,
    scaled_ticks,
    set_title,
    sheet,
)
from analysis.labels import Quantity

Floats = NDArray[np.float64]

_HEIGHT = 1.35
_STRIP, _BAR_STRIP = 0.42, 0.8
_COLUMNS = 4
_LABEL_WIDTH = 26  # characters beside a panel
_NUM_MARKERS = 9
_MOST_POINTS = 24  # of a line of singular values
_SMALLEST = 1e-6  # share of the largest singular value: less is rounding of single precision
_INVISIBLE = 0.02  # decades


def collapse_figure(frame: pd.DataFrame, *, families: Sequence[str], every: Sequence[str]) -> Figure:
    """Draw the share of collapsed trials over epochs, with intervals.

    Args:
        frame: columns family, epoch, category (`any` or `complete`), estimate, low, high, shares 0..1.
        families: in the order of the panels.
        every: all of the report, so that each keeps its colour from figure to figure.
    """
    styles = family_styles(every)
    with drawing_style():
        page = sheet(len(families), columns=_COLUMNS, height=_HEIGHT, strip=_STRIP)
        for index, family in enumerate(families):
            axes, style = page.panels[index], styles[family]
            set_title(axes, family)
            for category, line in (("any", "-"), ("complete", ":")):
                rows = frame[(frame["family"] == family) & (frame["category"] == category)]
                epochs, share, low, high = (rows[name].to_numpy(float) for name in ("epoch", "estimate", "low", "high"))
                axes.fill_between(epochs, low, high, color=style.colour, alpha=0.22, linewidth=0)
                marker, step = style.marker if category == "any" else "", max(1, len(epochs) // _NUM_MARKERS)
                axes.plot(epochs, share, color=style.colour, linestyle=line, marker=marker, markevery=step,
                          markersize=3.6, linewidth=1.5)  # fmt: skip
            axes.set(xlim=(0, 1.03 * frame["epoch"].max()), ylim=(-0.03, 1.03), xlabel="epoch")
            axes.grid(visible=True, axis="y", linewidth=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.yaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
            axes.yaxis.set_major_formatter(scaled_ticks(100.0))
            _finish(axes, "share of trials (%)", is_first=page.is_first_column(index))
        _legend(page, {
            "dimensional or complete, with interval": _sample(marker="o"),
            "complete, with interval": _sample(line=":"),
        })  # fmt: skip
        return page.figure


def rank_figure(
    frame: pd.DataFrame, *, families: Sequence[str], rank: Quantity, outcome: Quantity, colouring: Colouring
) -> Figure:
    """Draw settings by their mean rank and outcome, with a bar of one standard deviation to either side.

    Args:
        frame: columns family, value, rank, rank_sd, outcome, outcome_sd; bars where these are finite.
        families: in the order of the panels.
    """
    with drawing_style():
        page = sheet(len(families), columns=_COLUMNS, height=_HEIGHT, strip=_BAR_STRIP)
        for index, family in enumerate(families):
            axes, rows = page.panels[index], frame[frame["family"] == family]
            set_title(axes, family)
            x, y = rows["rank"].to_numpy(float), rows["outcome"].to_numpy(float)
            across, up = (rows[f"{name}_sd"].to_numpy(float) for name in ("rank", "outcome"))
            # All bars as one line with gaps: thousands of short ones would make a page of many families heavy.
            axes.plot(_gapped(x - across, x + across), _gapped(y, y), color=FAINT, linewidth=0.6, alpha=0.6)
            axes.plot(_gapped(x, x), _gapped(y - up, y + up), color=FAINT, linewidth=0.6, alpha=0.6)
            shades = _shades(colouring, family, rows)
            axes.scatter(x, y, s=16, c=shades, edgecolors=INK, linewidths=0.4, zorder=3, clip_on=False)
            axes.grid(visible=True, linewidth=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_formatter(scaled_ticks(outcome.factor))
            axes.set_xlabel(_lines(rank.label, colouring.note(family)), labelpad=1.5)
            _finish(axes, outcome.title, is_first=page.is_first_column(index))
        _share_limits(page.panels)
        colouring.make_room(page)
        _legend(page, {"mean of a setting, \u00b1 sd over seeds": _sample(marker="o", width=0.6)})
        colouring.draw_bar(page)
        return page.figure


def spectrum_figure(frame: pd.DataFrame, *, families: Sequence[str], colouring: Colouring) -> Figure:
    """Draw a line a setting: singular values as shares of the largest, on a logarithmic scale.

    Args:
        frame: columns family, value, shares (an array from 1 downwards).
        families: in the order of the panels.
    """
    longest = max(map(len, frame["shares"]))
    lowest = max(min(float(shares[-1]) for shares in frame["shares"]), _SMALLEST)
    with drawing_style():
        page = sheet(len(families), columns=_COLUMNS, height=_HEIGHT, strip=_BAR_STRIP)
        for index, family in enumerate(families):
            axes, rows = page.panels[index], frame[frame["family"] == family]
            set_title(axes, family)
            lines = [_line(np.maximum(shares, _SMALLEST / 10)) for shares in rows["shares"]]
            axes.add_collection(LineCollection(lines, colors=_shades(colouring, family, rows), linewidths=1.1))
            axes.set_yscale("log")
            axes.set(xlim=(1, max(longest, 2)), ylim=(lowest / 1.3, 1.3))
            axes.grid(visible=True, axis="y", linewidth=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            powers = np.arange(np.ceil(np.log10(lowest / 1.3)), 1)
            axes.yaxis.set_major_locator(FixedLocator([10.0**power for power in powers[::-1][:: -(len(powers) // -5)]]))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: _power(share)))
            axes.set_xlabel(_lines("singular value, in order", colouring.note(family)), labelpad=1.5)
            _finish(axes, "share of the largest", is_first=page.is_first_column(index))
        colouring.make_room(page)
        _legend(page, {"a setting, median over seeds": _sample()})
        colouring.draw_bar(page)
        return page.figure


def _shades(colouring: Colouring, family: str, rows: pd.DataFrame) -> Floats | str:
    """A colour for each row, or one for all where the family has no axis to colour by."""
    if family not in colouring.axes:
        return FAINT
    return np.asarray(COLOURS(UNIT(colouring.places(family, rows["value"]))))


def _line(shares: Floats) -> Floats:
    """Points (k, share) of the line through all values: those without which it would look different.

    Beginning with both ends, the value farthest from the line joins it, until none is farther than can be seen.
    """
    places, heights = np.arange(len(shares)), np.log10(shares)
    kept = sorted({0, len(shares) - 1})
    while len(kept) < _MOST_POINTS:
        away = np.abs(heights - np.interp(places, kept, heights[kept]))
        if away.max() < _INVISIBLE:
            break
        kept = sorted([*kept, int(away.argmax())])
    return np.column_stack([places[kept] + 1, shares[kept]])


def _gapped(first: Floats, second: Floats) -> Floats:
    """Pairs of ends one behind the other, a gap after each."""
    return np.column_stack([first, second, np.full(len(first), np.nan)]).ravel()


def _share_limits(panels: Sequence[Axes]) -> None:
    for get, put in (("get_xlim", "set_xlim"), ("get_ylim", "set_ylim")):
        limits = [getattr(axes, get)() for axes in panels]
        for axes in panels:
            getattr(axes, put)(min(low for low, _ in limits), max(high for _, high in limits))


def _finish(axes: Axes, label: str, *, is_first: bool) -> None:
    """Label y at the left edge of the page only: all panels of a row share it."""
    axes.set_ylabel(fill(label, _LABEL_WIDTH) if is_first else "")
    axes.tick_params(axis="y", left=False, labelleft=is_first)
    sns.despine(ax=axes)


def _power(share: float) -> str:
    return f"{share:g}" if share > 0.005 else f"1e{np.log10(share):.0f}"


def _lines(first: str, second: str) -> str:
    return f"{first}\n{second}" if second else first


def _sample(*, line: Literal["-", ":"] = "-", marker: str = "", width: float = 1.5) -> Line2D:
    return Line2D([], [], color=INK, linestyle=line, linewidth=width, marker=marker, markersize=4.5)


def _legend(page: Sheet, handles: dict[str, Line2D]) -> None:
    axes = page.strip(0.02, 0.98, 0.0, _STRIP)
    axes.set_axis_off()
    columns = 1 if page.beside or page.is_narrow else len(handles)
    axes.legend(
        handles.values(), handles.keys(), loc="center left", ncols=columns, frameon=False, borderaxespad=0,
        handlelength=3.0, columnspacing=1.6,
    )  # fmt: skip
