"""What all figures share: ink, families' colours, sheets of small panels."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from analysis.labels import LONGEST, short

INK, FAINT, RULE, PAPER = "#1b1b1f", "#65656e", "#d9d9de", "#fefefe"
"""Text, quiet text, grid lines, background: a page puts its own, light or dark, in their place."""

WIDTH = 9.0
"""Inches of a figure on the page. At 900 pixels a point of type is 1.4 pixels."""

_scale: ContextVar[float] = ContextVar("scale", default=1.0)
_width: ContextVar[float] = ContextVar("width", default=WIDTH)
"""Lengths in this package are those of the page; `drawn_at` makes all of them smaller for print."""

_NARROW = 6.0
"""Inches: in a strip below it what else stands side by side stands one above the other."""

TICK_LABEL, TITLE_LETTER = 0.4, 0.083
"""Inches of a tick's label with what is beside it, and of a letter of a title."""

_LEAST_PANEL = 1.0
"""Inches of a panel's axes on a narrow figure."""

_STRIP_WIDTH = 4.4
"""Inches that a legend and a colour bar need side by side."""

_RC: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 8.0,
    "axes.linewidth": 0.8,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "axes.titleweight": "bold",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "figure.facecolor": PAPER,
    # A family's label may hold a dollar sign: text is text, never formulas.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "robustness",
    "path.simplify": False,
}

# Okabe and Ito's colours without yellow, which vanishes on white, and with our ink for their black.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)), (0, (3, 1.5)))


@dataclass(frozen=True)
class FamilyStyle:
    """Three signs for one family, so that it is told apart without colour; `line` is a line style."""

    colour: str
    marker: str
    line: Any


@dataclass
class Sheet:
    """A figure of equal panels in reading order, and a strip for what they share.

    Args:
        area: left, bottom, width and height in inches of the strip; beside panels it is as high as they are.
        beside: whether it stands beside panels.
    """

    figure: Figure
    panels: tuple[Axes, ...]
    columns: int
    area: tuple[float, float, float, float]
    beside: bool

    @property
    def is_narrow(self) -> bool:
        """Whether the strip stands below panels of a narrow figure, and can be made higher."""
        return not self.beside and self.area[2] < _NARROW

    def is_first_column(self, index: int) -> bool:
        """Whether a panel stands at the left edge, where the label of y goes."""
        return index % self.columns == 0

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches, as on the page."""
        wide, tall = self.figure.get_size_inches().tolist()
        return wide / _scale.get(), tall / _scale.get()

    def strip(self, left: float, right: float, bottom: float, height: float) -> Axes:
        """Axes in the strip: left and right as shares of its width, bottom and height in inches."""
        from_left, from_bottom, width, _ = self.area
        wide, tall = self.size
        corner = (from_left + left * width) / wide, (from_bottom + bottom) / tall
        return self.figure.add_axes((*corner, (right - left) * width / wide, height / tall))

    def heighten(self, strip: float) -> None:
        """Make a strip below the panels at least so many inches high; the panels keep their size."""
        left, bottom, width, height = self.area
        if self.beside or strip <= height:
            return
        tall, added = self.size[1], strip - height
        self.figure.set_figheight((tall + added) * _scale.get())
        for axes in self.figure.axes:
            x, y, across, up = axes.get_position().bounds
            axes.set_position((x, (y * tall + added) / (tall + added), across, up * tall / (tall + added)))
        self.area = left, bottom, width, strip


def family_styles(families: Sequence[str]) -> dict[str, FamilyStyle]:
    """The signs of every family; colours repeat after seven, together with another marker and line."""
    count = len(_COLOURS)
    return {
        family: FamilyStyle(
            _COLOURS[k % count], _MARKERS[(k + k // count) % count], _LINES[(k + 2 * (k // count)) % count]
        )
        for k, family in enumerate(families)
    }


@contextmanager
def drawn_at(inches: float, *, scale: float) -> Iterator[None]:
    """Figures that are drawn inside are so wide, with fewer panels side by side where they are narrow.

    Args:
        scale: of type and of all other lengths, against the page: .8 makes type of 8 points 6.4 points.
    """
    tokens = _width.set(inches / scale), _scale.set(scale)
    try:
        yield
    finally:
        _width.reset(tokens[0])
        _scale.reset(tokens[1])


def room(axes: Axes, most: int, *, each: float) -> int:
    """How many tick labels or letters of a title a panel has room for: fewer than `most` where print leaves less.

    Args:
        each: `TICK_LABEL` or `TITLE_LETTER`.
    """
    if _scale.get() == 1.0:
        return most
    return max(min(most, int(axes.get_position().width * _width.get() / each)), 2)


def type_size(points: float) -> float:
    """Points of type that has another size than the style's."""
    return points * _scale.get()


@contextmanager
def drawing_style() -> Iterator[None]:
    """House style for everything that is drawn inside; restores the caller's settings."""
    rc = {name: value * _scale.get() if isinstance(value, float) else value for name, value in _RC.items()}
    with (
        rc_context(),
        sns.axes_style("ticks", rc=rc),
        sns.plotting_context("paper", rc=rc),
        rc_context(rc),
    ):
        yield


def sheet(count: int, *, columns: int, height: float, strip: float, left: float = 0.62) -> Sheet:
    """Cut a page into `count` equal panels of `height` inches, `left` inches beside each, and a strip of `strip`.

    The strip stands in what the last row leaves free where that is wide enough, else below. Every length is
    fixed in inches: what fits once fits for any numbers, and a layout engine's passes are saved.
    """
    wide = _width.get()
    right, top, bottom = 0.13, 0.32, 0.5 if wide >= _NARROW else 0.68
    columns = min(columns, count, _most_columns(columns, wide, beside=left + right))
    rows = -(-count // columns)
    width, tall = wide / columns, top + height + bottom
    free = (rows * columns - count) * width
    below = 0.0 if free >= _STRIP_WIDTH else strip
    figure = Figure(figsize=(wide * _scale.get(), (rows * tall + below) * _scale.get()))
    FigureCanvasAgg(figure)
    panels = []
    for index in range(count):
        row, column = divmod(index, columns)
        corner = column * width + left, below + (rows - 1 - row) * tall + bottom
        size = width - left - right, height
        whole = wide, rows * tall + below
        shares = [length / whole[k % 2] for k, length in enumerate((*corner, *size))]
        panels.append(figure.add_axes((shares[0], shares[1], shares[2], shares[3])))
    area = (0.0, 0.0, wide, strip) if below else (wide - free + 0.3, 0.15, free - 0.3, height)
    return Sheet(figure, tuple(panels), columns, area, beside=not below)


def _most_columns(columns: int, wide: float, *, beside: float) -> int:
    """How many panels stand side by side where the page has room for `columns`."""
    if wide < _NARROW:
        return max(int(wide / (beside + _LEAST_PANEL)), 1)
    # A quarter of a panel may be squeezed into the others.
    return max(int(columns * wide / WIDTH + 0.25), 1)


def break_labels(figure: Figure) -> None:
    """Break labels of x that are longer than the figure has room for, at spaces, into lines."""
    letters_per_inch = 15.5 / _scale.get()
    for axes in figure.axes:
        box = axes.get_position()
        middle = (box.x0 + box.x1) / 2
        room = 2 * min(middle, 1 - middle) * figure.get_figwidth()
        lines = axes.get_xlabel().split("\n")
        axes.set_xlabel("\n".join(fill(line, max(int(room * letters_per_inch), 12)) for line in lines))


def set_title(axes: Axes, label: str) -> None:
    """A panel's title, at its left edge."""
    longest = room(axes, LONGEST, each=TITLE_LETTER)
    axes.set_title(short(label, longest=longest), loc="left", pad=5)


def scaled_ticks(factor: float) -> FuncFormatter:
    """Tick labels in the shown unit; six digits, so that .07 x 100 is 7 and not 7.000000000000001."""
    return FuncFormatter(lambda value, _: f"{float(f'{value * factor:.6g}'):g}")
