"""Figures for papers: their widths, their fonts, and that nothing is cut or runs into something else."""

import re
import zlib

import pytest
from fake_store import small_study, write_store
from matplotlib.text import Text
from processes import command_fixture  # noqa: F401

from analysis.figures import drawn_at
from analysis.figures.style import break_labels
from analysis.report import write
from analysis.report.frame import PRINTS
from analysis.report.page import _frames
from analysis.report.results import compute
from analysis.table.store import from_store
from robustness import store

TEMPERATURE = {"low": 0.05, "high": 2.0, "scale": "log", "levels": 5}


def studied(folder, count, **changes):
    labels = ["nt_xent", "untrained", *(f"a_family_of_some_length_{k}" for k in range(count - 1))]
    families = {
        label: {"loss": "untrained"} if label == "untrained" else {"loss": "nt_xent", "temperature": TEMPERATURE}
        for label in labels
    }
    families |= {label: {**families[label], "learning_rate": 0.01 * (k + 1)} for k, label in enumerate(labels[2:])}
    axes = {"batch_size": {"values": [16, 64, 256], "scale": "log2"}}
    analysis = {"reference": "nt_xent"}
    return write_store(folder, small_study(families=families, axes=axes, analysis=analysis, **changes))


@pytest.fixture(scope="module", params=[2, 9])
def results(request, tmp_path_factory):
    folder = studied(tmp_path_factory.mktemp("study"), request.param)
    return compute(from_store(folder), history=store.read_history(folder)).of("digits")


def unseen(axes):
    """Labels of ticks outside the view, and of those within it where they are not drawn."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-6 * (high - low)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            inside = low - slack <= tick.get_loc() <= high + slack
            yield from () if inside and axes.axison else (tick.label1, tick.label2)


def texts(figure):
    """Every text that is seen, with its box in inches and its size in points."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    hidden = {text for axes in figure.axes for text in unseen(axes)}
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text not in hidden:
            box = text.get_window_extent(renderer).transformed(figure.dpi_scale_trans.inverted())
            yield text.get_text(), box, text.get_fontsize()


def overlap(one, other):
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    up = min(one.y1, other.y1) - max(one.y0, other.y0)
    return min(across, up)


@pytest.mark.parametrize("print_", PRINTS)
def test_nothing_is_cut_runs_into_something_else_or_is_too_small(results, print_):
    inches, scale = PRINTS[print_]
    with drawn_at(inches, scale=scale):
        for frame in _frames(results, "digits"):
            figure = frame.figure
            break_labels(figure)
            assert figure.get_figwidth() == pytest.approx(inches)
            found = list(texts(figure))
            for text, box, points in found:
                assert points >= 5.99, (frame.name, text)
                assert min(box.x0, box.y0) >= -0.01, (frame.name, text, box)
                assert max(box.x1 - inches, box.y1 - figure.get_figheight()) <= 0.01, (frame.name, text, box)
            for k, (text, box, _) in enumerate(found):
                for other, other_box, _ in found[:k]:
                    assert overlap(box, other_box) < 0.03, (frame.name, text, other)


def test_the_command_writes_vector_figures_of_exact_widths_with_their_fonts(tmp_path, command):
    folder = studied(tmp_path / "study", 2)
    done = command("report", folder, "--format", "paper")
    assert done.returncode == 0, done.stderr
    figures = folder / "report" / "figures"
    names = {path.stem for path in figures.glob("*.svg")}
    assert {path.stem for path in figures.glob("*.pdf")} == {f"{name}-{width}" for name in names for width in PRINTS}
    for width, (inches, _) in PRINTS.items():
        for path in figures.glob(f"*-{width}.pdf"):
            content = path.read_bytes()
            (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) [\d.]+ \]", content)
            assert float(box) == pytest.approx(72 * inches)
            parts = [_inflated(part) for part in re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL)]
            everything = b"".join([content, *parts])
            assert b"/FontFile2" in everything
            assert b"/Type3" not in everything
    write(folder, tmp_path / "again", for_print=True)
    for path in figures.glob("*.pdf"):
        assert path.read_bytes() == (tmp_path / "again" / "figures" / path.name).read_bytes()


def _inflated(part):
    try:
        return zlib.decompress(part)
    except zlib.error:
        return b""
