"""Colour by the value of an axis, on the axis's own scale: one bar for panels that may have different axes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from numpy.typing import NDArray

from analysis.figures.places import coordinates, label_axis
from analysis.figures.style import Sheet
from analysis.labels import level, short, words
from analysis.table import Axis

Floats = NDArray[np.float64]

_STACKED = 1.2
"""Inches of a strip with a legend, and this bar above it."""

UNIT = Normalize(0.0, 1.0)
COLOURS: Colormap = ListedColormap(mpl.colormaps["cividis"](np.linspace(0.2, 0.9, 256)))
"""Without its ends, which would vanish as lines on dark and on white paper."""


@dataclass(frozen=True)
class Colouring:
    """By which axis the settings of each family are coloured.

    Args:
        axes: family -> a numeric axis; a family that is absent has no colour. Axes of one name have one range of
            colours, whatever their own ranges.
    """

    axes: Mapping[str, Axis]

    def places(self, family: str, values: Iterable[float]) -> Floats:
        """Where values lie between the lowest, 0, and the highest, 1, that any family's axis of this name has."""
        return _places(self._range(family), values)

    def note(self, family: str) -> str:
        """What low and high colours mean in this family's panel; empty where the bar says it."""
        if family not in self.axes or self._is_one:
            return ""
        axis = self._range(family)
        return f"{short(words(axis.name), longest=20)} {level(axis.low)} to {level(axis.high)}"

    def make_room(self, page: Sheet) -> None:
        """For a bar above the legend, where there is no room beside it; before either is drawn."""
        if self.axes and page.is_narrow:
            page.heighten(_STACKED)

    def draw_bar(self, page: Sheet) -> None:
        """A bar with the axis's values, or with its ends alone where families have different axes."""
        if not self.axes:
            return
        ends, bottom = ((0.06, 0.93), 0.95) if page.beside or page.is_narrow else ((0.42, 0.96), 0.46)
        axes = page.strip(*ends, bottom, 0.13)
        bar = page.figure.colorbar(ScalarMappable(UNIT, COLOURS), cax=axes, orientation="horizontal")
        # A raster image: 256 vector rectangles would show hairline gaps between them.
        for collection in axes.collections:
            collection.set_rasterized(True)
        bar.outline.set_visible(False)
        if self._is_one:
            axis = self._range(next(iter(self.axes)))
            label_axis(bar.ax.xaxis, axis, positions=lambda _, values: _places(axis, values), most=6)
            bar.set_label(short(words(axis.name)))
        else:
            bar.set_ticks([0.0, 1.0], labels=["lowest", "highest"])
            bar.set_label("axis named below each panel")

    @property
    def _is_one(self) -> bool:
        return len({axis.name for axis in self.axes.values()}) == 1

    def _range(self, family: str) -> Axis:
        axis = self.axes[family]
        same = [other for other in self.axes.values() if other.name == axis.name]
        low, high = min(other.low for other in same), max(other.high for other in same)
        levels: tuple[Any, ...] = axis.levels if all(other.levels == axis.levels for other in same) else ()
        return replace(axis, levels=levels, low=low, high=high)


def _places(axis: Axis, values: Iterable[float]) -> Floats:
    low, high = coordinates(axis, [axis.low, axis.high])
    found: Floats = (coordinates(axis, values) - low) / (high - low)
    return found
