import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product

import numpy as np
import pandas as pd
import pytest
from fake_store import small_study, write_store

from analysis.labels import MISSING
from analysis.report import is_current, write, write_table
from analysis.report.epochs import over_epochs
from analysis.report.numbers import axis_shares, deciding_axes, expected_bests
from analysis.report.prose import answer
from analysis.report.results import compute
from analysis.table.store import from_store
from analysis.table.tidy import from_frame
from robustness import store

VOID = {"meta", "link", "img", "br", "hr", "input"}
EVIL = "<b>x</b> & $y_1$"


class Page(HTMLParser):
    """What a browser would see: text, ids, links, figures; fails on tags that do not match."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loaded, self.tags, self.open, self.texts = [], [], [], [], [], []
        self.graphics = []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag == "svg":
            self.graphics.append(attributes)
        if tag == "a":
            self.links.append(attributes["href"])
        elif tag in ("link", "script", "img", "iframe", "image", "use", "style"):
            self.loaded += [attributes[name] for name in ("src", "href", "data") if name in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def fails_when_cold(row):
    return row["temperature"] == 0.05 and row["batch_size"] == 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store"), small_study(), fails=fails_when_cold)


@pytest.fixture(scope="module")
def results(folder):
    return compute(from_store(folder), history=store.read_history(folder))


@pytest.fixture(scope="module")
def page(folder):
    return Page(write(folder))


def report(tmp_path, study, **store):
    return Page(write(write_store(tmp_path / "store", study, **store), tmp_path / "out"))


def test_a_report_needs_nothing_but_itself(page, folder):
    assert all(source.startswith(("#", "data:")) for source in page.loaded)
    text = (folder / "report" / "index.html").read_text("utf-8")
    assert not re.findall(r"@import|url\((?!#)", text)
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", text)


def test_ids_are_unique_and_every_link_leads_somewhere(page, folder):
    assert len(page.ids) == len(set(page.ids))
    for link in page.links + page.loaded:
        if link.startswith("#"):
            assert link[1:] in page.ids
        elif not link.startswith("data:"):
            assert (folder / "report" / link).stat().st_size > 0


def test_every_figure_has_a_description_with_numbers(page, folder):
    assert len(page.graphics) >= 8
    text = (folder / "report" / "index.html").read_text("utf-8")
    for graphic in page.graphics:
        assert graphic["role"] == "img"
        assert set(graphic["aria-labelledby"].split()) <= set(page.ids)
    descriptions = re.findall(r"<desc id=[^>]*>(.*?)</desc>", text)
    assert len(descriptions) == len(page.graphics)
    assert all(re.search(r"\d", description) for description in descriptions)


def test_every_figure_is_written_as_svg_and_png(page, folder):
    figures = folder / "report" / "figures"
    names = {path.stem for path in figures.iterdir()}
    assert {"accuracy_surfaces", "z_effective_rank_surfaces", "near_optimal_mass", "failure_surfaces"} <= names
    assert len(names) == len(page.graphics)
    for name in names:
        assert (figures / f"{name}.svg").read_text().startswith("<?xml")
        assert (figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_names_every_family_and_counts_failures(page):
    for family in ("nt_xent", "kcl_gaussian", "untrained"):
        assert family in page.texts
    assert "3 of 36 trials failed (nt_xent 3)" in page.text
    assert "39 planned, 39 stored, 36 ok, 3 failed" in page.text


def test_tables_hold_what_the_page_shows(page, folder):
    tables = folder / "report" / "tables"
    scores = pd.read_csv(tables / "scorecard.csv").set_index("family")
    assert f"{scores.loc['kcl_gaussian', 'best'] * 100:.1f} %" in page.text
    measured = pd.read_csv(tables / "robustness.csv")
    assert list(measured.columns[:4]) == ["dataset", "outcome", "family", "measure"]
    assert len(pd.read_parquet(tables / "surfaces.parquet")) == len(pd.read_csv(tables / "surfaces.csv"))


def test_the_share_of_settings_worse_than_untrained_is_counted(page):
    # Of 12 settings only the one that always fails lies below the untrained encoder.
    assert "By their means alone, 1 of 12 trained settings (8 %) is worse than that." in page.text


def test_the_same_store_gives_the_same_bytes(page, folder, tmp_path):
    again = write(folder, tmp_path).parent
    paths = [path.relative_to(again) for path in again.rglob("*") if path.is_file()]
    assert len(paths) > 20
    for path in paths:
        assert (again / path).read_bytes() == (folder / "report" / path).read_bytes(), path


def test_labels_are_text_never_markup_or_formulas(tmp_path):
    families = {EVIL: {"loss": "nt_xent", "temperature": {"values": [0.1, 0.5]}}}
    page = report(tmp_path, small_study(families=families, seeds=2))
    assert "b" not in page.tags
    assert page.texts.count(EVIL) >= 5


def test_a_sweep_half_done_says_so_and_counts_what_is_there(tmp_path):
    page = report(tmp_path, small_study(), keep=lambda row: row["seed"] == 0 or row["batch_size"] == 16)
    assert "The study is not complete" in page.text
    assert "39 planned, 25 stored, 25 ok, 0 failed; 14 still to run" in page.text


def test_one_seed_gives_dashes_with_reasons(tmp_path):
    page = report(tmp_path, small_study(seeds=1))
    assert "cannot be told yet" in page.text
    assert "How much tuning the families need cannot be told yet: one seed." in page.text
    for family in ("nt_xent", "kcl_gaussian"):
        assert f"{family}: best; " in page.text
    assert {"one seed", "no interval: the maximum of noisy means is biased"} <= set(page.texts)
    assert "nan" not in page.text.lower().split()


def test_a_store_in_which_all_trials_failed_is_reported(tmp_path):
    page = report(tmp_path, small_study(), fails=lambda row: True)
    assert "cannot be told yet: all failed" in page.text
    assert "36 of 36 trials failed (nt_xent 18 and kcl_gaussian 18)" in page.text


def test_a_store_with_only_untrained_encoders_is_reported(tmp_path):
    page = report(tmp_path, small_study(), keep=lambda row: row["loss"] == "untrained")
    assert "An untrained encoder scores" in page.text
    assert "No trained encoder has finished yet." in page.text


@pytest.mark.parametrize("axes", [{}, {"batch_size": {"values": [16, 64]}}])
def test_a_family_without_axes_of_its_own_has_a_panel(tmp_path, axes):
    page = report(tmp_path, small_study(axes=axes, families={"nt_xent": {"temperature": 0.2}}))
    assert "figure-accuracy_surfaces" in page.ids


def test_a_family_with_three_axes_is_shown_averaged_and_at_its_best(tmp_path):
    kernel = {"bandwidth": {"values": [1, 4]}, "gamma": {"values": [4, 16]}}
    page = report(tmp_path, small_study(families={"kcl_gaussian": kernel}, seeds=2))
    assert {"figure-accuracy_surfaces", "figure-accuracy_surfaces_at_best"} <= set(page.ids)


def test_a_scattered_design_has_an_uncertainty_panel(tmp_path):
    families = {"dhel": {"temperature": {"low": 0.05, "high": 2.0, "scale": "log"}}}
    design = {"kind": "sobol", "configurations": 6}
    page = report(tmp_path, small_study(design=design, families=families, seeds=2))
    assert {"figure-accuracy_surfaces", "figure-accuracy_surfaces_uncertainty"} <= set(page.ids)
    assert "held-out R2" in page.text


def test_an_outcome_where_less_is_better_is_reported(tmp_path):
    study = small_study(analysis={"outcome": "final_loss", "direction": "minimize"}, seeds=2)
    assert "figure-final_loss_surfaces" in report(tmp_path, study).ids


def test_a_store_without_trials_is_an_error_of_one_line(tmp_path):
    folder = write_store(tmp_path, small_study(), keep=lambda row: False)
    with pytest.raises(ValueError, match="no finished trials") as caught:
        write(folder)
    assert "\n" not in str(caught.value)


def test_every_data_set_has_sections_of_its_own(tmp_path):
    families = {"nt_xent": {"temperature": {"values": [0.05, 0.5]}}, "untrained": "default"}
    study = small_study(data={"dataset": ["digits", "other digits"]}, families=families, seeds=2)
    page = report(tmp_path, study, fails=fails_when_cold)
    assert len(page.ids) == len(set(page.ids))
    for key in ("digits", "other-digits"):
        assert {f"scorecard-{key}", f"figure-accuracy_surfaces-{key}"} <= set(page.ids)


@pytest.mark.parametrize(
    ("intervals", "claim"),
    [
        ([(0.8, 0.7, 0.9), (0.3, 0.2, 0.4)], "nt_xent needs the least tuning: 80 % (70 to 90 %)"),
        ([(0.8, 0.3, 0.9), (0.3, 0.2, 0.4)], "Which family needs the least tuning is not settled"),
        ([(0.8, None, None), (0.3, None, None)], "there are no intervals"),
        ([(0.5, 0.4, 0.6), (0.5, 0.4, 0.6)], "The estimates do not differ"),
        ([(0.3, 0.2, 0.4), (0.8, 0.7, 0.9)], "kcl_gaussian needs the least tuning: 80 % (70 to 90 %)"),
    ],
)
def test_an_order_is_claimed_only_where_intervals_support_it(results, intervals, claim):
    scores = results.scorecard.set_index("family")
    for family, values in zip(("nt_xent", "kcl_gaussian"), intervals, strict=True):
        for suffix, value in zip(("", "_low", "_high"), values, strict=True):
            scores.loc[family, f"near_optimal_mass_0.01{suffix}"] = value
    sentences = " ".join(passage.text for passage in answer(replace(results, scorecard=scores.reset_index()), "digits"))
    assert claim in sentences
    assert "  " not in sentences


def scored(results, masses):
    """The results with other masses at the middle tolerance: family -> (estimate, low, high)."""
    rows = []
    for family, values in masses.items():
        row = results.scorecard.iloc[0].to_dict() | {"family": family}
        row |= {f"near_optimal_mass_0.01{suffix}": v for suffix, v in zip(("", "_low", "_high"), values, strict=True)}
        rows.append(row)
    return " ".join(passage.text for passage in answer(replace(results, scorecard=pd.DataFrame(rows)), "digits"))


def test_losses_that_tie_are_named_together(results):
    text = scored(results, {"a": (0.2, 0.1, 0.3), "b": (0.601, 0.5, 0.7), "c": (0.599, 0.5, 0.7)})
    assert "b and c need the least tuning: 60 %" in text
    assert "The share is smallest for a: 20 %." in text
    assert "Their intervals lie above those of all others." in text


def test_intervals_that_span_everything_are_said_first(results):
    text = scored(results, {"a": (0.2, 0.0, 0.95), "b": (0.6, 0.05, 1.0), "c": (0.4, 0.0, 1.0)})
    assert text.startswith(
        "How much of its space each family has near the best these seeds cannot tell: the intervals of 3 of"
    )


def test_losses_no_better_than_untrained_are_told_from_those_that_may_be(results):
    untrained = results.scorecard.loc[results.scorecard["is_baseline"], "best"].item()
    rows = []
    for family, offset, low, high in (("a", 0.1, 0.05, 0.2), ("b", 0.02, -0.1, 0.1), ("c", -0.1, -0.2, 0.1)):
        row = results.scorecard.iloc[0].to_dict() | {"family": family, "best": untrained + offset}
        rows.append(row | {"best_low": untrained + low, "best_high": untrained + high})
    rows.append(rows[0] | {"family": "d", "best_low": float("nan"), "best_high": float("nan")})
    text = " ".join(passage.text for passage in answer(replace(results, scorecard=pd.DataFrame(rows)), "digits"))
    assert "The best setting of c is no better than untrained by the estimates." in text
    assert "For the best setting of b the intervals do not exclude that training gained nothing." in text
    assert "For d there is no interval to tell." in text


def test_the_best_over_all_losses_is_the_cross_fitted_one(results):
    rows = results.measures
    value = rows.loc[(rows["measure"] == "best") & (rows["family"] == ""), "estimate"].item()
    text = " ".join(passage.text for passage in answer(results, "digits"))
    assert f"tuning reaches a linear probe accuracy of {value * 100:.1f} %" in text
    assert "setting chosen on all seeds is batch size " in text


def test_the_label_of_the_baseline_is_free_and_so_is_the_label_untrained(tmp_path):
    families = {
        "untrained": {"loss": "nt_xent", "temperature": {"values": [0.1, 0.5]}},
        "random weights": {"loss": "untrained"},
    }
    folder = write_store(tmp_path, small_study(families=families, seeds=2))
    page = Page(write(folder))
    scores = pd.read_csv(folder / "report" / "tables" / "scorecard.csv").set_index("family")
    assert scores["is_baseline"].to_dict() == {"untrained": False, "random weights": True}
    assert scores.loc["untrained", "n_configs"] == 4
    assert "random weights" in page.texts


def test_epochs_that_only_some_batch_sizes_reached_are_left_out():
    epochs = {16: (2.0, 4.0, 8.0), 64: (4.0, 8.0, 16.0)}
    rows = [
        {"family": "a", "batch_size": size, "epoch": epoch, "knn_top1": 0.9 if size == 64 else 0.5}
        for size, reached in epochs.items()
        for epoch in reached
    ]
    found = over_epochs(pd.DataFrame(rows), "knn_top1")
    assert found["epoch"].tolist() == [4.0, 8.0]
    assert found["estimate"].tolist() == pytest.approx([0.7, 0.7])


def test_the_reference_is_compared_and_the_verdicts_open_the_page(tmp_path):
    written = write(write_store(tmp_path / "store", small_study(analysis={"reference": "nt_xent"})))
    rows = pd.read_csv(written.parent / "tables" / "comparisons.csv")
    paired = rows[rows["measure"] == "difference"]
    assert list(paired["family"]) == ["kcl_gaussian", "kcl_gaussian"]
    text = written.read_text("utf-8")
    assert "Against nt_xent" in text
    verdict = paired.loc[paired["profile"] == "mean", "verdict"].item()
    assert f"paired with nt_xent seed by seed, kcl_gaussian is {verdict}" in text


def test_a_comparison_that_was_not_made_is_not_told(tmp_path):
    adaptive = small_study(design={"kind": "tpe", "configurations": 8}, analysis={"reference": "nt_xent"})
    text = write(write_store(tmp_path / "store", adaptive)).read_text("utf-8")
    assert "adaptive design" in text
    assert "paired with nt_xent seed by seed" not in text


def test_a_report_is_current_until_its_results_change(tmp_path):
    folder = write_store(tmp_path / "store", small_study())
    assert not is_current(folder)
    index = write(folder)
    newest = index.stat().st_mtime
    assert is_current(folder)
    trials = next((folder / "trials").iterdir())
    os.utime(trials, (newest + 1, newest + 1))
    assert not is_current(folder)


def test_the_axis_that_decides_is_told_only_where_intervals_are_apart(results):
    rows = [("a", "t", 0.9, 0.8, 0.95), ("a", "b", 0.2, 0.1, 0.3), ("b", "t", 0.6, 0.3, 0.8), ("b", "b", 0.5, 0.3, 0.7),
            ("c", "t", 0.8, 0.7, 0.9)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["family", "axis", "estimate", "low", "high"])
    found = replace(results, sensitivity=frame.assign(measure="ST_corrected", reason=""))
    assert deciding_axes(found) == [("t", ["a"])]
    grid = axis_shares(found)
    assert grid.rows[0] == ["a", "t", "90 (80 to 95)", MISSING, ""]
    assert len(grid.rows) == 5


def test_the_expected_best_of_a_study_rises_with_n(results):
    grid = expected_bests(results)
    assert [row[0] for row in grid.rows] == ["kcl_gaussian", "nt_xent"]
    for row in grid.rows:
        values = [float(text) for text in row[1:]]
        assert values == sorted(values)


def test_the_page_of_a_table_speaks_of_no_study(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(list(product(["a", "b"], [1, 2, 4], [0.1, 1.0], range(3))), columns=["m", "x", "rate", "s"])
    frame["y"] = 5 - frame["x"] + rng.normal(size=len(frame))
    table = from_frame(frame, group="m", axes="x:log2,rate:log", outcome="y", replicate="s")
    text = write_table(table, tmp_path).read_text("utf-8")
    text = re.sub(r"<(style|script|svg).*?</\1>|<[^>]+>", " ", text, flags=re.DOTALL)
    found = re.findall(r"(?i)\b(loss|losses|planned|untrained|images|embeddings)\b", text)
    assert not found


@pytest.mark.parametrize(("lows", "said"), [
    ((0.8, 0.8), "The axis that decides most is batch size in all of 2 families."),
    ((0.8, 0.1), "The axis that decides most is batch size in 1 of 2 families."),
    ((0.1, 0.1), None),
])  # fmt: skip
def test_the_sentence_counts_the_families_of_an_axis(results, lows, said):
    rows = [
        (family, axis, estimate, low, 0.99 if axis == "batch_size" else 0.3)
        for family, own in zip(("kcl_gaussian", "nt_xent"), lows, strict=True)
        for axis, estimate, low in (("batch_size", 0.9, own), ("temperature", 0.2, 0.1))
    ]
    frame = pd.DataFrame(rows, columns=["family", "axis", "estimate", "low", "high"])
    text = " ".join(
        passage.text
        for passage in answer(replace(results, sensitivity=frame.assign(measure="ST_corrected", reason="")), "digits")
    )
    assert said in text if said else "decides most" not in text


def test_every_number_of_the_answer_is_in_the_rows_that_it_names(results, page, folder):
    tables = {path.name: pd.read_csv(path) for path in (folder / "report" / "tables").glob("*.csv")}
    checked = 0
    for passage in answer(results, "digits"):
        cited = [_cited(tables, part) for part in passage.rows.split("; ")]
        assert all(len(rows) for rows in cited), passage.rows
        numbers = {
            f"{sign * factor * value:.{digits}f}"
            for rows in cited
            for value in rows.select_dtypes("number").to_numpy(float).ravel()
            if np.isfinite(value)
            for sign in (1, -1)
            for factor, digits in ((100, 0), (100, 1), (1, 3))
        }
        for interval in re.findall(r"([-\d.]+) ?%? \(([-\d.]+) to ([-\d.]+)(?: %)?\)", passage.text):
            assert set(interval) <= numbers, (passage.title, interval)
            checked += 1
    assert checked >= 2


def _cited(tables, text):
    name, _, where = text.partition(": ")
    rows = tables[name]
    for condition in filter(None, where.split(", ")):
        column, _, value = condition.partition(" ")
        if column in ("column", "best_setting"):
            assert (value or column) in rows
        elif column == "row":
            rows = rows[rows["family"] == value]
        else:
            same = np.isclose(rows[column], float(value)) if column == "tolerance" else rows[column] == value
            rows = rows[same]
    return rows
