import re

import pytest
from browser_for_tests import WIDTHS, chromium_fixture, overflows, quiet, violations, without_text  # noqa: F401
from fake_store import small_study, write_store
from playwright.sync_api import expect

from analysis.report import write

GRID = {"temperature": {"low": 0.05, "high": 2.0, "levels": 3}}
BANDWIDTH = {"values": [0.25, 1.6, 10]}
LONG = "a_family_with_a_name_that_no_line_can_hold_" + "x" * 60
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)> \"quoted\" 'too' & \u202etfel"
STUDIES = {
    "small": {"analysis": {"reference": "nt_xent"}},
    "two data sets": {
        "data": {"dataset": ["digits", "other digits"]},
        "families": {
            "nt_xent": GRID,
            "dhel": GRID,
            LONG: {"loss": "kcl_gaussian", "bandwidth": BANDWIDTH, "gamma": 16},
            EVIL: {"loss": "dcl", **GRID},
            "untrained": "default",
        },
        "seeds": 2,
        "analysis": {"reference": "nt_xent"},
    },
}


def fails_when_cold(row):
    return row["temperature"] == 0.05 and row["batch_size"] == 16


@pytest.fixture(scope="module", params=STUDIES)
def report(request, tmp_path_factory):
    """The address of a report on disk."""
    study = small_study(**STUDIES[request.param])
    return write(write_store(tmp_path_factory.mktemp("store"), study, fails=fails_when_cold)).as_uri()


@pytest.fixture
def opened(report, chromium):
    """Opens the report alone and without a network; fails on any word on the console and on any other request."""

    def opened(**options):
        return quiet(chromium, report, allowed=report, offline=True, **options)

    return opened


def unfold(page):
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")


def test_the_page_is_one_file_that_says_nothing_on_the_console(opened):
    with opened() as page:
        expect(page.locator("h1")).to_be_visible()
        page.wait_for_load_state("networkidle")


def test_every_figure_has_a_text_that_says_what_it_shows(opened):
    with opened() as page:
        assert page.locator("figure").count() > 0
        assert without_text(page) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_no_text_is_cut_or_out_of_reach(opened, width):
    with opened(viewport={"width": width, "height": 800}) as page:
        assert overflows(page) == []
        unfold(page)
        assert overflows(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_or_critical_violation(opened, scheme):
    with opened(color_scheme=scheme) as page:
        unfold(page)
        assert violations(page) == []


def shown(table, column):
    """The cells of a column, the baseline apart: leading numbers where there is one, else text; None for a dash."""
    rows = table.evaluate(
        "(table, column) => [...table.tBodies[0].rows].map((row) => [row.cells[column].innerText.trim(),"
        " row.classList.contains('baseline')])",
        column,
    )
    assert [is_baseline for _, is_baseline in rows] == sorted(is_baseline for _, is_baseline in rows)
    return [value(text) for text, is_baseline in rows if not is_baseline]


def value(text):
    number = re.match(r"[<>~]?\s*(-?\d+(?:\.\d+)?)", text.replace(",", ""))
    return None if text in ("", "\u2013") else float(number[1]) if number else text


def assert_sorted(page, table, column, order):
    cells = shown(table, column)
    there = [cell for cell in cells if cell is not None]
    assert cells == there + [None] * (len(cells) - len(there)), "what is missing comes last"
    if all(isinstance(cell, float) for cell in there):
        assert there == sorted(there, reverse=order == "descending")
    else:
        collated = page.evaluate("(texts) => texts.toSorted((a, b) => a.localeCompare(b))", there)
        assert there == (collated if order == "ascending" else collated[::-1])


def press(button, how):
    if how == "click":
        button.click()
    else:
        button.focus()
        button.press(how)


@pytest.mark.parametrize("how", ["click", "Enter", "Space"])
def test_titles_sort_the_scorecard_by_their_column(opened, how):
    with opened() as page:
        tables = page.locator("table.sortable").all()
        assert tables
        for table in tables:
            heads = table.locator("thead th").all()
            for column, head in enumerate(heads):
                orders = []
                for _ in range(2):
                    press(head.get_by_role("button"), how)
                    orders.append(head.get_attribute("aria-sort"))
                    assert_sorted(page, table, column, orders[-1])
                    assert table.locator("th[aria-sort]").count() == 1
                assert sorted(orders) == ["ascending", "descending"]


def test_the_tab_key_reaches_every_title_and_shows_where_it_is(opened):
    with opened() as page:
        titles = "[...document.querySelectorAll('table.sortable th button')]"
        left = set(range(page.evaluate(f"{titles}.length")))
        assert left
        for _ in range(1000):
            page.keyboard.press("Tab")
            place, outline = page.evaluate(
                f"[{titles}.indexOf(document.activeElement), getComputedStyle(document.activeElement).outlineStyle]"
            )
            if place >= 0:
                assert outline != "none"
                left.discard(place)
            if not left:
                return
        assert not left


def test_hostile_words_run_nothing(opened):
    with opened() as page:
        dialogs = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        page.reload()
        assert dialogs == []
        assert page.locator("img").count() == 0


def test_the_filter_leaves_the_rows_of_the_families_that_are_named(opened):
    with opened() as page:
        unfold(page)
        box, every = page.get_by_role("searchbox"), page.locator("tr[data-family]")
        families = {row.get_attribute("data-family") for row in every.all()}
        box.fill("NT_x, untrained")
        left = {row.get_attribute("data-family") for row in every.all() if row.is_visible()}
        assert left == {"nt_xent", "untrained"} < families
        assert page.locator("output").inner_text() == f"2 of {len(families)}"
        box.fill("")
        assert all(row.is_visible() for row in every.all())


def test_the_table_of_contents_stays_in_sight(opened):
    with opened(viewport={"width": 1440, "height": 800}) as page:
        page.evaluate("document.documentElement.scrollTop = 3000")
        expect(page.get_by_role("navigation")).to_be_in_viewport()
