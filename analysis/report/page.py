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

from analysis.labels import counted, quantity
from analysis.report.curve_frames import curve_frames
from analysis.report.facts import Grid, axis_ranges, collapse_counts, compared, facts, status_counts
from analysis.report.frame import Picture, hang
from analysis.report.prose import answer
from analysis.report.results import Results, compute, has_failed
from analysis.report.score import Column, Row, columns, notes, score_rows
from analysis.report.surface_frames import surface_frames
from analysis.stored import read_study
from analysis.table import datasets_of, from_store
from robustness import store
from robustness.store import Folder

PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Part:
    """What the page says about one data set; `pictures` are by section."""

    dataset: str
    key: str
    answer: Sequence[str]
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Mapping[str, str]
    pictures: Mapping[str, Sequence[Picture]]
    num_failed: int
    num_trials: int
    collapse: Grid
    compared: Grid


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
    results = compute(from_store(folder), folder)
    out = folder / "report" if out is None else out
    if isinstance(out, Path):
        _write(folder, results, out)
    else:
        with TemporaryDirectory() as local:
            _write(folder, results, Path(local))
            _copy(Path(local), out)
    return out / "index.html"


def _write(folder: Folder, results: Results, out: Path) -> None:
    for name in ("figures", "tables"):
        (out / name).mkdir(parents=True, exist_ok=True)
    tables = _write_tables(results, out / "tables")
    keys = {dataset: f"-{_slug(dataset)}" for dataset in results.datasets}
    parts = [
        _part(results.of(dataset), dataset, folder=out / "figures", suffix=key if len(keys) > 1 else "")
        for dataset, key in keys.items()
    ]
    (out / "index.html").write_text(_render(folder, results, parts, tables), "utf-8")


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
    frames = [*surface_frames(results, dataset), *curve_frames(results, dataset)]
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
        collapse=collapse_counts(results.table, dataset),
        compared=compared(results.table, results.comparisons),
    )


def _write_tables(results: Results, folder: Path) -> list[tuple[str, str]]:
    """Write the tables; return each file's name with what it holds."""
    surfaces = pd.concat(list(results.surfaces.values()), ignore_index=True).drop(columns="num_failed")
    tables = {
        "robustness": (results.measures, "every measure of every family, with intervals and reasons"),
        "scorecard": (results.scorecard, "the scorecard, wide"),
        "comparisons": (results.comparisons, "every family against the reference, paired"),
        "near_optimal_mass": (results.curve, "near-optimal mass over the tolerance"),
        "profiles": (results.profiles, "the outcome along one axis at a time"),
        "surfaces": (surfaces, "every surface, a row a point"),
    }
    for name, (frame, _) in tables.items():
        frame.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    surfaces.to_parquet(folder / "surfaces.parquet", index=False)
    named = [(f"{name}.csv", what) for name, (_, what) in tables.items()]
    return [*named, ("surfaces.parquet", "the same as Parquet")]


def _render(folder: Folder, results: Results, parts: Sequence[Part], tables: list[tuple[str, str]]) -> str:
    planned, stored = store.read_plan(folder), store.read(folder)
    study = read_study(folder, planned)
    return _templates().get_template("report.html.j2").render(
        study=study.name,
        outcome=quantity(results.table.outcome),
        parts=parts,
        facts=facts(study, stored, num_planned=results.table.num_planned),
        status=status_counts(planned, stored),
        ranges=axis_ranges(results.table),
        tables=tables,
        test_images=[_test_images(name, dataset.num_test) for name, dataset in datasets_of(planned).items()],
        seeds=counted(len(study.seeds), "seed"),
        scattered=results.table.design != "grid",
        reference=results.table.reference,
        margin=quantity(results.table.outcome).difference(results.table.equivalence),
        incomplete=len(stored) < results.table.num_planned,
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
