import asyncio
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from browser_for_tests import WIDTHS, chromium_fixture, overflows, quiet, violations  # noqa: F401
from fake_store import small_study, write_store
from playwright.sync_api import expect
from watch_for_tests import one_seed, serving, store_more

from robustness.status import standing
from robustness.watch.live import Live

NOW = datetime(2026, 1, 1, 12, 3, 20, tzinfo=UTC)
TOKEN = "a-token"
LONG = "a_family_with_a_name_that_no_line_can_hold_" + "x" * 60
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A study of which one seed is stored, with its report."""
    folder = tmp_path_factory.mktemp("live")
    (folder / "scratch").mkdir()
    found = Live(write_store(folder / "results", small_study(), keep=one_seed), folder / "scratch")
    asyncio.run(found.render(now=NOW))
    return found


@pytest.fixture
def opened(live, chromium):
    """Opens the page; fails on any word on the console and on any request elsewhere."""
    with ExitStack() as stack:
        address = f"http://127.0.0.1:{stack.enter_context(serving(live, token=TOKEN))}/{TOKEN}/"
        yield lambda **options: quiet(chromium, address, allowed=address, **options)


def test_the_report_works_inside_the_page(opened):
    with opened() as page:
        frame = page.frame_locator("iframe")
        title = frame.locator("table.sortable th").first
        title.get_by_role("button").click()
        expect(title).to_have_attribute("aria-sort", "ascending")
        assert page.locator("#connection").text_content() == ""


def test_the_status_changes_without_loading_the_page_again(opened, live):
    with opened() as page:
        page.evaluate("window.mark = true")
        lead = page.locator("#counts p")
        expect(lead).to_have_text(live.view.standing.progress)
        store_more(live.folder, seed=1)
        live.view = replace(live.view, standing=standing(live.folder))
        expect(lead).to_have_text(live.view.standing.progress)
        assert page.evaluate("window.mark")


def test_a_newer_report_takes_the_place_of_the_old_one_where_the_reader_is(opened, live):
    with opened() as page:
        frame = page.frame_locator("iframe")
        expect(frame.locator("h1")).to_be_in_viewport()
        frame.locator("html").evaluate("(html) => { html.dataset.old = true; scrollTo(0, 500); }")
        live.view = replace(live.view, report=replace(live.view.report, number=live.view.report.number + 1))
        expect(frame.locator("html[data-old]")).to_have_count(0)
        expect(frame.locator("h1")).to_be_attached()
        expect(frame.locator("h1")).not_to_be_in_viewport()


def test_the_first_report_appears_by_itself(opened, live):
    report = live.view.report
    live.view = replace(live.view, report=None)
    with opened() as page:
        expect(page.locator("#report")).to_be_hidden()
        live.view = replace(live.view, report=report)
        expect(page.frame_locator("iframe").locator("h1")).to_be_visible()


def test_a_server_that_is_gone_is_told(live, chromium):
    page = chromium.new_page()
    try:
        with serving(live, token=TOKEN) as port:
            page.goto(f"http://127.0.0.1:{port}/{TOKEN}/")
            assert page.locator("#connection").text_content() == ""
        expect(page.get_by_role("status").first).to_contain_text("Connection lost", timeout=20_000)
    finally:
        page.close()


@pytest.fixture
def crowded(live, opened):
    """The same page with words that are hostile or too long for any line."""
    before = live.view
    best, *others = before.standing.best
    standing = replace(
        before.standing,
        families=(*before.standing.families, *(replace(before.standing.families[0], family=n) for n in (LONG, EVIL))),
        best=(replace(best, family=LONG, configuration={LONG: LONG}), replace(best, dataset=EVIL), *others),
    )
    live.view = replace(before, standing=standing, trouble=f"{EVIL} {LONG * 9}")
    yield opened
    live.view = before


@pytest.mark.parametrize("width", WIDTHS)
def test_no_text_is_cut_or_out_of_reach(crowded, width):
    with crowded(viewport={"width": width, "height": 800}) as page:
        expect(page.locator("#trouble")).to_contain_text(EVIL)
        assert overflows(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_or_critical_violation(crowded, scheme):
    with crowded(color_scheme=scheme) as page:
        assert violations(page) == []
