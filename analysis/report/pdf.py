"""The page as a PDF file: printed by an installed browser, without its window."""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from analysis.table import TableError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_MACOS = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
_SECONDS = 300


def find_browser() -> str:
    """The path of a browser that prints.

    Raises:
        TableError: none is installed.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and _MACOS.exists():
        found = str(_MACOS)
    if found is None:
        raise TableError("--format pdf: expected Chromium or Chrome on the PATH, found none; index.html can be printed")
    return found


def print_page(index: Path, *, browser: str) -> Path:
    """Print a report's page beside it, with its print style, and return the path of the PDF.

    Args:
        index: index.html of a report.
        browser: of `find_browser`.

    Raises:
        TableError: the browser wrote nothing.
    """
    target = index.with_name("report.pdf")
    target.unlink(missing_ok=True)
    # Chromium refuses to run as root inside its sandbox; it opens nothing but this page.
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with TemporaryDirectory() as profile:
        command = [
            browser, "--headless", *sandbox, "--disable-gpu", f"--user-data-dir={profile}", "--no-pdf-header-footer",
            f"--print-to-pdf={target.resolve()}", index.resolve().as_uri(),
        ]  # fmt: skip
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
            said = ended.stderr.strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
        except subprocess.TimeoutExpired:
            said = [f"not done after {_SECONDS} s"]
    if not target.is_file():
        raise TableError(f"--format pdf: {browser} printed nothing: {said[0]}")
    return target
