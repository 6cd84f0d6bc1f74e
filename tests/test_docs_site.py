import os
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import typer
from fake_store import small_study, write_store

from analysis.report import write
from analysis.report.descriptions import COLUMNS, MEASURES
from robustness.cli import app
from robustness.cli.schema import study_schema
from robustness.store import HISTORY_SCHEMA, PLAN_SCHEMA, TRIALS_SCHEMA
from robustness.store.descriptions import DESCRIPTIONS
from search_spaces.families import SPACES
from search_spaces.sections import StudyFile

ROOT = Path(__file__).parent.parent
STORED = {name for schema in (PLAN_SCHEMA, TRIALS_SCHEMA, HISTORY_SCHEMA) for name in schema.names}


def test_every_stored_column_has_a_description_and_no_other():
    assert set(DESCRIPTIONS) == STORED
    assert all(text.strip() for text in DESCRIPTIONS.values())


def test_every_key_of_a_study_file_has_a_description():
    schema = study_schema()
    sections = [schema, *(one for name, one in schema["$defs"].items() if not name.startswith("family_"))]
    assert len(sections) > 8
    for section in sections:
        for key, field in section["properties"].items():
            assert field.get("description"), key


@pytest.fixture(scope="module", params=["grid of two data sets", "scattered"])
def tables(request, tmp_path_factory):
    """Every table of a report that has failures, collapse and comparisons."""
    temperature = {"low": 0.05, "high": 2.0, "scale": "log", "levels": 5}
    families = {"nt_xent": {"temperature": temperature}, "dhel": {"temperature": temperature}, "untrained": "default"}
    changes = {"families": families, "analysis": {"reference": "nt_xent"}}
    if request.param == "scattered":
        changes |= {"design": {"kind": "sobol", "configurations": 16}}
    else:
        changes |= {"data": {"dataset": ["digits", "mnist"]}}
    folder = tmp_path_factory.mktemp("described")
    write_store(folder, small_study(**changes), fails=lambda row: row["seed"] == 0 and (row["temperature"] or 0) > 1.5)
    write(folder)
    return {path.name: pd.read_csv(path) for path in sorted((folder / "report" / "tables").glob("*.csv"))}


def pattern(names, **parts):
    """Of names in which `<...>` stands for what differs: for anything unless `parts` says for what."""
    return "|".join(re.sub(r"<(\w+)>", lambda found: f"(?:{parts.get(found[1], '.+')})", name) for name in names)


def test_every_column_and_measure_of_the_report_has_a_description(tables):
    # Where no policies are compared there is no table of them; test_policy_table reads one.
    assert set(tables) == set(COLUMNS) - {"policies.csv"}
    in_scorecard = f"(?:{pattern(MEASURES['robustness.csv'])})" + r"(?:_[\d.]+)?"
    for file, frame in tables.items():
        columns = pattern(COLUMNS[file], measure=in_scorecard)
        assert [name for name in frame if not re.fullmatch(columns, name)] == [], file
        assert [name for name in COLUMNS[file] if "<" not in name and name not in frame] == [], file
        measures = pattern(MEASURES.get(file, MEASURES["robustness.csv"]))
        assert [name for name in set(frame.get("measure", [])) if not re.fullmatch(measures, name)] == [], file


class Page(HTMLParser):
    """What a page loads, and its text."""

    def __init__(self):
        super().__init__()
        self.loads, self.words = [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.loads.append(given["src"])
        if tag == "link" and given.get("href"):
            self.loads.append(given["href"])

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built with warnings as errors: page -> what it loads and its text."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", out],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = {}
    for path in out.rglob("*.html"):
        pages[path.relative_to(out).as_posix()] = page = Page()
        page.feed(path.read_text())
    return pages


def test_the_site_needs_no_network(site):
    assert {url for page in site.values() for url in page.loads if "//" in url} == set()
    assert all(page.loads for page in site.values())


def text_of(site, name):
    return unescape("".join(site[f"reference/{name}.html"].words))


def test_the_reference_has_all_that_the_code_has(site):
    commands, keys = text_of(site, "commands"), text_of(site, "study_file")
    for name, command in typer.main.get_command(app).commands.items():
        assert f"robustness {name}" in commands
        assert all(option in commands for one in command.params for option in one.opts if option.startswith("-"))
    for section in [StudyFile.model_json_schema(), *StudyFile.model_json_schema()["$defs"].values()]:
        assert all(field["description"].replace("`", "") in keys for field in section["properties"].values())
    columns = text_of(site, "columns")
    assert all(text.replace("`", "") in columns for text in DESCRIPTIONS.values())
    assert all(text.replace("`", "") in columns for own in COLUMNS.values() for text in own.values())
    assert all(text.replace("`", "") in columns for own in MEASURES.values() for text in own.values())
    families = text_of(site, "families")
    for name, space in SPACES.items():
        assert name in families
        assert all(one.reason in families for one in space.hyperparameters.values())
    assert not [name for name, page in site.items() if "generated:" in "".join(page.words)]
