"""Whatever stands in a study, a store or a table is shown as text: it runs nothing, hides nothing and turns nothing."""

import re
import unicodedata
from functools import partial

import pandas as pd
import pytest
from browser_for_tests import WIDTHS, chromium_fixture, overflows, quiet, violations, without_text  # noqa: F401
from fake_store import planned_rows, small_study, trial_and_history
from typer.testing import CliRunner

from analysis.labels import isolated, visible
from analysis.report import write, write_table
from analysis.table.names import LONGEST, legible
from analysis.table.tidy import from_frame
from robustness import store
from robustness.cli.application import app

GRID = {"temperature": {"low": 0.05, "high": 2.0, "levels": 3}}
SCRIPT = "<script>window.ran=1</script><img src=x onerror=window.ran=1>\"'&"
ENTITY = "&lt;script&gt;{{ 7 * 7 }}</td></table></svg><style>*{display:none}"
LONG = "long" * 2500
HEBREW = "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd"
TURNED = "turned \u202eback"
ESCAPE = "\x1b[2J\x1b]0;owned\x07 red"
MARKUP = "[red]style[/nope] :smile:"
FORMULA = '=HYPERLINK("http://evil","x")'
NAMES = (SCRIPT, ENTITY, LONG, HEBREW, TURNED, ESCAPE, MARKUP, FORMULA, "_hidden", "\u4e2d\u6587")
ERRORS = {16: f"ValueError: {SCRIPT}{ESCAPE}\n{ENTITY}", 64: LONG}


def write_hostile_store(folder):
    """A store in which every text that a sweep does not choose itself is hostile."""
    families = {"nt_xent": GRID, **{name: {"loss": "dcl", **GRID} for name in NAMES}, "untrained": "default"}
    study = small_study(families=families, analysis={"reference": SCRIPT})
    rows = planned_rows(study)
    store.prepare(folder)
    store.write_plan(folder, pd.DataFrame(rows), study.written())
    for pack in dict.fromkeys(row["pack_id"] for row in rows):
        members = [row for row in rows if row["pack_id"] == pack]
        ended = [trial_and_history(row, failed=row["temperature"] == 0.05) for row in members]
        trials = [{**trial, "device": SCRIPT + ESCAPE} for trial, _ in ended]
        for trial in trials:
            if trial["status"] != "ok":
                trial["error"] = ERRORS[trial["batch_size"]]
        store.write_pack(folder, pack, trials, [epoch for _, history in ended for epoch in history])
    return folder


def hostile_table():
    """A table whose columns, groups, data sets and categories are hostile."""
    rows = [
        {
            SCRIPT: level,
            LONG: width,
            "group": group,
            "set": dataset,
            ENTITY: 0.1 * width + 0.01 * seed + 0.1 * k,
            "seed": seed,
        }
        for k, level in enumerate((SCRIPT, LONG, HEBREW, ESCAPE))
        for width in (1.0, 2.0, 4.0)
        for group in NAMES
        for dataset in (SCRIPT, LONG)
        for seed in range(2)
    ]
    return from_frame(
        pd.DataFrame(rows), axes=f"{SCRIPT},{LONG}:log", outcome=ENTITY, group="group", dataset="set",
        replicate="seed", reference=LONG, name=SCRIPT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_hostile_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module", params=["store", "table"])
def index(request, tmp_path_factory):
    if request.param == "store":
        return write(request.getfixturevalue("folder"))
    return write_table(hostile_table(), tmp_path_factory.mktemp("table"))


@pytest.fixture
def opened(index, chromium):
    return partial(quiet, chromium, index.as_uri(), allowed=index.as_uri(), offline=True)


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_texts_run_nothing_and_fit(opened, width):
    with opened(viewport={"width": width, "height": 800}) as page:
        dialogs = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.ran") is None
        assert dialogs == []
        assert page.locator("img, main style, body script").count() == 2
        assert overflows(page) == []
        assert (
            page.evaluate("Math.max(...[...document.querySelectorAll('table')].map((one) => one.clientWidth))") < 4000
        )


def test_hostile_texts_are_on_the_page_as_they_are(opened):
    with opened() as page:
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        text = page.locator("body").inner_text()
        for name in NAMES:
            assert isolated(legible(name)) in text, name
        assert LONG not in page.content()
        assert without_text(page) == []
        assert violations(page) == []


def test_no_character_of_a_hostile_text_is_a_command(index):
    files = [index, *(index.parent / "figures").glob("*.svg")]
    assert len(files) > 5
    for file in files:
        text = file.read_text("utf-8")
        assert [character for character in text if visible(character) != character and character != "\n"
                and character not in "\u2068\u2069"] == []  # fmt: skip
        assert text.count("\u2068") == text.count("\u2069")


def test_words_from_right_to_left_leave_what_stands_beside_them_in_its_place(chromium):
    """The number behind a Hebrew name is to its right, as everything else that follows in an English sentence."""
    page = chromium.new_page()
    place = """(text) => {
      document.body.textContent = text;
      const at = (part) => {
        const range = document.createRange(), start = text.indexOf(part);
        range.setStart(document.body.firstChild, start); range.setEnd(document.body.firstChild, start + part.length);
        return range.getBoundingClientRect().left;
      };
      return [at("before"), at("\u05e9"), at("12")];
    }"""
    try:
        sentence = f"before {HEBREW} 12 %"
        before, name, number = page.evaluate(place, isolated(sentence))
        assert before < name < number
        before, name, number = page.evaluate(place, sentence)
        assert not before < name < number
    finally:
        page.close()


def test_the_whole_of_a_name_is_in_a_table_beside_the_page(index):
    tables = index.parent / "tables"
    whole = pd.read_csv(tables / "names.csv").set_index("shown")["name"]
    assert {SCRIPT, LONG, TURNED, ESCAPE} <= set(whole) <= {*NAMES}
    assert all(legible(name) == shown for shown, name in whole.items())
    families = set(pd.read_csv(tables / "scorecard.csv")["family"])
    assert families - {"nt_xent", "untrained"} == {legible(name) for name in NAMES}


def test_the_report_shows_what_failed_trials_said(folder):
    page = write(folder).read_text("utf-8")
    section = page[page.index('id="failures-') : page.index('id="collapse-')]
    rows = re.findall(r'<th scope="row">diverged</th>\s*<td>(\d+)</td>', section)
    assert rows == ["33", "33"]
    assert "ValueError: &lt;script&gt;" in section
    assert "long" * 40 in section
    assert "long" * 60 not in section


def test_the_terminal_is_told_nothing_by_hostile_texts(folder, tmp_path):
    said = CliRunner().invoke(app, ["status", str(folder)])
    assert said.exit_code == 0
    for name in (SCRIPT[:40], HEBREW, visible(TURNED), visible(ESCAPE), MARKUP, FORMULA):
        assert name in said.output
    study = tmp_path / "study.yaml"
    study.write_text(
        'name: x\ndata: {dataset: digits}\nfamilies: {"\\e[31m[/nope]": {loss: dcl, temperature: 0.1}}\n', "utf-8"
    )
    planned = CliRunner().invoke(app, ["plan", str(study)])
    assert "\\x1b[31m[/nope]" in planned.output
    for output in (said.output, planned.output):
        assert [character for character in output if visible(character) != character and character != "\n"] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_legible_name_is_short_and_of_text_alone(name):
    shown = legible(name)
    assert len(shown) <= LONGEST
    assert visible(shown) == shown
    assert legible(shown) == shown
    assert not any(unicodedata.category(character) == "Cc" for character in shown)


def test_names_that_differ_stay_different():
    alike = [LONG, LONG + "x", TURNED, visible(TURNED), ESCAPE, visible(ESCAPE)]
    assert len({legible(name) for name in alike}) == len(alike)
    assert legible("kcl_gaussian") == "kcl_gaussian"
    assert legible("x" * LONGEST) == "x" * LONGEST
