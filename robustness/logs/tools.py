"""The tools that track experiments: how each is opened, and where it writes."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from robustness.logs.experiments import Experiment, experiment_of
from robustness.logs.runs import RunLog, unlogged
from robustness.store import Folder, StoreError, read

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Tool:
    """One tool; the module that must be installed and the extra have its name.

    Args:
        place: where it writes, given a folder of its own.
        open: the runs at a place.
    """

    place: Callable[[Path], str]
    open: Callable[[str, Experiment], RunLog]


@dataclass(frozen=True)
class Logged:
    """What an export did: runs that it added or replaced, and those that were there."""

    added: int
    present: int


def _tensorboard(place: str, experiment: Experiment) -> RunLog:
    from robustness.logs.tensorboard_runs import TensorBoardRuns

    return TensorBoardRuns(place, experiment)


def _mlflow(place: str, experiment: Experiment) -> RunLog:
    from robustness.logs.mlflow_runs import MlflowRuns

    return MlflowRuns(place, experiment)


def _wandb(place: str, experiment: Experiment) -> RunLog:
    from robustness.logs.wandb_runs import WandbRuns

    return WandbRuns(place, experiment)


def _tracking_uri(home: Path) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home}/mlflow.db"


TOOLS: Mapping[str, Tool] = {
    "tensorboard": Tool(str, _tensorboard),
    "mlflow": Tool(_tracking_uri, _mlflow),
    "wandb": Tool(str, _wandb),
}


def check_installed(name: str, *, option: str) -> None:
    """Refuse a tool that there is not.

    Args:
        option: of the command line, for the message: `--log`.

    Raises:
        StoreError: no such tool, or it is not installed.
    """
    if name not in TOOLS:
        raise StoreError(f"{option}: expected one of {', '.join(TOOLS)}, got {name!r}")
    if importlib.util.find_spec(name) is None:
        raise StoreError(f'{option}: {name} is not installed: pip install "robustness[{name}]"')


def home_of(folder: Folder) -> Path:
    """Where logs of these results are: beside them; those of a URI in ./logs, since the tools need local files."""
    return folder.resolve() / "logs" if isinstance(folder, Path) else Path("logs", folder.name).resolve()


def one_line(error: Exception) -> str:
    """What happened, in one short line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def open_log(folder: Folder, name: str, place: str) -> RunLog:
    """The runs of these results that a tool has at a place.

    Raises:
        StoreError: there is no study in the folder.
        Exception: whatever the tool raises.
    """
    return TOOLS[name].open(place, experiment_of(folder))


def export_runs(folder: Folder, name: str, place: str, *, on_progress: Progress = lambda share: None) -> Logged:
    """Log every stored trial that is not logged there, or was run again since.

    Args:
        folder: what a sweep left behind.
        name: of the tool.
        place: a folder, or for MLflow a tracking URI.
        on_progress: called after each run with the share that is done, 0 to 1.

    Raises:
        StoreError: there is no study in the folder, it is damaged, or the tool can't log there.
    """
    total, added = len(read(folder, ["trial_id"])), 0
    try:
        log = open_log(folder, name, place)
        for run in unlogged(folder, log.logged):
            log.add(run)
            added += 1
            on_progress(min(len(log.logged) / total, 1.0))
    except StoreError:
        raise
    except Exception as error:  # Whatever the tool raises.
        raise StoreError(f"--{name}: {place}: can't log there: {one_line(error)}") from None
    return Logged(added, total - added)
