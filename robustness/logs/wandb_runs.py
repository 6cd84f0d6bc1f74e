"""Runs as Weights & Biases has them: a project a study, grouped by family; offline unless the user chose otherwise."""

import os
import shutil
from pathlib import Path

import wandb

from robustness.logs.experiments import Experiment
from robustness.logs.runs import Run
from robustness.store import write_bytes

_UPLOAD_SECONDS = 60.0


class WandbRuns:
    """FOLDER/wandb/*run-*-TRIAL_ID, as `wandb sync` takes them, and FOLDER/logged/TRIAL_ID for each that is whole.

    A run's folder may be deleted once it is synchronised: the file in logged tells that it was there.

    Args:
        place: the folder.
        experiment: the study is the project, unless WANDB_PROJECT names one.

    Raises:
        ValueError: WANDB_MODE says that nothing shall be logged.
    """

    def __init__(self, place: str, experiment: Experiment) -> None:
        self.place = place
        self.project = os.environ.get("WANDB_PROJECT", experiment.study)
        if os.environ.get("WANDB_MODE") == "disabled":
            raise ValueError("WANDB_MODE is 'disabled'")
        self.marks = Path(place, "logged")
        self.marks.mkdir(parents=True, exist_ok=True)
        self.logged = {mark.name: mark.read_text() for mark in self.marks.glob("[!.]*")}

    def add(self, run: Run) -> None:
        """Log a run and end it; what was left of its trial by a kill, or failed, is deleted."""
        for old in Path(self.place, "wandb").glob(f"*run-*-{run.trial_id}"):
            shutil.rmtree(old)
        # A run of this name on the server is overwritten, too: that is so unless `resume` is given.
        new = wandb.init(
            project=self.project,
            id=run.trial_id,
            name=run.name,
            group=run.family[:100],
            job_type=str(run.hyperparameters["dataset"]),
            config=dict(run.hyperparameters),
            dir=self.place,
            mode=None if {"WANDB_MODE", "WANDB_API_KEY"} & os.environ.keys() else "offline",
            reinit="create_new",
            settings=_settings(),
        )
        for step, metrics in run.steps.items():
            new.log(dict(metrics), step=step)
        new.summary.update(dict(run.notes))
        new.finish(exit_code=int(run.failed))
        write_bytes(self.marks / run.trial_id, run.stamp.encode(), replace=True)
        self.logged[run.trial_id] = run.stamp


def _settings() -> wandb.Settings:
    """Nothing of this process and its machine, which did not train the trial; no line on the terminal."""
    return wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
        finish_timeout=_UPLOAD_SECONDS,
        finish_timeout_raises=True,
    )
