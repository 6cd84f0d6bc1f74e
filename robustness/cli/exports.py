"""The command that writes results for other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustness.cli.terminal import FolderArgument, progress

if TYPE_CHECKING:
    from robustness.store import Folder


def export(
    folder: FolderArgument,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="every stored trial, without columns of lists")
    ] = None,
    optuna: Annotated[
        str | None, typer.Option("--optuna", metavar="URL", help="a study a family, in a database: sqlite:///my.db")
    ] = None,
    tensorboard: Annotated[
        str | None, typer.Option("--tensorboard", metavar="FOLDER", help="a run a trial, with their hyperparameters")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option("--mlflow", metavar="URI", help="a run a trial, at a tracking URI: sqlite:///my.db")
    ] = None,
    wandb: Annotated[
        str | None, typer.Option("--wandb", metavar="FOLDER", help="a run a trial, offline unless WANDB_MODE says else")
    ] = None,
) -> None:
    """Write the trials for other tools; again, and what is new is added."""
    from robustness.export import to_csv, to_optuna
    from robustness.logs import check_installed
    from robustness.store import open_folder

    places = {"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb}
    tools = {name: place for name, place in places.items() if place is not None}
    if csv is None and optuna is None and not tools:
        raise typer.BadParameter(
            "expected --csv FILE, --optuna URL, --tensorboard FOLDER, --mlflow URI or --wandb FOLDER"
        )
    for name in tools:
        check_installed(name, option=f"--{name}")
    results = open_folder(folder)
    if csv is not None:
        print(f"{to_csv(results, csv):,} trials: {csv}")
    if optuna is not None:
        with progress() as bar:
            task = bar.add_task("export", total=1.0)
            written = to_optuna(results, optuna, on_progress=lambda share: bar.update(task, completed=share))
        print(f"{written.added:,} trials added to {written.studies} Optuna studies, {written.present:,} were there")
    for name, place in tools.items():
        _export_runs(results, name, place)


def _export_runs(results: "Folder", name: str, place: str) -> None:
    from robustness.logs import export_runs

    with progress() as bar:
        task = bar.add_task(name, total=1.0)
        logged = export_runs(results, name, place, on_progress=lambda share: bar.update(task, completed=share))
    print(f"{logged.added:,} trials logged to {name}, {logged.present:,} were there")
