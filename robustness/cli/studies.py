"""Commands on studies: what one asks, what it would train, and training it."""

import json
import math
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from robustness.cli.terminal import show
from search_spaces import Study, load_study, shipped_studies

if TYPE_CHECKING:
    from robustness.store import Folder

StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="name of a shipped study, or a path to a YAML file")
]
OutOption = Annotated[
    str | None, typer.Option("--out", help="results: a folder, or a URI like s3://bucket/mine [default: results/NAME]")
]
AddressOption = Annotated[
    str | None, typer.Option("--address", help="a Ray cluster: auto or HOST:PORT [default: this machine]")
]
InsecureOption = Annotated[
    bool,
    typer.Option("--insecure", help="join a cluster that asks for no token: whoever reaches it runs code"),
]
RetryOption = Annotated[bool, typer.Option("--retry-failed", help="run stored trials that failed again")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="train at most N trials now, in whole packs")
]
BudgetOption = Annotated[
    float | None,
    typer.Option("--budget-hours", metavar="H", help="save what runs and end after H hours; seeds one after another"),
]
LogOption = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        metavar="TOOL",
        help="tensorboard, mlflow or wandb, each an extra of that name; may be repeated: a run a trial in DIR/logs "
        "(./logs where DIR is a URI), at MLFLOW_TRACKING_URI if that is set, and offline unless WANDB_MODE or "
        "WANDB_API_KEY is; the same command adds what is missing",
    ),
]


def run(
    study: StudyArgument,
    out: OutOption = None,
    address: AddressOption = None,
    insecure: InsecureOption = False,
    retry_failed: RetryOption = False,
    limit: LimitOption = None,
    budget_hours: BudgetOption = None,
    log: LogOption = None,
) -> int:
    """Plan, sweep and report a study; again, and it continues where it stopped."""
    from analysis.report import is_current, write

    # Before the sweep: the file may be edited meanwhile.
    folder = _results(load_study(study), out)
    code = sweep(study, out, address, insecure, retry_failed, limit, budget_hours, log)
    if is_current(folder):
        print(f"report: {folder / 'report' / 'index.html'}, written before and still right")
    else:
        print(f"report: {write(folder)}")
    return code


def sweep(
    study: StudyArgument,
    out: OutOption = None,
    address: AddressOption = None,
    insecure: InsecureOption = False,
    retry_failed: RetryOption = False,
    limit: LimitOption = None,
    budget_hours: BudgetOption = None,
    log: LogOption = None,
) -> int:
    """Train every planned trial that is not stored yet."""
    from robustness.logs import check_installed, following
    from robustness.sweep import sweep as run_sweep

    loaded = load_study(study)
    folder = _results(loaded, out)
    check_budget(budget_hours)
    if insecure and address is None:
        raise typer.BadParameter("--insecure: expected --address beside it; a cluster of this machine has a token")
    tools = log or []
    for name in tools:
        check_installed(name, option="--log")
    started = time.monotonic()
    with following(folder, tools):
        summary = run_sweep(
            loaded,
            folder,
            address=address,
            insecure=insecure,
            retry_failed=retry_failed,
            limit=limit,
            budget_hours=budget_hours,
        )
    seconds = time.monotonic() - started
    print(
        f"{loaded.name}: {summary.planned:,} trials planned, {summary.trained:,} trained now in {seconds:.0f} s, "
        f"{summary.failed:,} failed, {summary.left:,} left; results: {folder / 'trials'}"
    )
    # What is left because of a limit or a budget is no failure.
    return 1 if summary.failed or (summary.left and limit is None and budget_hours is None) else 0


def plan(
    study: StudyArgument,
    measure: Annotated[
        bool, typer.Option("--measure", help="measure updates on this machine, for a better estimate of the time")
    ] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, metavar="N", help="when N workers would be done")
    ] = None,
    budget_hours: Annotated[
        float | None, typer.Option("--budget-hours", metavar="H", help="and what they would have done after H hours")
    ] = None,
) -> None:
    """Show what a study would train and how long that takes; trains nothing and needs no data."""
    import robustness.plan as planning
    from analysis.labels import short
    from analysis.table.names import LONGEST
    from robustness.cli.estimates import print_estimate
    from robustness.trial import Trial

    check_budget(budget_hours)
    loaded = load_study(study)
    rows = planning.expected(loaded)
    trials = [Trial.from_json(text) for text in rows["trial"]]
    updates = [planning.num_updates(trial) for trial in trials]
    images = [planning.images_per_update(trial) * count for trial, count in zip(trials, updates, strict=True)]
    rows = rows.assign(updates=updates, images=images)
    table = Table("family")
    for name in ("configurations", "seeds", "trials", "updates", "images"):
        table.add_column(name, justify="right")
    for family, own in rows.groupby("family", sort=False):
        seeds = own["seed"].nunique()
        configurations = len(own) // seeds // own["dataset"].nunique()
        counts = (configurations, seeds, len(own), own["updates"].sum(), own["images"].sum())
        table.add_row(short(str(family), longest=LONGEST), *(f"{int(count):,}" for count in counts))
    show(table)
    print_estimate(loaded, rows, measure=measure, workers=workers, budget_hours=budget_hours)


def studies() -> None:
    """List the studies that ship."""
    table = Table("name", "families", "design", "what it asks")
    for name, text in shipped_studies().items():
        study = load_study(name)
        comment = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
        table.add_row(name, str(len(study.families)), study.design.kind, " ".join(comment))
    show(table)


def schema() -> None:
    """Print the JSON Schema of the study file: editors check and complete with it."""
    from robustness.cli.schema import study_schema

    print(json.dumps(study_schema(), indent=2))


def check_budget(hours: float | None) -> None:
    """Refuse what is no time.

    Raises:
        BadParameter: not a positive number.
    """
    if hours is not None and not 0 < hours < math.inf:
        raise typer.BadParameter(f"--budget-hours: expected a positive number of hours, got {hours:g}")


def _results(study: Study, out: str | None) -> "Folder":
    from robustness.store import open_folder

    return open_folder(out or f"results/{study.name}")
