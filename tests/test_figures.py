import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from analysis.figures import (
    Level,
    Marks,
    Plane,
    epoch_figure,
    inline,
    profile_figure,
    save,
    surface_figure,
    tolerance_figure,
)
from analysis.labels import listed, quantity, share, shortened
from analysis.table import Axis

BATCH_SIZE = Axis("batch_size", "log2", (16, 64), 16.0, 64.0)
TEMPERATURE = Axis("temperature", "log", (0.1, 0.5, 2.0), 0.1, 2.0)
RANGE = Axis("temperature", "log", (), 0.05, 2.0)
POLICY = Axis("batch_policy", None, ("uniform", "balanced"), float("nan"), float("nan"))
GRID = Plane(TEMPERATURE, BATCH_SIZE)
MARKS = Marks(untrained=0.8, minimize=False, judge=True, chosen={})
ACCURACY = quantity("linear_top1")
NO_POINTS = pd.DataFrame({"family": [], "x": [], "y": []})


def cells(family="dhel", low=0.7, high=0.95):
    points = [(x, y) for y in BATCH_SIZE.levels for x in TEMPERATURE.levels]
    frame = pd.DataFrame(points, columns=["x", "y"])
    return frame.assign(
        family=family, estimate=np.linspace(low, high, len(frame)), seed_sd=0.004, n=3.0, num_failed=0.0
    )


def draw(frame, tmp_path, *, plane=GRID, points=NO_POINTS, marks=MARKS, colours="viridis", **settings):
    planes = dict.fromkeys(dict.fromkeys(frame["family"]), plane)
    figure = surface_figure(
        frame, planes=planes, points=points, quantity=ACCURACY, marks=marks, colours=colours, **settings
    )
    return texts(save(figure, tmp_path, "surfaces"))


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]


def test_every_cell_shows_its_mean_and_spread(tmp_path):
    written = draw(cells(), tmp_path)
    for number in ("70.0", "75.0", "80.0", "85.0", "90.0", "95.0"):
        assert number in written
    assert written.count("\u00b10.4") == 6
    assert {"0.1", "0.5", "2", "16", "64", "temperature", "batch size", "untrained 80.0"} <= set(written)


def test_cells_say_what_is_missing_and_what_failed(tmp_path):
    frame = cells()
    frame.loc[0, "n"] = 2
    frame.loc[1, "num_failed"] = 1
    written = draw(frame.drop(index=5), tmp_path)
    assert {"n = 2", "1 failed", "\u2013", "not run yet"} <= set(written)


def test_failures_do_not_stretch_the_scale(tmp_path):
    frame = cells()
    frame.loc[0, ["estimate", "num_failed"]] = [0.1, 3]
    figure = surface_figure(
        frame, planes={"dhel": GRID}, points=NO_POINTS, quantity=ACCURACY, marks=MARKS, colours="viridis"
    )
    mesh = figure.axes[0].collections[0]
    assert (mesh.norm.vmin, mesh.norm.vmax) == pytest.approx((0.75, 0.95))


def test_all_panels_share_one_scale_that_holds_the_untrained_value():
    frame = pd.concat([cells("a", 0.85, 0.9), cells("b", 0.88, 0.95)])
    planes = {"a": GRID, "b": GRID}
    figure = surface_figure(frame, planes=planes, points=NO_POINTS, quantity=ACCURACY, marks=MARKS, colours="viridis")
    for axes in figure.axes[:2]:
        assert axes.collections[0].norm.vmin == pytest.approx(0.8)
        assert axes.collections[0].norm.vmax == pytest.approx(0.95)


@pytest.mark.parametrize(("minimize", "expected"), [(False, 4), (True, 2)])
def test_settings_no_better_than_untrained_are_marked(minimize, expected):
    marks = Marks(untrained=0.86, minimize=minimize, judge=True, chosen={})
    figure = surface_figure(
        cells(), planes={"dhel": GRID}, points=NO_POINTS, quantity=ACCURACY, marks=marks, colours="viridis"
    )
    triangles = [line for line in figure.axes[0].lines if line.get_marker() == "v"]
    assert len(triangles) == expected


def test_the_chosen_setting_is_framed_wherever_the_highest_mean_is():
    marks = Marks(untrained=None, minimize=False, judge=True, chosen={"dhel": (0.5, 16)})
    figure = surface_figure(
        cells(), planes={"dhel": GRID}, points=NO_POINTS, quantity=ACCURACY, marks=marks, colours="viridis"
    )
    frames = {tuple(patch.get_xy()) for patch in figure.axes[0].patches}
    assert frames == {(1 - 0.46, 0 - 0.44)}


def test_a_field_shows_every_sampled_configuration(tmp_path):
    grid = [(x, y) for y in BATCH_SIZE.levels for x in np.geomspace(0.05, 2, 9)]
    frame = pd.DataFrame(grid, columns=["x", "y"]).assign(family="dhel", seed_sd=0.01, n=8.0, num_failed=0.0)
    frame["estimate"] = 0.9 - 0.1 * np.log(frame["x"]) ** 2
    points = pd.DataFrame({"family": "dhel", "x": [0.1, 0.7, 1.5], "y": [16, 64, 16]})
    figure = surface_figure(
        frame, planes={"dhel": Plane(RANGE, BATCH_SIZE)}, points=points, quantity=ACCURACY, marks=MARKS,
        colours="viridis",
    )  # fmt: skip
    dots = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert np.exp(dots.get_xdata()) == pytest.approx([0.1, 0.7, 1.5])
    assert list(dots.get_ydata()) == [0, 1, 0]
    assert {"0.05", "0.1", "0.2", "0.5", "1", "2"} <= set(texts(save(figure, tmp_path, "field")))


def test_a_field_over_two_ranges_is_drawn(tmp_path):
    gamma = Axis("gamma", "log2", (), 1.0, 64.0)
    grid = [(x, y) for x in np.geomspace(0.05, 2, 5) for y in np.geomspace(1, 64, 5)]
    frame = pd.DataFrame(grid, columns=["x", "y"]).assign(family="kcl", estimate=0.9, seed_sd=0.01, n=8.0)
    points = pd.DataFrame({"family": "kcl", "x": [0.1], "y": [4.0]})
    written = draw(frame.assign(num_failed=0.0), tmp_path, plane=Plane(RANGE, gamma), points=points)
    assert {"gamma", "4", "64"} <= set(written)


def test_a_family_without_trials_has_an_empty_panel(tmp_path):
    figure = surface_figure(
        cells("a"), planes={"a": GRID, "b": GRID}, points=NO_POINTS, quantity=ACCURACY, marks=MARKS,
        colours="viridis",
    )  # fmt: skip
    assert "no trials to show" in texts(save(figure, tmp_path, "empty"))


def curve(family, x):
    frame = pd.DataFrame({x: np.linspace(0.0, 0.04, 9), "family": family})
    return frame.assign(estimate=0.5, low=0.3, high=0.7)


@pytest.mark.parametrize("count", [1, 2, 8, 11])
def test_each_family_has_a_panel_and_up_to_eight_share_one(count):
    families = [f"family {k}" for k in range(count)]
    frame = pd.concat([curve(family, "tolerance") for family in families])
    figure = tolerance_figure(frame, families=families, tolerances=[0.01], quantity=ACCURACY)
    assert len(figure.axes) == count + (1 if 1 < count <= 8 else 0) + 1


@pytest.mark.parametrize("count", range(1, 13))
def test_a_legend_lies_inside_the_figure_and_on_no_panel(count):
    families = [f"a family of name {k:2d}" for k in range(count)]
    frame = pd.concat([curve(family, "tolerance") for family in families])
    figure = tolerance_figure(frame, families=families, tolerances=[0.01], quantity=ACCURACY)
    *panels, strip = figure.axes
    renderer = figure.canvas.get_renderer()
    legend = strip.get_legend().get_window_extent(renderer)
    assert figure.bbox.x0 <= legend.x0 < legend.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= legend.y0 < legend.y1 <= figure.bbox.y1
    for panel in panels:
        assert not legend.overlaps(panel.get_tightbbox(renderer))


def test_families_differ_without_colour():
    families = [f"family {k}" for k in range(20)]
    frame = pd.concat([curve(family, "epoch") for family in families])
    figure = epoch_figure(frame, families=families, quantity=ACCURACY, untrained=None)
    lines = [axes.lines[-1] for axes in figure.axes[:20]]
    signs = {(line.get_marker(), str(line._unscaled_dash_pattern), line.get_color()) for line in lines}
    shapes = {(line.get_marker(), str(line._unscaled_dash_pattern)) for line in lines}
    assert len(signs) == len(shapes) == 20


def test_profiles_stand_on_the_scale_of_their_axis(tmp_path):
    frame = pd.DataFrame({
        "family": "a", "axis": ["temperature"] * 3 + ["batch_policy"] * 2,
        "value": [0.1, 0.5, 2.0, "uniform", "balanced"], "estimate": 0.9, "low": 0.85, "high": 0.95,
    })  # fmt: skip
    panels = [("a", TEMPERATURE), ("a", POLICY)]
    untrained = Level(0.8, 0.79, 0.81)
    figure = profile_figure(frame, panels=panels, families=["a"], quantity=ACCURACY, untrained=untrained)
    assert np.exp(figure.axes[0].lines[-1].get_xdata()) == pytest.approx([0.1, 0.5, 2.0])
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert {"uniform", "balanced", "untrained, with interval"} <= set(texts(save(figure, tmp_path, "p")))


def test_labels_with_dollars_and_angles_are_drawn_as_they_are(tmp_path):
    label = "<b>$x_1$</b> & 50%"
    assert label in draw(cells(label), tmp_path)


def test_files_are_the_same_every_time(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        draw(cells(), tmp_path / name)
    for suffix in ("svg", "png"):
        one, two = ((tmp_path / name / f"surfaces.{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two
        assert len(one) > 1000


def test_figures_inside_one_page_do_not_share_ids(tmp_path):
    draw(cells(), tmp_path)
    svg = (tmp_path / "surfaces.svg").read_text()
    marked = [inline(svg, prefix=prefix, title="A & B", description="<1 %") for prefix in ("one", "two")]
    ids = [identifier for markup in marked for identifier in re.findall(r'\bid="([^"]+)"', markup)]
    assert len(ids) == len(set(ids))
    for markup in marked:
        used = re.findall(r'(?:href="|url\()#([^")]+)', markup)
        assert used
        assert set(used) <= set(ids)
        assert "A &amp; B" in markup
        assert "&lt;1 %" in markup
        assert "var(--ink)" in markup


def test_drawing_leaves_the_settings_of_matplotlib_alone(tmp_path):
    from matplotlib import rcParams

    before = dict(rcParams)
    draw(cells(), tmp_path)
    assert dict(rcParams) == before


def test_numbers_are_written_for_readers():
    assert ACCURACY.text(0.9432) == "94.3 %"
    assert ACCURACY.difference(0.005) == "0.5 percentage points"
    assert ACCURACY.text(float("nan")) == "\u2013"
    assert quantity("z_effective_rank").title == "effective rank of embeddings"
    assert [share(value) for value in (0.0, 0.001, 0.333, 0.999, 1.0)] == ["0 %", "<1 %", "33 %", ">99 %", "100 %"]
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert shortened(list("abcdef")) == "a, b, c, d, e and f"
    assert shortened(list("abcdefg")) == "a, b, c, d and 3 others"
