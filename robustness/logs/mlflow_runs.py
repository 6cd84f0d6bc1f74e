"""Runs as MLflow has them: an experiment a study, with tags that tell which trial each run is."""

import logging
from collections.abc import Iterator
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus
from mlflow.entities import Run as MlflowRun
from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT

from robustness.logs.experiments import Experiment
from robustness.logs.runs import Run

_METRICS_AT_ONCE = 900
_RUNS_AT_ONCE = 1000


class MlflowRuns:
    """An experiment; a run is whole once it has ended.

    Args:
        place: the tracking URI; the folder of a SQLite file is made.
        experiment: its name is that of the study.
    """

    def __init__(self, place: str, experiment: Experiment) -> None:
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        if place.startswith("sqlite:///"):
            Path(place.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(place)
        known = self.client.get_experiment_by_name(experiment.study)
        self.experiment = known.experiment_id if known else self.client.create_experiment(experiment.study)
        self.present: dict[str, list[str]] = {}
        self.logged: dict[str, str] = {}
        for run in self._runs():
            trial_id = run.data.tags.get("trial_id", "")
            self.present.setdefault(trial_id, []).append(run.info.run_id)
            if RunStatus.is_terminated(RunStatus.from_string(run.info.status)):
                self.logged[trial_id] = run.data.tags.get("stamp", "")

    def add(self, run: Run) -> None:
        """Log a run and end it; one that is there of its trial is deleted, since its metrics can't be."""
        for old in self.present.pop(run.trial_id, []):
            self.client.delete_run(old)
        started, finished = int(run.started * 1000), int(run.finished * 1000)
        dataset = str(run.hyperparameters["dataset"])
        tags = {"trial_id": run.trial_id, "stamp": run.stamp, "family": run.family, "dataset": dataset, **run.notes}
        new = self.client.create_run(self.experiment, start_time=started, tags=tags, run_name=run.name)
        self.present[run.trial_id] = [new.info.run_id]
        params = [Param(name, str(value)) for name, value in run.hyperparameters.items()]
        self.client.log_batch(new.info.run_id, params=params)
        metrics = [
            Metric(name, value, finished, step)
            for step, measured in run.steps.items()
            for name, value in measured.items()
        ]
        for begin in range(0, len(metrics), _METRICS_AT_ONCE):
            self.client.log_batch(new.info.run_id, metrics=metrics[begin : begin + _METRICS_AT_ONCE])
        self.client.set_terminated(new.info.run_id, "FAILED" if run.failed else "FINISHED", end_time=finished)
        self.logged[run.trial_id] = run.stamp

    def _runs(self) -> Iterator[MlflowRun]:
        token = None
        while True:
            page = self.client.search_runs([self.experiment], max_results=_RUNS_AT_ONCE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return
