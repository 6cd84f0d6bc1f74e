"""Numbers in, figures out: nothing here computes a statistic."""

from analysis.figures.cells import Marks
from analysis.figures.curves import Level, epoch_figure, profile_figure, tolerance_figure
from analysis.figures.places import Plane
from analysis.figures.surfaces import surface_figure
from analysis.figures.svg import inline, save

__all__ = [
    "Level",
    "Marks",
    "Plane",
    "epoch_figure",
    "inline",
    "profile_figure",
    "save",
    "surface_figure",
    "tolerance_figure",
]
