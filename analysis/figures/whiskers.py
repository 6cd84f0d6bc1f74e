"""Numbers with their intervals: performance against sensitivity, shares of variance, paired differences."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures.legends import draw_legend, family_handles
from analysis.figures.levels import Level, line_across
from analysis.figures.style import FAINT, INK, FamilyStyle, drawing_style, family_styles, scaled_ticks, set_title, sheet
from analysis.labels import Quantity, short, words

Row: TypeAlias = Mapping[Hashable, Any]

_PANEL, _ROW, _STRIP = 3.2, 0.24, 0.42
"""Inches: the height of a panel of points, of a row of whiskers, of the strip below."""

_LABELS = 1.7
"""Inches beside a panel for the names of its rows."""

_COLUMNS = 3


def trade_off_figure(
    frame: pd.DataFrame, *, families: Sequence[str], quantity: Quantity, untrained: Level | None
) -> Figure:
    """Draw what tuning reaches against what a random setting loses: a cross of two intervals a family.

    Args:
        frame: columns family, regret, regret_low, regret_high (shares), best, best_low, best_high.
        families: all of the report, so that each keeps its signs from figure to figure.
        quantity: the outcome.
        untrained: the untrained encoder's mean and interval; None where it was not run.
    """
    styles = family_styles(families)
    with drawing_style():
        page = sheet(1, columns=1, height=_PANEL, strip=_STRIP * (1 + len(families) // 6))
        (axes,) = page.panels
        axes.grid(visible=True, linewidth=0.6)
        line_across(axes, untrained)
        for row in frame.to_dict("records"):
            _cross(axes, row, styles[row["family"]])
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        axes.xaxis.set_major_formatter(scaled_ticks(100.0))
        axes.yaxis.set_major_formatter(scaled_ticks(quantity.factor))
        axes.set_xlabel("lost by a random setting (% of the way from the family's best to the floor)")
        axes.set_ylabel(f"best {quantity.title}")
        sns.despine(ax=axes)
        shown = set(frame["family"])
        draw_legend(page, family_handles({name: style for name, style in styles.items() if name in shown}))
        return page.figure


def share_figure(frame: pd.DataFrame, *, families: Sequence[str]) -> Figure:
    """Draw what each axis decides: a panel a family, a row an axis, total share above the share alone.

    Args:
        frame: columns family, axis, measure (`total` or `alone`), estimate, low, high, shares 0..1.
        families: in the order of the panels.
    """
    most = int(frame.groupby("family")["axis"].nunique().max())
    with drawing_style():
        page = sheet(len(families), columns=_COLUMNS, height=2 * _ROW * most, strip=_STRIP, left=_LABELS - 0.4)
        for axes, family in zip(page.panels, families, strict=True):
            rows = frame[frame["family"] == family]
            names = list(rows["axis"].unique())
            set_title(axes, family)
            for measure, offset, filled in (("total", -0.16, True), ("alone", 0.16, False)):
                for row in rows[rows["measure"] == measure].to_dict("records"):
                    _whisker(axes, names.index(row["axis"]) + offset, row, filled=filled)
            _name_rows(axes, [words(name) for name in names], longest=18)
            axes.set_xlim(-0.03, 1.03)
            axes.xaxis.set_major_formatter(scaled_ticks(100.0))
            axes.set_xlabel("share of variance (%)")
        draw_legend(page, {"total": _handle(filled=True), "alone": _handle(filled=False)})
        return page.figure


def difference_figure(frame: pd.DataFrame, *, quantity: Quantity, margin: float, reference: str) -> Figure:
    """Draw paired differences from the reference: a row a family, its mean above its best.

    Args:
        frame: columns family, profile (`mean` or `best`), estimate, low, high, in the outcome's unit.
        quantity: the outcome.
        margin: within it families count as equivalent.
        reference: the family that the others are compared with.
    """
    names = list(frame["family"].unique())
    with drawing_style():
        page = sheet(1, columns=1, height=max(_ROW * len(names) * 1.6, 0.6), strip=_STRIP, left=_LABELS)
        (axes,) = page.panels
        axes.axvspan(-margin, margin, color=FAINT, alpha=0.15, linewidth=0)
        axes.axvline(0.0, color=FAINT, linewidth=0.9)
        for profile, offset, filled in (("mean", -0.16, True), ("best", 0.16, False)):
            for row in frame[frame["profile"] == profile].to_dict("records"):
                _whisker(axes, names.index(row["family"]) + offset, row, filled=filled)
        _name_rows(axes, names, longest=26)
        axes.xaxis.set_major_formatter(scaled_ticks(quantity.factor))
        unit = f" ({quantity.difference_unit})" if quantity.difference_unit else ""
        axes.set_xlabel(f"difference from {short(reference)}{unit}")
        handles = {"mean over its settings": _handle(filled=True)}
        if (frame["profile"] == "best").any():
            handles["its best setting"] = _handle(filled=False)
        draw_legend(page, handles)
        return page.figure


def _cross(axes: Axes, row: Row, style: FamilyStyle) -> None:
    x, y = row["regret"], row["best"]
    across, up = ([row[f"{name}_{end}"] for end in ("low", "high")] for name in ("regret", "best"))
    for xs, ys in ((across, (y, y)), ((x, x), up)):
        if np.isfinite([*xs, *ys]).all():
            axes.plot(xs, ys, color=style.colour, linewidth=1.1, alpha=0.7)
    axes.plot(x, y, color=style.colour, marker=style.marker, markersize=5.5, linestyle="none")


def _whisker(axes: Axes, place: float, row: Row, *, filled: bool) -> None:
    estimate, low, high = (row[name] for name in ("estimate", "low", "high"))
    if np.isfinite([low, high]).all():
        axes.plot((low, high), (place, place), color=INK, linewidth=1.1)
    axes.plot(
        estimate, place, marker="o", markersize=4.2, linestyle="none", color=INK,
        markerfacecolor=INK if filled else "none",
    )  # fmt: skip


def _name_rows(axes: Axes, names: Sequence[str], *, longest: int) -> None:
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [short(name, longest=longest) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(visible=True, axis="x", linewidth=0.6)
    sns.despine(ax=axes, left=True)


def _handle(*, filled: bool) -> Line2D:
    return Line2D([], [], color=INK, marker="o", markersize=4.2, markerfacecolor=INK if filled else "none")
