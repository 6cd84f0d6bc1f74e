"""Commands on results: how they stand, what they say, and what other tools read."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from robustness.cli.options import finite_numbers, writable_folder
from robustness.cli.terminal import FolderArgument, TrialArgument, show

if TYPE_CHECKING:
    from analysis.table import Table as TidyTable
    from robustness.status import Standing
    from robustness.store import Folder


class ReportFormat(StrEnum):
    """What `report` writes."""

    HTML = "html"
    PDF = "pdf"
    PAPER = "paper"


_FORMAT_HELP = (
    "pdf: also OUT/report.pdf, printed by an installed Chromium; "
    "paper: also OUT/figures/*.pdf, 3.25 and 6.75 inches wide"
)
_AXES_HELP = (
    '"lr:log,batch_size:log2,kernel": columns with their scales (linear, log, log2, category); '
    "without one numbers are linear and words categories"
)


def status(
    folder: FolderArgument,
    as_json: Annotated[bool, typer.Option("--json", help="the same as JSON, for scripts")] = False,
) -> None:
    """Show what is done, failed, running and left, and the best so far; reads only, while others write."""
    from robustness.status import standing
    from robustness.store import open_folder

    found = standing(open_folder(folder))
    if as_json:
        print(json.dumps(found.plain(), indent=2))
        return
    _show_counts(found)
    _show_best(found)
    print("; ".join(filter(None, (found.progress, found.pace(datetime.now(UTC))))))


def trial(folder: FolderArgument, trial_id: TrialArgument) -> int:
    """Run one trial again, alone, and compare what comes of it with what is stored; stores nothing."""
    from robustness.cli.again import again
    from robustness.store import open_folder

    return 0 if again(open_folder(folder), trial_id).status == "ok" else 1


def embed(
    folder: FolderArgument,
    trial_id: TrialArgument,
    out: Annotated[Path, typer.Option("--out", help="the file to write: .npz or .parquet")],
) -> None:
    """Write what a kept encoder makes of all labelled images: h, z, labels and split."""
    from robustness.cli.again import planned_row
    from robustness.store import open_folder, read_plan
    from robustness.training.embed import embed as write_embeddings

    results = open_folder(folder)
    row = planned_row(results, read_plan(results), trial_id)
    count = write_embeddings(results, row["trial_id"], out)
    print(f"{count:,} embeddings: {out}")


def report(
    folders: Annotated[
        list[str] | None,
        typer.Argument(metavar="DIR...", help="the results of studies: folders or URIs", show_default=False),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", help="where to write: a folder or a URI [default: DIR/report, where DIR is one]"),
    ] = None,
    table: Annotated[
        str | None, typer.Option("--table", metavar="FILE", help="instead of DIR a Parquet or CSV file, a row a trial")
    ] = None,
    group: Annotated[str | None, typer.Option("--group", metavar="COL", help="the families")] = None,
    axes: Annotated[str | None, typer.Option("--axes", metavar="TEXT", help=_AXES_HELP)] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", metavar="COL", help="what is analysed")] = None,
    replicate: Annotated[str | None, typer.Option("--replicate", metavar="COL", help="the seeds")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", metavar="COL", help="the data sets")] = None,
    status: Annotated[
        str | None,
        typer.Option(
            "--status", metavar="COL", help="true/false, yes/no or 1/0, true: failed; or words: ok, stopped, failed"
        ),
    ] = None,
    floor: Annotated[
        str | None, typer.Option("--floor", metavar="X", help="what a failure counts as [default: the worst outcome]")
    ] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", metavar="NAME", help="the family that others are compared with")
    ] = None,
    maximize: Annotated[bool, typer.Option("--maximize/--minimize", help="which outcomes are better")] = True,
    tolerances: Annotated[
        str | None, typer.Option("--tolerances", metavar="TEXT", help='"0.01,0.02": how far below the best is good')
    ] = None,
    normalised: Annotated[
        bool, typer.Option("--normalised", help="the outcome is scaled to [0, 1] on each data set already")
    ] = False,
    form: Annotated[ReportFormat, typer.Option("--format", help=_FORMAT_HELP)] = ReportFormat.HTML,
) -> None:
    """Write the sensitivity report of studies, or of any table: one HTML page, figures and tables.

    Several studies are pooled where they differ in nothing but families, seeds and data sets, and stand side by side
    where not.
    """
    from analysis.report import write_all, write_table
    from robustness.store import open_folder

    if bool(folders) == (table is not None):
        raise typer.BadParameter("expected either DIR or --table FILE")
    options: dict[str, Any] = {
        "group": group, "axes": axes, "outcome": outcome, "replicate": replicate, "dataset": dataset,
        "status": status, "floor": floor, "reference": reference, "tolerances": tolerances,
    }  # fmt: skip
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if folders and (given or normalised or not maximize):
        raise typer.BadParameter(f"{', '.join(given) or 'these options'}: only with --table FILE")
    target = None if out is None else writable_folder(out)
    if folders:
        target = _one_place(folders) if target is None else target
        browser = _browser(form, target)
        studies = [open_folder(folder) for folder in folders]
        _finish(write_all(studies, target, for_print=form is ReportFormat.PAPER), browser)
        return
    absent = [f"--{name}" for name, value in (("axes", axes), ("outcome", outcome), ("out", out)) if value is None]
    if absent or target is None:
        raise typer.BadParameter(f"--table needs {', '.join(absent)}")
    options |= {"direction": "maximize" if maximize else "minimize", "normalised": normalised}
    browser = _browser(form, target)
    _finish(write_table(_table(str(table), options), target, for_print=form is ReportFormat.PAPER), browser)


def _one_place(folders: list[str]) -> "Folder":
    from robustness.store import open_folder

    if len(folders) > 1:
        raise typer.BadParameter(f"a report of {len(folders)} studies needs --out")
    return open_folder(folders[0]) / "report"


def _browser(form: ReportFormat, out: "Folder") -> str | None:
    """What prints the page, looked for before any work; None where nothing is printed."""
    from analysis.report.pdf import find_browser

    if form is not ReportFormat.PDF:
        return None
    if not isinstance(out, Path):
        raise typer.BadParameter(f"--format pdf: expected --out to be a local folder, got '{out}'")
    return find_browser()


def _finish(page: "Folder", browser: str | None) -> None:
    from analysis.report.pdf import print_page

    print(f"report: {page}")
    if browser is not None:
        print(f"pdf: {print_page(Path(str(page)), browser=browser)}")


def _table(path: str, options: dict[str, Any]) -> "TidyTable":
    """Read anybody's table."""
    from analysis.table.tidy import from_file

    floor, tolerances = options["floor"], options["tolerances"]
    if floor is not None:
        (options["floor"],) = finite_numbers("--floor", [floor], rule="a finite number")
    if tolerances is not None:
        rule = "finite numbers above 0 such as 0.01,0.02"
        options["tolerances"] = finite_numbers("--tolerances", tolerances.split(","), rule=rule, above=0.0)
    return from_file(path, **options)


def verify(folder: FolderArgument) -> int:
    """Check every stored file against the plan, the schema and its checksums; exit code 1 if not sound."""
    from analysis.labels import visible
    from robustness import store

    findings = store.verify(store.open_folder(folder))
    for line in findings.problems:
        print(visible(line))
    left = f"; {findings.missing:,} trials are not stored yet" if findings.missing else ""
    print(f"{len(findings.problems):,} problems{left}" if findings.problems else f"sound{left}")
    return 1 if findings.problems else 0


def compact(folder: FolderArgument) -> None:
    """Join the files of many packs into few; nothing is lost, whenever it is interrupted."""
    from robustness import store

    results = store.open_folder(folder)
    store.read_study(results)
    print(store.compact(results))


def _show_counts(found: "Standing") -> None:
    from analysis.labels import short
    from analysis.table.names import LONGEST

    table = Table("family")
    for name in ("done", "failed", "running", "left"):
        table.add_column(name, justify="right")
    for each in found.families:
        counts = (f"{each.done:,}", each.failures, f"{each.running:,}", f"{each.left:,}")
        table.add_row(short(each.family, longest=LONGEST), *counts)
    show(table)


def _show_best(found: "Standing") -> None:
    from analysis.labels import quantity, setting, short
    from analysis.table.names import LONGEST

    if not found.best:
        return
    shown = quantity(found.outcome)
    several = len({best.dataset for best in found.best}) > 1
    table = Table(*(["data set"] if several else []), "family")
    table.add_column(shown.title, justify="right")
    table.add_column("seeds", justify="right")
    table.add_column("best configuration so far")
    for best in found.best:
        family, dataset = (short(name, longest=LONGEST) for name in (best.family, best.dataset))
        cells = (family, shown.number(best.mean), str(best.seeds), setting(best.configuration))
        table.add_row(*([dataset] if several else []), *cells)
    show(table)
