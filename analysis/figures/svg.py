"""Figures as files, for a page and for print, and as SVG that stands inside a page beside others."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree as ET

from matplotlib import rc_context
from matplotlib.figure import Figure

from analysis.figures.style import FAINT, INK, PAPER, RULE, break_labels, drawing_style

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_PAGE_COLOURS = {INK: "var(--ink)", FAINT: "var(--faint)", RULE: "var(--rule)", PAPER: "var(--paper)"}
_PRINT_DPI = 300
_DPI = 200
"""Of the PNG, and of the fields of colour inside the SVG, which would show hairlines as vectors."""


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write FOLDER/NAME.svg and .png, the same bytes for the same figure, and return the SVG's text."""
    buffer = BytesIO()
    with drawing_style(), _any_script():
        figure.savefig(buffer, format="svg", dpi=_DPI, metadata={"Date": None, "Creator": None})
        figure.savefig(folder / f"{name}.png", dpi=_DPI, metadata={"Software": None})
    (folder / f"{name}.svg").write_bytes(buffer.getvalue())
    return buffer.getvalue().decode()


def save_for_print(figure: Figure, path: Path) -> None:
    """Write a PDF with TrueType fonts embedded, the same bytes for the same figure; labels too long are broken.

    Raises:
        OSError: the file can't be written.
    """
    with drawing_style(), _any_script(), rc_context({"pdf.fonttype": 42}):
        break_labels(figure)
        metadata = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.savefig(path, format="pdf", dpi=_PRINT_DPI, metadata=metadata)


def inline(svg: str, *, prefix: str, title: str, description: str) -> str:
    """SVG to stand in an HTML page: own ids, the page's colours, a title and a description to be read out.

    Args:
        svg: the text of a file that `save` wrote.
        prefix: begins every id; letters, digits and dashes, another one for each figure of the page.
        title: the figure's name.
        description: what the figure shows, with numbers.
    """
    # Read back what matplotlib wrote a moment ago: no foreign XML comes here.
    root = ET.fromstring(svg)
    for unwanted in ("metadata", "defs/style"):
        _remove(root, unwanted)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        element.attrib = {
            name.removeprefix(f"{{{_XLINK}}}"): _own(value, name, prefix) for name, value in element.attrib.items()
        }
        # Nothing refers to a group, and text that is turned by nothing stands as it is.
        if element.tag == "g":
            element.attrib.pop("id", None)
        if element.attrib.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{prefix}-title {prefix}-description")
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        name = "title" if tag == "title" else "description"
        element = ET.Element(tag, {"id": f"{prefix}-{name}"})
        element.text = text
        root.insert(position, element)
    return ET.tostring(root, encoding="unicode")


@contextmanager
def _any_script() -> Iterator[None]:
    """A name may be in a script that the font lacks: the SVG holds its characters, PNG and PDF show boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _remove(root: ET.Element, path: str) -> None:
    parts = [f"{{{_SVG}}}{part}" for part in path.split("/")]
    parents = root.findall("/".join(parts[:-1])) if len(parts) > 1 else [root]
    for parent in parents:
        for child in parent.findall(parts[-1]):
            parent.remove(child)


def _own(value: str, name: str, prefix: str) -> str:
    """An attribute's value with this figure's ids and the page's colours."""
    if name == "id":
        return f"{prefix}-{value}"
    if name.endswith("href"):
        return re.sub(r"^#", f"#{prefix}-", value)
    if name in ("d", "x", "y"):
        # A hundredth of a point; six digits would be a third of the page.
        return re.sub(r"(\.\d\d)\d+", r"\1", value)
    value = re.sub(r"url\(#", f"url(#{prefix}-", value)
    for colour, variable in _PAGE_COLOURS.items():
        value = value.replace(colour, variable)
    return value
