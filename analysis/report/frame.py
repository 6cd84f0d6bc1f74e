"""A figure with its words, and how it becomes files and markup."""

import re
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from analysis.figures import inline, save, save_for_print

PRINTS = {"column": (3.25, 0.8), "page": (6.75, 0.9)}
"""Figures for a paper, in one of two columns and across both: inches, and the scale of type against the page."""


@dataclass(frozen=True)
class Frame:
    """A figure with its words, before it is written.

    Args:
        section: the part of the page where it stands.
        name: begins the names of its files.
        title: its name in words.
        caption: what to see and how to read it.
        description: what it shows, with numbers, for readers who do not see it.
    """

    section: str
    name: str
    title: str
    caption: str
    description: str
    figure: Figure


@dataclass(frozen=True)
class Picture:
    """A figure as the page has it; `svg` is markup that is safe to stand there as it is."""

    section: str
    name: str
    title: str
    caption: str
    svg: str


def hang(frame: Frame, *, folder: Path, suffix: str) -> Picture:
    """Write a figure's files and return it for the page; `suffix` ends the names of the files."""
    name = frame.name + suffix
    svg = save(frame.figure, folder, name)
    prefix = re.sub(r"[^A-Za-z0-9-]", "-", name)
    markup = inline(svg, prefix=prefix, title=frame.title, description=frame.description)
    return Picture(frame.section, name, frame.title, frame.caption, markup)


def file_stem(outcome: str) -> str:
    """How files about an outcome begin: `accuracy` whichever probe measured it, else the column's name, which may be
    anybody's: what could be a path or an odd file name becomes a dash.
    """
    return "accuracy" if outcome.endswith("_top1") else re.sub(r"[^\w-]+", "-", outcome)


def print_out(frame: Frame, *, folder: Path, suffix: str, width: str) -> None:
    """Write a figure that was drawn at one of `PRINTS` as PDF."""
    save_for_print(frame.figure, folder / f"{frame.name}{suffix}-{width}.pdf")
