"""The page: every number and figure of a study in one file that opens without a network."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.labels import counted, level, quantity
from analysis.report.collapse_frames import collapse_frames
from analysis.report.collapse_tables import NotedGrid, choice_regrets, collapse_counts, rank_accuracy
from analysis.report.curve_frames import curve_frames
from analysis.report.facts import Grid, axis_ranges, compared, facts, status_counts, table_facts
from analysis.report.frame import Picture, hang
from analysis.report.numbers import axis_shares, expected_bests
from analysis.report.prose import Passage, answer
from analysis.report.results import Results, compute, has_failed
from analysis.report.score import Column, Row, columns, notes, score_rows
from analysis.report.surface_frames import surface_frames
from analysis.report.whisker_frames import whisker_frames
from analysis.surfaces import COLUMNS as SURFACE_COLUMNS
from analysis.table import Table
from analysis.table.store import datasets_of, from_store, read_study
from robustness import store
from robustness.store import Folder

PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Source:
    """Where the trials come from, as the page tells it; `is_study` where losses were trained by a sweep of ours."""

    facts: Sequence[tuple[str, str]]
    status: Grid
    test_images: Sequence[tuple[str, str, str]]
    incomplete: bool
    is_study: bool


@dataclass(frozen=True)
class Part:
    """What the page says about one data set; `pictures` are by section."""

    dataset: str
    key: str
    answer: Sequence[Passage]
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Mapping[str, str]
    pictures: Mapping[str, Sequence[Picture]]
    num_failed: int
    num_trials: int
    collapse: Grid
    rank_accuracy: NotedGrid
    choices: Mapping[str, NotedGrid]
    compared: Grid
    axis_shares: Grid
    expected_bests: Grid


def write(folder: Folder, out: Folder | None = None) -> Folder:
    """Write the report of a study: OUT/index.html, OUT/figures/*.{svg,png} and OUT/tables/*.{csv,parquet}.

    The same store gives the same bytes.

    Args:
        folder: what a sweep left behind, whether it is complete or not.
        out: where to write; FOLDER/report unless given.

    Returns:
        The path of index.html.

    Raises:
        ValueError: there is no study in `folder`, it is damaged, or no trial has finished.
    """
    results = compute(from_store(folder), history=store.read_history(folder))
    return _publish(results, _stored(folder, results.table), folder / "report" if out is None else out)


def write_table(table: Table, out: Folder) -> Folder:
    """Write the report of anybody's table, as `analysis.table.tidy.from_file` reads it. For instance:

        table = from_file("runs.csv", group="method", axes="lr:log", outcome="accuracy", replicate="seed")
        write_table(table, Path("report"))

    The same rows in whatever order give the same bytes.

    Args:
        out: where to write index.html, figures and tables.

    Returns:
        The path of index.html.

    Raises:
        TableError: two trials of the same configuration and seed have different outcomes.
    """
    source = Source(table_facts(table), status_counts(table.trials), [], incomplete=False, is_study=False)
    return _publish(compute(table), source, out)


def _publish(results: Results, source: Source, out: Folder) -> Folder:
    if isinstance(out, Path):
        _write(results, source, out)
    else:
        with TemporaryDirectory() as local:
            _write(results, source, Path(local))
            _copy(Path(local), out)
    return out / "index.html"


def _write(results: Results, source: Source, out: Path) -> None:
    for name in ("figures", "tables"):
        (out / name).mkdir(parents=True, exist_ok=True)
    tables = _write_tables(results, out / "tables")
    keys = {dataset: f"-{_slug(dataset)}" for dataset in results.datasets}
    parts = [
        _part(results.of(dataset), dataset, folder=out / "figures", suffix=key if len(keys) > 1 else "")
        for dataset, key in keys.items()
    ]
    (out / "index.html").write_text(_render(results, source, parts, tables), "utf-8")


def _copy(local: Path, out: Folder) -> None:
    """Every file of a folder; the page last, when all that belongs to it is there."""
    files = sorted(path.relative_to(local) for path in local.rglob("*") if path.is_file())
    for file in sorted(files, key=lambda file: file.name == "index.html"):
        store.write_bytes(out / file.as_posix(), (local / file).read_bytes(), replace=True)


def is_current(folder: Folder) -> bool:
    """Whether FOLDER/report was written after all that it is made of: the results, and this package.

    The same store gives the same bytes, so writing it again would change nothing. False where the folder is a URI:
    asking for the time of every file takes longer than writing the report.
    """
    if not isinstance(folder, Path):
        return False
    index = folder / "report" / "index.html"
    if not index.is_file():
        return False
    made_of = [*folder.glob("*.yaml"), *folder.glob("*.parquet"), *folder.glob("trials/*"), *PACKAGE.rglob("*.*")]
    return all(path.stat().st_mtime < index.stat().st_mtime for path in made_of if path.suffix != ".pyc")


def _part(results: Results, dataset: str, *, folder: Path, suffix: str) -> Part:
    every = (whisker_frames, surface_frames, curve_frames, collapse_frames)
    frames = [frame for frames_of in every for frame in frames_of(results, dataset)]
    hung = [hang(frame, folder=folder, suffix=suffix) for frame in frames]
    sections = dict.fromkeys(picture.section for picture in hung)
    trials, rows = results.table.trials, score_rows(results)
    return Part(
        dataset=dataset,
        key=_slug(dataset),
        answer=answer(results, dataset),
        columns=columns(results),
        rows=rows,
        notes=notes(columns(results), rows),
        pictures={section: [p for p in hung if p.section == section] for section in sections},
        num_failed=int(has_failed(trials).sum()),
        num_trials=len(trials),
        collapse=collapse_counts(results, dataset),
        rank_accuracy=rank_accuracy(results),
        choices={space: choice_regrets(results, space) for space in "zh"},
        compared=compared(results.table, results.comparisons),
        axis_shares=axis_shares(results),
        expected_bests=expected_bests(results),
    )


def _write_tables(results: Results, folder: Path) -> list[tuple[str, str]]:
    """Write the tables; return each file's name with what it holds."""
    surfaces = _surface_table(results)
    tables = {
        "robustness": (results.measures, "every measure of every family, with intervals and reasons"),
        "scorecard": (results.scorecard, "the scorecard, wide"),
        "comparisons": (results.comparisons, "every family against the reference, paired"),
        "sensitivity": (results.sensitivity, "how much of the variance each axis explains"),
        "transfer": (results.transfer, "whether settings keep their ranks on other data sets and with other families"),
        "near_optimal_mass": (results.curve, "near-optimal mass over the tolerance"),
        "profiles": (results.profiles, "the outcome along one axis at a time"),
        "surfaces": (surfaces, "every surface, a row a point"),
    }
    for name, (frame, _) in tables.items():
        frame.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    surfaces.to_parquet(folder / "surfaces.parquet", index=False)
    named = [(f"{name}.csv", what) for name, (_, what) in tables.items()]
    return [*named, ("surfaces.parquet", "the same as Parquet")]


def _surface_table(results: Results) -> pd.DataFrame:
    """The columns of surfaces.parquet; where an axis has categories, places of all axes are text."""
    frames = [frame.drop(columns=["seed_sd", "num_failed"]) for frame in results.surfaces.values() if len(frame)]
    if not frames:
        return pd.DataFrame(columns=[name for name in SURFACE_COLUMNS if name not in ("seed_sd", "num_failed")])
    surfaces = pd.concat(frames, ignore_index=True)
    for end in ("x", "y"):
        if any(isinstance(value, str) for value in surfaces[end]):
            surfaces[end] = surfaces[end].map(lambda value: "" if pd.isna(value) else level(value)).astype("str")
        else:
            surfaces[end] = surfaces[end].astype(float)
    return surfaces


def _stored(folder: Folder, table: Table) -> Source:
    planned, stored = store.read_plan(folder), store.read(folder)
    return Source(
        facts=facts(read_study(folder, planned), stored, num_planned=table.num_planned),
        status=status_counts(stored, planned),
        test_images=[_test_images(name, dataset.num_test) for name, dataset in datasets_of(planned).items()],
        incomplete=len(stored) < table.num_planned,
        is_study=True,
    )


def _render(results: Results, source: Source, parts: Sequence[Part], tables: list[tuple[str, str]]) -> str:
    table = results.table
    return _templates().get_template("report.html.j2").render(
        study=table.name,
        outcome=quantity(table.outcome),
        parts=parts,
        source=source,
        notes=table.notes,
        ranges=axis_ranges(table),
        tables=tables,
        seeds=counted(table.trials["seed"].nunique() if len(table.trials) else len(table.baseline), "seed"),
        scattered=table.design != "grid",
        reference=table.reference,
        margin=quantity(table.outcome).difference(table.equivalence),
    )  # fmt: skip


def _test_images(dataset: str, count: int) -> tuple[str, str, str]:
    """A data set, the size of its test split, and what that alone does to an accuracy of .95, in points."""
    return dataset, f"{count:,}", f"{100 * math.sqrt(0.95 * 0.05 / count):.1f}"


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _slug(text: str) -> str:
    """Text as part of a file's name or an id."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower() or "data"
