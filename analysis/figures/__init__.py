"""Numbers in, figures out: nothing here computes a statistic."""

from analysis.figures.cells import Marks
from analysis.figures.collapse import collapse_figure, rank_figure, spectrum_figure
from analysis.figures.colouring import Colouring
from analysis.figures.curves import epoch_figure, expected_best_figure, profile_figure, tolerance_figure
from analysis.figures.levels import Level
from analysis.figures.places import Plane
from analysis.figures.products import products_figure
from analysis.figures.style import drawn_at
from analysis.figures.surfaces import surface_figure
from analysis.figures.svg import inline, save, save_for_print
from analysis.figures.whiskers import difference_figure, share_figure, trade_off_figure

__all__ = [
    "Colouring",
    "Level",
    "Marks",
    "Plane",
    "collapse_figure",
    "difference_figure",
    "drawn_at",
    "epoch_figure",
    "expected_best_figure",
    "inline",
    "products_figure",
    "profile_figure",
    "rank_figure",
    "save",
    "save_for_print",
    "share_figure",
    "spectrum_figure",
    "surface_figure",
    "tolerance_figure",
    "trade_off_figure",
]
