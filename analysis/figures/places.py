"""Where the values of a study's axis stand in a figure, and which of them are written beside it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axis import Axis as DrawnAxis
from matplotlib.axis import XAxis
from matplotlib.ticker import FixedFormatter, FixedLocator, LogLocator, MaxNLocator
from numpy.typing import NDArray

from analysis.figures.style import TICK_LABEL, room
from analysis.labels import level
from analysis.table import Axis
from search_spaces.dimensions import transform

Floats = NDArray[np.float64]
Positions = Callable[[Axis | None, Iterable[Any]], Floats]

_MOST_LABELS = 5


@dataclass(frozen=True)
class Plane:
    """The two axes over which a family's surface is drawn; None where it has no such axis."""

    x: Axis | None
    y: Axis | None

    @property
    def is_grid(self) -> bool:
        """Whether every value of both axes is a level, so that cells can be drawn."""
        return all(axis is None or bool(axis.levels) for axis in (self.x, self.y))


def levels(axis: Axis | None) -> tuple[float | int | str, ...]:
    """The levels of an axis; a single nameless one where there is no axis."""
    return ("",) if axis is None else axis.levels


def places(axis: Axis | None, values: Iterable[Any]) -> Floats:
    """Positions in a panel of cells: a level's number, or the coordinate of a point of a range."""
    if axis is None:
        return np.zeros(len(list(values)))
    if axis.levels:
        numbers = {value: k for k, value in enumerate(axis.levels)}
        return np.array([numbers[value] for value in values], dtype=float)
    return coordinates(axis, values)


def coordinates(axis: Axis | None, values: Iterable[Any]) -> Floats:
    """Positions along a curve: the coordinate on the axis's scale; the number of a category."""
    if axis is None or axis.scale is None:
        return places(axis, values)
    return np.array([transform(float(value), axis.scale) for value in values])


def half_width(axis: Axis | None) -> float:
    """How far a value reaches to either side: half a cell for a level, nothing for a point of a range."""
    return 0.5 if axis is None or axis.levels else 0.0


def ends(axis: Axis | None) -> tuple[float, float]:
    """The first and last position of an axis."""
    if axis is None or axis.levels:
        return -0.5, len(levels(axis)) - 0.5
    low, high = (transform(end, axis.scale or "linear") for end in (axis.low, axis.high))
    return low, high


def label_axis(drawn: DrawnAxis, axis: Axis | None, *, positions: Positions, most: int) -> None:
    """Write raw values beside their positions.

    Args:
        positions: `places` or `coordinates`.
        most: levels written at most.
    """
    values = [] if axis is None else _labelled(axis, most)
    if values and isinstance(drawn, XAxis):
        values = values[:: -(-len(values) // room(drawn.axes, len(values), each=TICK_LABEL))]
    drawn.set_major_locator(FixedLocator(list(positions(axis, values))))
    drawn.set_major_formatter(FixedFormatter([level(value) for value in values]))


def _labelled(axis: Axis, most: int) -> list[Any]:
    """All levels or every so many of them; round numbers in a range."""
    if axis.levels:
        step = -(-len(axis.levels) // most)
        return list(axis.levels[::step])
    if axis.scale == "linear":
        candidates = MaxNLocator(_MOST_LABELS).tick_values(axis.low, axis.high)
    elif axis.scale == "log2":
        candidates = LogLocator(base=2, numticks=_MOST_LABELS + 2).tick_values(axis.low, axis.high)
    else:
        subs = (1.0,) if axis.high / axis.low > 300 else (1.0, 2.0, 5.0)
        candidates = LogLocator(base=10, subs=subs, numticks=12).tick_values(axis.low, axis.high)
    return [float(f"{value:.6g}") for value in candidates if axis.low <= value <= axis.high]
