import os
import subprocess
import sys

import pytest
from fake_store import small_study, write_store

from analysis.report.pdf import BROWSERS, find_browser, print_page
from analysis.table import TableError


def fake_browser(folder, script):
    """A program of a browser's name that a shell runs."""
    path = folder / BROWSERS[0]
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def report(folder, *options, path):
    return subprocess.run(
        [sys.executable, "-m", "robustness.cli", "report", str(folder), *options],
        capture_output=True, text=True, env=os.environ | {"PATH": str(path)}, check=False,
    )  # fmt: skip


def test_the_page_is_printed_beside_it(tmp_path):
    try:
        find_browser()
    except TableError:
        pytest.skip("no Chromium is installed")
    write_store(tmp_path / "store", small_study())
    ended = report(tmp_path / "store", "--format", "pdf", path=os.environ["PATH"])
    assert (ended.returncode, ended.stderr) == (0, "")
    written = (tmp_path / "store" / "report" / "report.pdf").read_bytes()
    assert written.startswith(b"%PDF")
    assert written.count(b"/Type /Page") > 2
    assert ended.stdout.splitlines()[1].endswith("report.pdf")


def test_without_a_browser_nothing_is_begun(tmp_path):
    write_store(tmp_path / "store", small_study())
    ended = report(tmp_path / "store", "--format", "pdf", path=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith("--format pdf: expected Chromium or Chrome on the PATH, found none")
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "store" / "report").exists()


def test_an_unknown_format_is_one_line(tmp_path):
    ended = report(write_store(tmp_path / "store", small_study()), "--format", "docx", path=os.environ["PATH"])
    assert ended.returncode == 2
    assert "'docx'" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_browser_that_prints_nothing_is_said_and_an_old_file_is_not_taken_for_new(tmp_path):
    index = tmp_path / "index.html"
    index.write_text("<p>page</p>")
    (tmp_path / "report.pdf").write_bytes(b"%PDF old")
    with pytest.raises(TableError, match="printed nothing: no display"):
        print_page(index, browser=fake_browser(tmp_path, "echo no display >&2; exit 1"))
    assert not (tmp_path / "report.pdf").exists()
