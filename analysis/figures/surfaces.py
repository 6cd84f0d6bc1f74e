"""Surfaces of an outcome over two axes: a panel a family, all on one scale of colour."""

from collections.abc import Collection, Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from analysis.figures.cells import Look, Marks, draw_cells, draw_field
from analysis.figures.places import Plane, levels
from analysis.figures.style import (
    FAINT,
    INK,
    RULE,
    WIDTH,
    Sheet,
    drawing_style,
    scaled_ticks,
    set_title,
    sheet,
    type_size,
)
from analysis.labels import PLUS_MINUS, Quantity, words

_ROW_HEIGHT = 0.43  # inches a level of y
_FIELD_HEIGHT = 1.3
_STRIP, _STACKED_STRIP = 0.95, 1.85


def surface_figure(
    frame: pd.DataFrame, *, planes: Mapping[str, Plane], points: pd.DataFrame, quantity: Quantity,
    marks: Marks, colours: str, limits: tuple[float, float] | None = None,
) -> Figure:  # fmt: skip
    """Draw small multiples of one outcome.

    Args:
        frame: columns family, x, y, estimate, seed_sd, n, num_failed; x and y are ignored where the family
            has no such axis.
        planes: each family's axes, in the order of the panels.
        points: columns family, x, y of the sampled configurations of scattered designs.
        quantity: the outcome.
        marks: what is marked; `marks.untrained` also stands on the colour bar.
        colours: a perceptually uniform colour map of matplotlib; reversed where lower is better, so that
            bright always is good.
        limits: ends of the scale of colour; None: those of the settings where nothing failed.
    """
    colour_map = mpl.colormaps[f"{colours}_r" if marks.minimize else colours]
    norm = _norm(frame, marks.untrained) if limits is None else Normalize(*limits)
    look = Look(norm, colour_map, quantity, marks)
    with drawing_style():
        page = sheet(len(planes), columns=_columns(planes.values()), height=_height(planes.values()), strip=_STRIP)
        numbered = False
        for index, (family, plane) in enumerate(planes.items()):
            axes, rows = page.panels[index], frame[frame["family"] == family]
            set_title(axes, family)
            if not rows["estimate"].notna().any():
                _say_nothing_ran(axes)
            elif plane.is_grid:
                numbered |= draw_cells(axes, rows, plane=plane, look=look)
            else:
                dots = points[points["family"] == family]
                draw_field(axes, rows, plane=plane, look=look, points=dots)
            if page.is_first_column(index) and plane.y is not None:
                axes.set_ylabel(words(plane.y.name))
        if page.is_narrow:
            page.heighten(_STACKED_STRIP)
        _legend(page, frame, planes, marks, numbered=numbered)
        _colour_bar(page, look, below=bool((frame["estimate"] < look.norm.vmin).any()))
        return page.figure


def _columns(planes: Collection[Plane]) -> int:
    """As many panels side by side as leave every cell room for its numbers, at most three."""
    widest = max(len(levels(plane.x)) if plane.is_grid else 5 for plane in planes)
    return int(np.clip(WIDTH // (0.72 + 0.43 * widest), 1, 3))


def _height(planes: Collection[Plane]) -> float:
    tallest = max(len(levels(plane.y)) * _ROW_HEIGHT for plane in planes)
    return max(tallest, 0.5 if all(plane.is_grid for plane in planes) else _FIELD_HEIGHT)


def _norm(frame: pd.DataFrame, untrained: float | None) -> Normalize:
    """One scale for all panels, wide enough for the untrained value.

    Settings at which trials failed count at the floor, far below all others: they would use up the scale, so
    they do not stretch it.
    """
    ended_well = frame.loc[~(frame["num_failed"] > 0), "estimate"].dropna()
    numbers = [float(value) for value in ended_well] + ([] if untrained is None else [untrained])
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    return Normalize(low, high) if low < high else Normalize(low - 0.5, high + 0.5)


def _say_nothing_ran(axes: Axes) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, "no trials to show", ha="center", va="center", color=FAINT, transform=axes.transAxes)


def _legend(page: Sheet, frame: pd.DataFrame, planes: Mapping[str, Plane], marks: Marks, *, numbered: bool) -> None:
    axes = page.strip(0.02, 0.98 if page.is_narrow else 0.4, 0.02, 0.85)
    axes.set_axis_off()
    cells = {family: plane for family, plane in planes.items() if plane.is_grid}
    entries: dict[str, Artist] = {}
    if marks.chosen and cells:
        entries["chosen setting"] = Patch(facecolor="none", edgecolor=INK, linewidth=1.7)
    if marks.chosen and len(cells) < len(planes):
        entries["chosen setting"] = Line2D([], [], marker="*", ms=10, mfc="none", mec=INK, ls="")
    if marks.no_better(frame["estimate"].to_numpy(float)).any():
        entries["no better than untrained"] = (
            Line2D([], [], marker="v", color=INK, ls="", ms=4)
            if cells
            else Patch(facecolor="none", edgecolor=INK, hatch="////", linewidth=0.5)
        )
    num_cells = sum(len(levels(plane.x)) * len(levels(plane.y)) for plane in cells.values())
    if int(frame["family"].isin(list(cells)).sum()) < num_cells:
        entries["not run yet"] = Patch(facecolor=RULE)
    if len(cells) < len(planes):
        entries["sampled configuration"] = Line2D([], [], marker="o", ms=4, mfc="none", mec=INK, ls="")
    title = f"mean, {PLUS_MINUS} sd over seeds" if frame["seed_sd"].notna().any() and numbered else ""
    axes.legend(
        entries.values(), entries.keys(), loc="lower left", frameon=False, borderaxespad=0, title=title,
        title_fontsize=type_size(8), alignment="left",
    )  # fmt: skip


def _colour_bar(page: Sheet, look: Look, *, below: bool) -> None:
    across = (0.08, 0.94, 1.3) if page.is_narrow else (0.46, 0.97, 0.42)
    axes = page.strip(*across, 0.16)
    bar = page.figure.colorbar(
        ScalarMappable(look.norm, look.colours), cax=axes, orientation="horizontal",
        extend="min" if below else "neither", extendfrac=0.03,
    )  # fmt: skip
    # A raster image: 256 vector rectangles would show hairline gaps between them.
    for collection in axes.collections:
        collection.set_rasterized(True)
    bar.outline.set_visible(False)
    bar.locator, bar.formatter = MaxNLocator(6), scaled_ticks(look.quantity.factor)
    bar.update_ticks()
    bar.set_label(look.quantity.title)
    if look.marks.untrained is not None:
        _mark_untrained(axes, look, look.marks.untrained)


def _mark_untrained(axes: Axes, look: Look, untrained: float) -> None:
    for colour, width in (("#ffffff", 3.0), ("#000000", 1.4)):
        axes.axvline(untrained, color=colour, linewidth=width)
    upwards = axes.get_xaxis_transform()
    axes.plot([untrained] * 2, [1.0, 1.5], color=INK, linewidth=1.4, transform=upwards, clip_on=False)
    place = float(look.norm(untrained))
    side = "left" if place < 0.2 else "right" if place > 0.8 else "center"
    axes.annotate(
        f"untrained {look.quantity.number(untrained)}", (untrained, 1.6), xycoords=upwards, ha=side,
        va="bottom", annotation_clip=False, fontsize=type_size(8),
    )  # fmt: skip
