"""Chromium without a window, and what a page in it must be: quiet, readable at every width, usable by everybody.

A test file imports the fixture `chromium_fixture`; its tests name it `chromium`.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

PATH = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
WIDTHS = (360, 768, 1440)

_OVERFLOWS = """
() => {
  const page = document.documentElement;
  const scrolls = (node) => ["auto", "scroll"].includes(getComputedStyle(node).overflowX);
  const isText = (node) => node.nodeType === Node.TEXT_NODE && node.data.trim() !== "";
  const start = (node) => node.textContent.trim().slice(0, 60);
  const section = (node) => node.closest("section")?.getAttribute("aria-labelledby") ?? "page";
  const place = (node) => node.closest("[id]")?.id ?? section(node);
  const name = (node) => `${node.tagName.toLowerCase()} in ${place(node)}: ${start(node)}`;
  const found = [];
  if (page.scrollWidth > page.clientWidth) found.push(`the page is ${page.scrollWidth} of ${page.clientWidth} wide`);
  for (const node of document.body.querySelectorAll("*")) {
    // What is clipped on purpose is for screen readers.
    if (node.closest("svg") || !node.checkVisibility() || getComputedStyle(node).clipPath !== "none") continue;
    const wide = node.clientWidth > 0 && node.scrollWidth > node.clientWidth;
    if (scrolls(node)) {
      if (wide && node.tabIndex < 0) found.push(`no key scrolls ${name(node)}`);
      continue;
    }
    if (![...node.childNodes].some(isText)) continue;
    if (wide) found.push(`cut: ${name(node)}`);
    let around = node.parentElement;
    while (around && !scrolls(around)) around = around.parentElement;
    const box = node.getBoundingClientRect();
    if (!around && (box.right > page.clientWidth + 1 || box.left < -1)) found.push(`outside: ${name(node)}`);
  }
  return found;
}
"""
_WITHOUT_TEXT = """
() => {
  const text = (id) => document.getElementById(id)?.textContent ?? "";
  const named = (node) => node.getAttribute("aria-label") || node.getAttribute("alt")
    || (node.getAttribute("aria-labelledby") ?? "").split(" ").map(text).join(" ").trim()
    || node.querySelector(":scope > title, :scope > figcaption")?.textContent || "";
  const place = (node) => `${node.tagName.toLowerCase()} in ${node.closest("[id]")?.id}`;
  return [...document.querySelectorAll("figure, svg, img, canvas")]
    .filter((node) => !node.parentElement.closest("svg") && node.getAttribute("aria-hidden") !== "true")
    .filter((node) => named(node).trim().split(/\\s+/).length < 3)
    .map((node) => `${place(node)}: '${named(node)}'`);
}
"""


@pytest.fixture(scope="module", name="chromium")
def chromium_fixture() -> Iterator[Browser]:
    if PATH is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PATH)
        yield browser
        browser.close()


@contextmanager
def quiet(browser: Browser, url: str, *, allowed: str, **options: object) -> Iterator[Page]:
    """An opened page; fails when it says anything on the console, or asks for what does not begin with `allowed`."""
    said, asked = [], []
    context = browser.new_context(**options)
    try:
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        yield page
    finally:
        context.close()
    assert said == []
    assert [address for address in asked if not address.startswith(allowed)] == []


def overflows(page: Page) -> list[str]:
    """Text that is cut or lies outside, and what scrolls sideways but not by keyboard."""
    return page.evaluate(_OVERFLOWS)


def without_text(page: Page) -> list[str]:
    """Figures and graphics of which a screen reader could say nothing, or fewer than three words."""
    return page.evaluate(_WITHOUT_TEXT)


def violations(page: Page) -> list[str]:
    """What axe-core finds serious or critical: rule and element."""
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['target']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
