"""Inner products of free embeddings: a panel a setting, all on one scale of colour from -1 to 1."""

import matplotlib as mpl
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import drawing_style, set_title, sheet

_COLUMNS, _HEIGHT, _STRIP = 5, 1.25, 0.75
_SCALE = Normalize(-1.0, 1.0)
_COLOURS = "RdBu_r"


def products_figure(frame: pd.DataFrame) -> Figure:
    """Draw every matrix of inner products as cells, row i for view 1 of pair i, column j for view 2 of pair j.

    Args:
        frame: columns title, products (a square array of -1 to 1), a row a panel.
    """
    colours = mpl.colormaps[_COLOURS]
    with drawing_style():
        page = sheet(len(frame), columns=_COLUMNS, height=_HEIGHT, strip=_STRIP, left=0.35)
        for axes, title, products in zip(page.panels, frame["title"], frame["products"], strict=True):
            set_title(axes, title)
            axes.pcolormesh(products[::-1], norm=_SCALE, cmap=colours, rasterized=True)
            axes.set_aspect("equal", anchor="W")
            axes.set(xticks=[], yticks=[])
        axes = page.strip(0.04, 0.96 if page.is_narrow or page.beside else 0.45, 0.42, 0.16)
        bar = page.figure.colorbar(ScalarMappable(_SCALE, colours), cax=axes, orientation="horizontal")
        for collection in axes.collections:
            collection.set_rasterized(True)
        bar.outline.set_visible(False)
        bar.locator = MaxNLocator(4)
        bar.update_ticks()
        bar.set_label("inner product of view 1 (down) and view 2 (across)")
        return page.figure
