import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from simulated import AXES, GRID, hill, runs, scattered, table

from analysis.figures import Level, difference_figure, expected_best_figure, share_figure, trade_off_figure
from analysis.labels import quantity
from analysis.report.results import compute
from analysis.report.whisker_frames import whisker_frames

ACCURACY = quantity("linear_top1")


def segments(axes):
    """Every drawn line as its two ends, rounded; markers alone are not lines."""
    lines = (line.get_xydata() for line in axes.get_lines() if line.get_linestyle() != "None")
    return {tuple(float(f"{value:.6g}") for value in ends.ravel()) for ends in lines if len(ends) == 2}


def points(axes):
    """Every marker that stands alone: x, y, whether it is filled."""
    alone = (line for line in axes.get_lines() if line.get_linestyle() == "None")
    return [(*map(float, line.get_xydata()[0]), line.get_markerfacecolor() != "none") for line in alone]


def test_a_family_is_a_cross_of_its_two_intervals_and_a_point_where_there_are_none():
    columns = ["family", "regret", "regret_low", "regret_high", "best", "best_low", "best_high"]
    rows = [("a", 0.1, 0.05, 0.2, 0.9, 0.88, 0.91), ("b", 0.3, math.nan, math.nan, 0.8, math.nan, math.nan)]
    figure = trade_off_figure(
        pd.DataFrame(rows, columns=columns), families=["a", "b", "c"], quantity=ACCURACY, untrained=Level(0.7, 0.6, 0.8)
    )
    axes = figure.axes[0]
    assert {(0.05, 0.9, 0.2, 0.9), (0.1, 0.88, 0.1, 0.91)} <= segments(axes)
    assert not any(0.3 in ends for ends in segments(axes))
    assert [point[:2] for point in points(axes)] == [(0.1, 0.9), (0.3, 0.8)]
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["a", "b"]


def test_shares_have_a_panel_a_family_and_total_stands_above_alone():
    rows = [
        ("a", "batch_size", "total", 0.6, 0.5, 0.7), ("a", "batch_size", "alone", 0.4, 0.3, 0.5),
        ("a", "temperature", "total", 0.5, 0.4, 0.6), ("b", "temperature", "total", 1.0, 0.9, 1.0),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["family", "axis", "measure", "estimate", "low", "high"])
    first, second, _ = share_figure(frame, families=["a", "b"]).axes
    total, alone, other = (next(p for p in points(first) if p[0] == value) for value in (0.6, 0.4, 0.5))
    assert total[1] < 0 < alone[1] < other[1] < 1  # y points downwards: the row of an axis is its number
    assert (total[2], alone[2]) == (True, False)
    assert [label.get_text() for label in first.get_yticklabels()] == ["batch size", "temperature"]
    assert [label.get_text() for label in second.get_yticklabels()] == ["temperature"]


def test_differences_stand_in_the_rows_of_their_families_over_the_margin():
    rows = [("b", "mean", 0.02, 0.01, 0.03), ("b", "best", -0.01, -0.02, 0.0), ("c", "mean", 0.05, 0.04, 0.06)]
    frame = pd.DataFrame(rows, columns=["family", "profile", "estimate", "low", "high"])
    figure = difference_figure(frame, quantity=ACCURACY, margin=0.015, reference="a")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c"]
    assert [round(y) for _, y, _ in points(axes)] == [0, 1, 0]
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((-0.015, 0.015))
    texts = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert texts == ["mean over its settings", "its best setting"]


@pytest.mark.parametrize(("low", "panels"), [(math.nan, 1), (0.5, 3)])
def test_expected_bests_have_panels_of_their_own_only_where_there_are_bands(low, panels):
    frame = pd.DataFrame({"family": ["a", "a", "b", "b"], "n": [1, 4] * 2, "estimate": [0.6, 0.8, 0.7, 0.9]})
    figure = expected_best_figure(
        frame.assign(low=low, high=0.95), families=["a", "b"], quantity=ACCURACY, untrained=None
    )
    assert len(figure.axes) - 1 == panels
    assert len(figure.axes[0].get_lines()) == 2


def study(**settings):
    rng = np.random.default_rng(0)
    families = {
        name: runs(GRID, hill(GRID, width=width), seeds=4, rng=rng, seed_sd=0.01)
        for name, width in (("wide", 0.1), ("narrow", 0.4))
    }
    return replace(table(families), **{"reference": "wide", **settings})


def test_the_frames_say_the_numbers_of_the_tables():
    results = compute(study())
    frames = {frame.section: frame for frame in whisker_frames(results, "digits")}
    assert list(frames) == ["plane", "compared", "axes", "search"]
    rows = results.measures[results.measures["family"] == "narrow"].set_index(["measure", "reference"])["estimate"]
    best, regret = rows["best", "common"], rows["normalised_regret", "own"]
    said = f"narrow: best {ACCURACY.text(best)}, a random setting loses {100 * regret:.0f} %."
    assert said in frames["plane"].description
    row = results.comparisons.query("measure == 'difference' and profile == 'mean'").iloc[0]
    assert f"narrow, mean: {ACCURACY.difference(row['difference'])}" in frames["compared"].description
    assert row["verdict"] in frames["compared"].description
    total = results.sensitivity.query("measure == 'ST_corrected' and family == 'narrow' and axis == 'temperature'")
    assert f"narrow, temperature: {100 * total['estimate'].item():.0f} %." in frames["axes"].description
    assert "A grid is no sample" in frames["search"].caption


def test_without_a_reference_there_are_no_differences():
    sections = [frame.section for frame in whisker_frames(compute(study(reference=None)), "digits")]
    assert sections == ["plane", "axes", "search"]


def test_scattered_designs_have_bands_of_the_expected_best():
    results = compute(scattered(configurations=20))
    (frame,) = (frame for frame in whisker_frames(results, "digits") if frame.section == "search")
    assert "Bands hold at 95 %" in frame.caption


def test_where_all_failed_nothing_is_drawn():
    rows = GRID.assign(seed=0, status="diverged", linear_top1=math.nan, linear_top1_validation=math.nan)
    assert list(whisker_frames(compute(table({"f": rows}, axes=AXES)), "digits")) == []
