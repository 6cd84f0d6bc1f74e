"""The `robustness` command."""

import errno
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from search_spaces import Study, load_study, shipped_studies

INTERRUPTED = 130
LATEST_PACKS = 12
MISTAKES = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT)
"""System errors that a path or a full disk causes, and no fault of the program."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="How much does a contrastive loss depend on its hyperparameters, and when do its embeddings collapse?",
)

StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="name of a shipped study, or a path to a YAML file")
]
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="the results folder of a study")]
OutOption = Annotated[Path | None, typer.Option("--out", help="results folder [default: results/NAME]")]
AddressOption = Annotated[
    str | None, typer.Option("--address", help="a Ray cluster: auto or HOST:PORT [default: this machine]")
]


def main() -> None:
    """Run the command; a user's mistake is one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except typer.TyperException as error:
        if str(error):
            _complain(f"{error}; see robustness --help")
        code = 2
    except (ValueError, OSError) as error:
        if not _is_mistake(error):
            raise
        _complain(" ".join(str(error).split()))
        code = 2
    if code == INTERRUPTED:
        _complain("interrupted; what was stored stays, the same command continues")
    sys.exit(code or 0)


@app.command()
def run(study: StudyArgument, out: OutOption = None, address: AddressOption = None) -> int:
    """Plan, sweep and report a study; again, and it continues where it stopped."""
    loaded = load_study(study)
    folder = out or Path("results") / loaded.name
    code = _sweep(loaded, folder, address)
    from analysis.report import is_current

    if is_current(folder):
        print(f"report: {folder / 'report' / 'index.html'}, written before and still right")
    else:
        report(folder)
    return code


@app.command()
def sweep(study: StudyArgument, out: OutOption = None, address: AddressOption = None) -> int:
    """Train every planned trial that is not stored yet."""
    loaded = load_study(study)
    return _sweep(loaded, out or Path("results") / loaded.name, address)


@app.command()
def plan(study: StudyArgument) -> None:
    """Show what a study would train; trains nothing and needs no data."""
    import robustness.plan as planning
    from robustness.trial import Trial

    loaded = load_study(study)
    rows = planning.plan(loaded)
    updates = [planning.num_updates(Trial.from_json(text)) for text in rows["trial"]]
    rows = rows.assign(updates=updates, images=rows["batch_size"].fillna(0) * updates)
    table = Table("family", "configurations", "seeds", "trials", "updates", "images")
    for family, own in rows.groupby("family", sort=False):
        seeds = own["seed"].nunique()
        counts = (
            len(own) // seeds // own["dataset"].nunique(),
            seeds,
            len(own),
            own["updates"].sum(),
            own["images"].sum(),
        )
        table.add_row(str(family), *(f"{int(count):,}" for count in counts))
    _right_aligned(table)
    Console().print(table)
    hours = sum(planning.pack_costs(rows, every=loaded.evaluation.every).values()) / 3600
    packs = rows["pack_id"].nunique()
    print(f"{loaded.name}: {len(rows):,} trials in {packs:,} packs; about {hours:.1f} core-hours on a current CPU")


@app.command()
def status(folder: FolderArgument) -> None:
    """Show what is done, failed and left; reads the plan and the store only."""
    from robustness import store

    planned, stored = store.read_plan(folder), store.read(folder)
    table = Table("family", "done", "failed", "left")
    for family, own in planned.groupby("family", sort=False):
        mine = stored[stored["trial_id"].isin(own["trial_id"])]
        failed = int((mine["status"] != "ok").sum())
        table.add_row(str(family), *(f"{n:,}" for n in (len(mine), failed, len(own) - len(mine))))
    _right_aligned(table)
    Console().print(table)
    mine = stored[stored["trial_id"].isin(planned["trial_id"])]
    left = len(planned) - len(mine)
    print(f"{len(mine):,} of {len(planned):,} trials stored, {left:,} left{_rate(mine, left)}")


@app.command()
def report(
    folder: FolderArgument,
    out: Annotated[Path | None, typer.Option("--out", help="where to write [default: DIR/report]")] = None,
) -> None:
    """Write the sensitivity report of what is stored: one HTML page, figures and tables."""
    from analysis.report import write

    page = write(folder, out)
    print(f"report: {page}")


@app.command()
def embed(
    folder: FolderArgument,
    trial_id: Annotated[str, typer.Argument(metavar="TRIAL_ID", help="a trial whose encoder was kept")],
    out: Annotated[Path, typer.Option("--out", help="the file to write: .npz or .parquet")],
) -> None:
    """Write what a kept encoder makes of all labelled images: h, z, labels and split."""
    from robustness.training.embed import embed as write_embeddings

    count = write_embeddings(folder, trial_id, out)
    print(f"{count:,} embeddings: {out}")


@app.command()
def studies() -> None:
    """List the studies that ship."""
    table = Table("name", "families", "design", "what it asks")
    for name, text in shipped_studies().items():
        study = load_study(name)
        comment = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
        table.add_row(name, str(len(study.families)), study.design.kind, " ".join(comment))
    Console().print(table)


def _sweep(study: Study, folder: Path, address: str | None) -> int:
    from robustness.sweep import sweep as run_sweep

    started = time.monotonic()
    summary = run_sweep(study, folder, address=address)
    seconds = time.monotonic() - started
    print(
        f"{study.name}: {summary.planned:,} trials planned, {summary.trained:,} trained now in {seconds:.0f} s, "
        f"{summary.failed:,} failed, {summary.left:,} left; results: {folder / 'trials'}"
    )
    return 1 if summary.failed or summary.left else 0


def _rate(stored: "pd.DataFrame", left: int) -> str:  # type: ignore[name-defined]
    """`; 31 trials a minute, about 12 min left`, from when the latest packs were stored."""
    from robustness.durations import duration

    packs = stored.groupby("pack_id")["finished_at"].max().nlargest(LATEST_PACKS)
    times = stored.loc[stored["pack_id"].isin(packs.index), "finished_at"]
    seconds = (times.max() - times.min()).total_seconds() if len(times) else 0.0
    if seconds <= 0:
        return ""
    per_second = (times > times.min()).sum() / seconds
    time_left = f", about {duration(left / per_second)} left" if left and per_second else ""
    return f"; {60 * per_second:.0f} trials a minute{time_left}"


def _right_aligned(table: Table) -> None:
    for column in table.columns[1:]:
        column.justify = "right"


def _is_mistake(error: Exception) -> bool:
    """Whether a user caused it: our own one-line errors, and files that can't be written."""
    from robustness.store import StoreError
    from search_spaces import StudyError

    if isinstance(error, OSError):
        return error.errno in MISTAKES
    if isinstance(error, StudyError | StoreError):
        return True
    from robustness.data import DataError

    return isinstance(error, DataError)


def _complain(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
