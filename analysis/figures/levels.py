"""A value with its interval across a whole panel: the untrained encoder."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.figures.legends import Handles
from analysis.figures.style import FAINT, RULE


@dataclass(frozen=True)
class Level:
    """A value with its interval, drawn as a line with a band across a panel."""

    estimate: float
    low: float
    high: float


def line_across(axes: Axes, level: Level | None) -> None:
    """Draw a level; nothing where there is none."""
    if level is None:
        return
    if np.isfinite([level.low, level.high]).all():
        axes.axhspan(level.low, level.high, color=FAINT, alpha=0.18, linewidth=0)
    axes.axhline(level.estimate, color=FAINT, linewidth=1.1, linestyle=(0, (4, 2)))


def level_handles(untrained: Level | None) -> Handles:
    """What the legend says about a level."""
    if untrained is None:
        return {}
    line = Line2D([], [], color=FAINT, linewidth=1.1, linestyle=(0, (4, 2)))
    return {"untrained, with interval": (Patch(color=RULE, linewidth=0), line)}
