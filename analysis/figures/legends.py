"""Legends in a figure's strip."""

from collections.abc import Mapping
from typing import TypeAlias

from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.figures.style import WIDTH, FamilyStyle, Sheet
from analysis.labels import short

_HANDLE, _LETTER, _LINE = 0.6, 0.065, 0.16
"""Inches of a legend: beside a label, of a letter of it, between two lines."""

Handles: TypeAlias = Mapping[str, Line2D | tuple[Patch, Line2D]]


def family_handles(styles: Mapping[str, FamilyStyle]) -> dict[str, Line2D]:
    """Each family with its signs."""
    return {
        short(family, longest=20): Line2D(
            [], [], color=style.colour, linestyle=style.line, marker=style.marker, markersize=4, linewidth=1.5
        )
        for family, style in styles.items()
    }


def draw_legend(page: Sheet, handles: Handles) -> None:
    """Write the legend into the strip, beside the last panels or below them."""
    if not handles:
        return
    # Three columns of short labels fit beside panels, and long ones do not.
    columns = 2 if page.beside and len(handles) > 2 else 5
    if page.size[0] < WIDTH:
        columns = int(page.area[2] / (_HANDLE + _LETTER * max(len(label) for label in handles)))
    columns = max(min(len(handles), columns), 1)
    page.heighten(_LINE * -(-len(handles) // columns) + 0.09)
    axes = page.strip(0.01, 0.99, 0.0, page.area[3])
    axes.set_axis_off()
    axes.legend(
        handles.values(), handles.keys(), loc="center", ncols=columns, frameon=False,
        borderaxespad=0, handlelength=3.0, columnspacing=1.6,
    )  # fmt: skip
