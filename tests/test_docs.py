"""Every block of code in README and docs is run, or says right above it why not."""

import contextlib
import io
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from fake_store import write_store
from processes import robustness
from studies_for_tests import TINY, changed, quickstart

import robustness.plan as planning
from robustness import store
from robustness.cli import app, main
from search_spaces import parse_study
from search_spaces.documents import read_document

ROOT = Path(__file__).parent.parent
PAGES = {str(path.relative_to(ROOT)): path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]}
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: (\S.*) -->\s*\Z")
SHOWN = ("text",)
"""Languages of what is no code: printed output and listings."""

FAMILIES = {
    "nt_xent": {"temperature": {"low": 0.05, "high": 2.0, "levels": 3}},
    "kcl_gaussian": {"bandwidth": {"low": 0.25, "high": 10, "levels": 3}, "gamma": 16},
    "untrained": "default",
}


@dataclass(frozen=True)
class Block:
    """A fenced block; `excuse` is why it is not run, None for one that is."""

    place: str
    language: str
    text: str
    excuse: str | None


def blocks(name: str, text: str) -> list[Block]:
    found = []
    for fence in FENCE.finditer(text):
        before = text[: fence.start()]
        excuse = NOT_RUN.search(before.removesuffix("\n"))
        place = f"{name}:{before.count(chr(10)) + 1}"
        found.append(Block(place, fence[2], fence[3], excuse[1] if excuse else None))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a reader has: a finished quickstart, a study `mine.yaml` with its results, and a table of another tool."""
    folder = tmp_path_factory.mktemp("reader")
    mine = {"name": "mine", "seeds": 1, "axes": {}, "evaluation.keep": "all", "families.untrained": None}
    (folder / "mine.yaml").write_text(yaml.safe_dump(changed(TINY, mine)))
    done = robustness("sweep", "mine.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    study = quickstart(seeds=[0, 1, 2], families=FAMILIES)
    write_store(folder / "results" / "quickstart", study)
    table_of_another_tool().to_parquet(folder / "runs.parquet")
    return folder


def table_of_another_tool():
    rng = np.random.default_rng(0)
    levels = [["baseline", "ours"], [1e-3, 1e-2, 1e-1], [32, 128], ["rbf", "imq"], [0, 1, 2]]
    frame = pd.MultiIndex.from_product(levels, names=["method", "lr", "batch_size", "kernel", "seed"]).to_frame(
        index=False
    )
    frame["accuracy"] = 0.9 - 0.02 * np.log10(frame["lr"] / 1e-2) ** 2 + rng.normal(0, 0.004, len(frame))
    frame["diverged"] = False
    return frame


# Of MLflow's own queries.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_the_page_runs_or_says_why_not(page, folder, tmp_path, monkeypatch):
    workspace = tmp_path / "work"
    shutil.copytree(folder, workspace)
    monkeypatch.chdir(workspace)
    trial_id = store.read_plan(workspace / "results" / "mine")["trial_id"].iloc[0]
    names = {"__name__": "page"}
    for block in blocks(page, PAGES[page].read_text()):
        if block.excuse is not None or block.language in SHOWN:
            continue
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, block.place, "exec"), names)
        elif block.language == "sh":
            for line in commands(block.text):
                run_command(block.place, line.replace("3f9a", trial_id), monkeypatch)
        elif block.language == "yaml":
            check_study(block)
        elif block.language == "toml":
            assert block.text.split() == entry_points().split(), f"{block.place}: not what examples/plugin has"
        else:
            pytest.fail(f"{block.place}: nothing runs {block.language or 'a block without a language'}")
    plt.close("all")


def commands(text):
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def run_command(place, line, monkeypatch):
    """Run `robustness ... [> FILE]` as a shell would, in this process."""
    words = shlex.split(line.removeprefix(".venv/bin/"), comments=True)
    assert words[0] == "robustness", f"{place}: only `robustness` is run here: {line}"
    words, target = (words[:-2], words[-1]) if ">" in words else (words, None)
    monkeypatch.setattr(sys, "argv", words)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0, f"{place}: {line}\n{printed.getvalue()}"
    if target is not None:
        Path(target).write_text(printed.getvalue())


def check_study(block):
    """Plan a whole study; of a part of one, read every entry in place of a tiny study's own."""
    if read_whole(block.text) is not None:
        assert len(planning.expected(parse_study(read_whole(block.text), block.place))) > 0
        return
    for entry in re.split(r"^(?=\w)", block.text, flags=re.MULTILINE)[1:]:
        assert parse_study({**TINY, **read_document(block.place, entry)}, block.place)


def read_whole(text):
    """The study that a block is, None for a part of one."""
    return read_document("block", text) if re.search(r"^name:", text, re.MULTILINE) else None


def entry_points():
    text = (ROOT / "examples" / "plugin" / "pyproject.toml").read_text()
    return text[text.index("[project.entry-points") : text.index("[tool.setuptools]")]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_found(page):
    """A fence that the pattern above misses would never be run."""
    text = PAGES[page].read_text()
    fences = len(re.findall(r"^ *```", text, re.MULTILINE))
    assert fences == 2 * len(blocks(page, text))


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_sentences_exist_with_their_options(page):
    known = typer.main.get_command(app).commands
    for text in re.findall(r"`(?:\.venv/bin/)?robustness ([a-z][^`]*)`", FENCE.sub("", PAGES[page].read_text())):
        name, *words = text.split()
        assert name in known, text
        options = {option for one in known[name].params for option in one.opts}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= options | {"--help"}, text


def test_the_loss_on_the_page_is_the_one_of_the_example():
    released = (ROOT / "examples" / "plugin" / "cauchy_loss" / "loss.py").read_text()
    body = released[released.index("    z = normalize") :]
    for page in ("README.md", "docs/losses.md"):
        assert body in PAGES[page].read_text()
