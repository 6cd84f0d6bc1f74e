"""One panel of a surface: a grid's cells with their numbers, or a surrogate's field with its points."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from analysis.figures.places import Plane, ends, half_width, label_axis, levels, places
from analysis.figures.style import FAINT, PAPER, RULE, type_size
from analysis.labels import PLUS_MINUS, Quantity, words

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_POINTS_PER_INCH = 72.0
_MOST_LABELS = 20
_SHORTEST_CELL = 25.0  # points of type: below this width two lines of numbers run into each other


@dataclass(frozen=True)
class Marks:
    """What is marked on a surface besides its colour.

    Args:
        untrained: the untrained encoder's mean; None where it was not run.
        minimize: whether a lower outcome is better.
        judge: whether settings no better than untrained are marked.
        chosen: family -> x and y of the setting that was chosen; absent where none is to be marked.
    """

    untrained: float | None
    minimize: bool
    judge: bool
    chosen: Mapping[str, tuple[Any, Any]]

    def no_better(self, values: Floats) -> Bools:
        """Where the outcome is to be marked as no better than the untrained encoder's."""
        if self.untrained is None or not self.judge:
            return np.zeros(values.shape, dtype=bool)
        return np.asarray(values >= self.untrained if self.minimize else values <= self.untrained)

    def place(self, family: str, plane: Plane) -> tuple[float, float] | None:
        """Where the family's chosen setting stands in its panel."""
        if family not in self.chosen:
            return None
        x, y = self.chosen[family]
        return float(places(plane.x, [x])[0]), float(places(plane.y, [y])[0])


@dataclass(frozen=True)
class Look:
    """How all panels of one figure show an outcome: scale and colours, numbers, marks."""

    norm: Normalize
    colours: Colormap
    quantity: Quantity
    marks: Marks

    def ink(self, value: float) -> str:
        """Black or white, whichever has the higher contrast (WCAG 2.2) on the colour of this value."""
        if np.isnan(value):
            return FAINT
        colour = self.colours(float(self.norm(value)))
        red, green, blue = (((part + 0.055) / 1.055) ** 2.4 for part in colour[:3])
        return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "#ffffff"


def draw_cells(axes: Axes, frame: pd.DataFrame, *, plane: Plane, look: Look) -> bool:
    """Draw a grid with its numbers, where there is room for them, and tell whether there is.

    Cells are equally large because levels have equal weight.
    """
    means, spreads, counts, failures = (
        _matrix(frame, name, plane) for name in ("estimate", "seed_sd", "n", "num_failed")
    )
    rows, columns = means.shape
    axes.set_facecolor(RULE)
    axes.pcolormesh(
        np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5, np.ma.masked_invalid(means),
        norm=look.norm, cmap=look.colours, edgecolors=PAPER, linewidth=1.0,
    )  # fmt: skip
    width = axes.get_window_extent().width / axes.figure.dpi * _POINTS_PER_INCH / columns
    complete = np.nanmax(counts, initial=0)
    has_room = bool(width >= type_size(_SHORTEST_CELL))
    if has_room:
        for row, column in np.ndindex(rows, columns):
            parts = (means, spreads, counts, failures)
            mean, spread, count, failed = (float(part[row, column]) for part in parts)
            second = look.quantity.number(spread) if np.isfinite(spread) else ""
            second = f"{failed:.0f} failed" if failed > 0 else second and PLUS_MINUS + second
            second = f"n = {count:.0f}" if count < complete else second
            _write(axes, column, row, (look.quantity.number(mean), second), look.ink(mean))
    _mark_cells(axes, means, look, look.marks.place(str(frame["family"].iloc[0]), plane))
    _frame_panel(axes, plane)
    return has_room


def draw_field(axes: Axes, frame: pd.DataFrame, *, plane: Plane, look: Look, points: pd.DataFrame) -> None:
    """Draw a surrogate: colour wherever it was evaluated, a dot for each sampled configuration."""
    x, y, marks = plane.x, plane.y, look.marks
    rows = frame.assign(y=0.0) if y is None else frame
    values = rows.pivot(index="y", columns="x", values="estimate")
    centres_x, centres_y = places(x, values.columns), places(y, values.index)
    order_x, order_y = np.argsort(centres_x), np.argsort(centres_y)
    field = values.to_numpy(float)[np.ix_(order_y, order_x)]
    edges_x = _edges(centres_x[order_x], ends=half_width(x))
    edges_y = _edges(centres_y[order_y], ends=half_width(y))
    axes.pcolormesh(
        edges_x, edges_y, np.ma.masked_invalid(field),
        norm=look.norm, cmap=look.colours, rasterized=True, antialiased=False,
    )  # fmt: skip
    for row, mask in enumerate(marks.no_better(field)):
        _hatch(axes, edges_x, edges_y[row : row + 2], mask)
    dots = places(x, points["x"]), places(y, points["y"])
    axes.plot(*dots, "o", ms=3.2, mfc="#ffffff", mec="#000000", mew=0.7, clip_on=False)
    place = marks.place(str(frame["family"].iloc[0]), plane)
    if place is not None:
        axes.plot([place[0]], [place[1]], "*", ms=11, mfc="#ffffff", mec="#000000", mew=0.9, clip_on=False)
    _frame_panel(axes, plane)


def _matrix(frame: pd.DataFrame, name: str, plane: Plane) -> Floats:
    """A column as a matrix of levels, NaN where no trial is stored yet."""
    matrix = np.full((len(levels(plane.y)), len(levels(plane.x))), np.nan)
    rows, columns = places(plane.y, frame["y"]).astype(int), places(plane.x, frame["x"]).astype(int)
    matrix[rows, columns] = frame[name].to_numpy(float)
    return matrix


def _write(axes: Axes, x: float, y: float, lines: tuple[str, str], ink: str) -> None:
    first, second = lines
    above, alignment = (0.04, "bottom") if second else (0.0, "center")
    axes.text(x, y + above, first, ha="center", va=alignment, fontsize=type_size(8.5), color=ink)
    if second:
        axes.text(x, y - 0.06, second, ha="center", va="top", fontsize=type_size(6.8), color=ink)


def _mark_cells(axes: Axes, means: Floats, look: Look, place: tuple[float, float] | None) -> None:
    for row, column in np.argwhere(look.marks.no_better(means)):
        ink = look.ink(float(means[row, column]))
        axes.plot([column - 0.38], [row + 0.36], "v", ms=3.4, color=ink, mew=0)
    if place is not None:
        for colour, width in (("#ffffff", 3.4), ("#000000", 1.7)):
            corner = place[0] - 0.46, place[1] - 0.44
            axes.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, edgecolor=colour, linewidth=width))


def _hatch(axes: Axes, edges: Floats, sides: Floats, mask: Bools) -> None:
    """Hatch the runs of a row that are no better than the untrained encoder."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    for start, stop in zip(steps[::2], steps[1::2], strict=True):
        corner, size = (edges[start], sides[0]), (edges[stop] - edges[start], sides[1] - sides[0])
        axes.add_patch(Rectangle(corner, *size, fill=False, hatch="////", edgecolor="#ffffff", linewidth=0))


def _edges(centres: Floats, *, ends: float) -> Floats:
    """Borders half way between neighbours, `ends` beyond the outer points."""
    middles = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([centres[:1] - ends, middles, centres[-1:] + ends])


def _frame_panel(axes: Axes, plane: Plane) -> None:
    axes.set(xlim=ends(plane.x), ylim=ends(plane.y))
    label_axis(axes.xaxis, plane.x, positions=places, most=_MOST_LABELS)
    label_axis(axes.yaxis, plane.y, positions=places, most=_MOST_LABELS)
    axes.set_xlabel("" if plane.x is None else words(plane.x.name))
    axes.tick_params(length=0, pad=6)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
