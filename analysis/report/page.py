"""The page: every number and figure of a study in one file that opens without a network."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.figures import drawn_at
from analysis.labels import Quantity, counted, listed, on_page, quantity
from analysis.report.collapse_frames import collapse_frames
from analysis.report.collapse_tables import NotedGrid, choice_regrets, collapse_counts, rank_accuracy
from analysis.report.curve_frames import curve_frames
from analysis.report.facts import Grid, axis_ranges, compared, errors
from analysis.report.frame import PRINTS, Frame, Picture, hang, print_out
from analysis.report.numbers import axis_shares, expected_bests
from analysis.report.policies import policy_grid
from analysis.report.product_frames import product_frames
from analysis.report.prose import Passage, answer
from analysis.report.results import Results, has_failed
from analysis.report.score import Column, Row, columns, notes, score_rows
from analysis.report.source import Source, names_of, source_of, source_of_table
from analysis.report.surface_frames import surface_frames
from analysis.report.tables import Group, group_of, transfers, write_tables
from analysis.report.transferred import between_places, place, transfer_grid, transfer_passage
from analysis.report.whisker_frames import whisker_frames
from analysis.table import Table
from analysis.table.pooling import pooled, relations
from analysis.table.store import Stored, read_stored, table_of
from robustness import store
from robustness.store import Folder

PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Part:
    """What the page says about one data set of one study, or of studies that are pooled; `pictures` are by section.

    Args:
        place: the data set, with its study where there are several.
        key: the same as part of an id.
    """

    place: str
    key: str
    outcome: Quantity
    reference: str | None
    margin: str
    answer: Sequence[Passage]
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Mapping[str, str]
    pictures: Mapping[str, Sequence[Picture]]
    num_failed: int
    num_trials: int
    errors: Grid
    collapse: Grid
    rank_accuracy: NotedGrid
    choices: Mapping[str, NotedGrid]
    compared: Grid
    axis_shares: Grid
    expected_bests: Grid
    policies: Grid
    usual_policy: str


def write(folder: Folder, out: Folder | None = None, *, for_print: bool = False) -> Folder:
    """Write the report of a study: OUT/index.html, OUT/figures/*.{svg,png} and OUT/tables/*.{csv,parquet}.

    The same store gives the same bytes.

    Args:
        folder: what a sweep left behind, whether it is complete or not.
        out: where to write; FOLDER/report unless given.
        for_print: whether figures are also written as figures/*-{column,page}.pdf, for a paper.

    Returns:
        The path of index.html.

    Raises:
        ValueError: there is no study in `folder`, it is damaged, or no trial has finished.
    """
    return write_all([folder], folder / "report" if out is None else out, for_print=for_print)


def write_all(folders: Sequence[Folder], out: Folder, *, for_print: bool = False) -> Folder:
    """Write one report of several studies: pooled where `analysis.table.pooling` finds that they may be compared
    trial by trial, side by side where not, and what settings of one are worth in the other.

    Returns:
        The path of index.html.

    Raises:
        ValueError: there is no study in a folder, it is damaged, or no trial has finished.
    """
    studies = [read_stored(folder) for folder in folders]
    together = pooled(studies)
    names = names_of(together)
    groups = [
        group_of(name, table_of(members), history=_history(members))
        for name, members in zip(names, together, strict=True)
    ]
    return _publish(
        groups, source_of(studies, relations(together, names)), out, several=len(studies) > 1, for_print=for_print
    )


def write_table(table: Table, out: Folder, *, for_print: bool = False) -> Folder:
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
    group = group_of(table.name, table)
    return _publish([group], source_of_table(group.results.table), out, for_print=for_print)


def _history(members: Sequence[Stored]) -> pd.DataFrame:
    """Evaluated epochs of all trials, those of a trial that several studies have once."""
    every = [store.read_history(member.folder) for member in members]
    if len(every) == 1:
        return every[0]
    return pd.concat(every, ignore_index=True).drop_duplicates(["trial_id", "epoch"], ignore_index=True)


def _publish(groups: Sequence[Group], source: Source, out: Folder, **how: bool) -> Folder:
    if isinstance(out, Path):
        _write(groups, source, out, **how)
    else:
        with TemporaryDirectory() as local:
            _write(groups, source, Path(local), **how)
            _copy(Path(local), out)
    return out / "index.html"


def _write(
    groups: Sequence[Group], source: Source, out: Path, *, several: bool = False, for_print: bool = False
) -> None:
    for name in ("figures", "tables"):
        (out / name).mkdir(parents=True, exist_ok=True)
    rows = transfers(groups)
    tables = write_tables(groups, rows, out / "tables", several=several)
    moved = between_places(rows, several=len(groups) > 1)
    places = [(group, dataset) for group in groups for dataset in group.results.datasets]
    titles = [place(group.name, dataset, len(groups) > 1) for group, dataset in places]
    keys = _keys(titles)
    parts = [
        _part(
            group.results.of(dataset), dataset, title, moved=moved,
            key=key, folder=out / "figures", suffix=f"-{key}" if len(places) > 1 else "",
        )
        for (group, dataset), title, key in zip(places, titles, keys, strict=True)
    ]  # fmt: skip
    for (group, dataset), key in zip(places, keys, strict=True) if for_print else ():
        suffix = f"-{key}" if len(places) > 1 else ""
        _print_out(group.results.of(dataset), dataset, folder=out / "figures", suffix=suffix)
    (out / "index.html").write_text(_render(groups, source, parts, tables, transfer_grid(moved)), "utf-8")


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


def _frames(results: Results, dataset: str) -> Iterator[Frame]:
    for frames_of in (whisker_frames, surface_frames, curve_frames, collapse_frames, product_frames):
        yield from frames_of(results, dataset)


def _print_out(results: Results, dataset: str, *, folder: Path, suffix: str) -> None:
    for width, (inches, scale) in PRINTS.items():
        with drawn_at(inches, scale=scale):
            for frame in _frames(results, dataset):
                print_out(frame, folder=folder, suffix=suffix, width=width)


def _part(
    results: Results, dataset: str, title: str, *, moved: pd.DataFrame, key: str, folder: Path, suffix: str
) -> Part:
    hung = [hang(frame, folder=folder, suffix=suffix) for frame in _frames(results, dataset)]
    sections = dict.fromkeys(picture.section for picture in hung)
    trials, rows = results.table.trials, score_rows(results)
    shown = quantity(results.table.outcome)
    return Part(
        place=title,
        key=key,
        outcome=shown,
        reference=results.table.reference,
        margin=shown.difference(results.table.equivalence),
        answer=[*answer(results, dataset), *transfer_passage(moved, title)],
        columns=columns(results),
        rows=rows,
        notes=notes(columns(results), rows),
        pictures={section: [p for p in hung if p.section == section] for section in sections},
        num_failed=int(has_failed(trials).sum()),
        num_trials=len(trials),
        errors=errors(results.table),
        collapse=collapse_counts(results, dataset),
        rank_accuracy=rank_accuracy(results),
        choices={space: choice_regrets(results, space) for space in "zh"},
        compared=compared(results.table, results.comparisons),
        axis_shares=axis_shares(results),
        expected_bests=expected_bests(results),
        policies=policy_grid(results),
        usual_policy=str(results.policies["baseline"].iloc[0]) if len(results.policies) else "",
    )


def _render(
    groups: Sequence[Group],
    source: Source,
    parts: Sequence[Part],
    tables: list[tuple[str, str]],
    transferred: tuple[Grid, int],
) -> str:
    found = [group.results.table for group in groups]
    ranges = [axis_ranges(table) for table in found]
    if len(groups) > 1:
        rows = [[group.name, *row] for group, of in zip(groups, ranges, strict=True) for row in of.rows]
        ranges = [Grid(["study", *ranges[0].columns], rows)]
    seeds = (table.trials["seed"].nunique() if len(table.trials) else len(table.baseline) for table in found)
    return _templates().get_template("report.html.j2").render(
        study=listed(list(dict.fromkeys(run.name for run in source.runs))),
        parts=parts,
        source=source,
        notes=[note for table in found for note in table.notes],
        ranges=ranges[0],
        tables=tables,
        seeds=listed([counted(count, "seed") for count in dict.fromkeys(seeds)]),
        scattered=any(table.design != "grid" for table in found),
        gridded=any(table.design == "grid" for table in found),
        transferred=transferred[0],
        num_transferred=transferred[1],
    )  # fmt: skip


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        finalize=on_page,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _keys(titles: Sequence[str]) -> list[str]:
    """Each title as part of a file's name or an id, no two the same."""
    keys: list[str] = []
    for title in titles:
        slug = re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-").lower() or "data"
        same = sum(key == slug or key.startswith(f"{slug}-again-") for key in keys)
        keys.append(f"{slug}-again-{same}" if same else slug)
    return keys
