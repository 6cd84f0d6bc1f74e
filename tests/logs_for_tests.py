"""Runs read back with each tool's own client."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.util.tensor_util import make_ndarray

FAILED = {api_pb2.STATUS_FAILURE: True, api_pb2.STATUS_SUCCESS: False, "FAILED": True, "FINISHED": False}


@dataclass(frozen=True)
class Seen:
    """A run as its tool shows it; MLflow has hyperparameters as text.

    `values` are the metrics of each step, in lists, so that doubled ones show.
    """

    hyperparameters: dict[str, Any]
    values: dict[int, dict[str, list[float]]]
    failed: bool
    notes: dict[str, str]


def tensorboard_runs(place: str) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {}
    for folder in Path(place).glob("*/*"):
        seen = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
        values: dict[int, dict[str, list[float]]] = {}
        notes = {}
        for tag in seen.Tags()["tensors"]:
            plugin = seen.SummaryMetadata(tag).plugin_data.plugin_name
            for event in seen.Tensors(tag):
                value = make_ndarray(event.tensor_proto)
                if plugin == "scalars":
                    values.setdefault(event.step, {}).setdefault(tag, []).append(float(value))
                elif plugin == "text":
                    notes[tag] = value.item().decode()
        start, end = (
            seen.SummaryMetadata(tag).plugin_data.content
            for tag in (metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG)
        )
        hyperparameters = {
            name: getattr(value, value.WhichOneof("kind"))
            for name, value in metadata.parse_session_start_info_plugin_data(start).hparams.items()
        }
        failed = FAILED[metadata.parse_session_end_info_plugin_data(end).status]
        found.setdefault(folder.name, []).append(Seen(hyperparameters, values, failed, notes))
    return found


def tensorboard_columns(folder: Path) -> tuple[dict[str, bool], list[str]]:
    """What the HParams plugin is told: hyperparameters, and whether they are shown first; metrics."""
    content = EventAccumulator(str(folder)).Reload().SummaryMetadata(metadata.EXPERIMENT_TAG).plugin_data.content
    experiment = metadata.parse_experiment_plugin_data(content)
    hyperparameters = {info.name: info.differs for info in experiment.hparam_infos}
    return hyperparameters, [info.name.tag for info in experiment.metric_infos]


def mlflow_runs(place: str) -> dict[str, list[Seen]]:
    client = MlflowClient(place)
    found: dict[str, list[Seen]] = {}
    for experiment in client.search_experiments(view_type=ViewType.ACTIVE_ONLY):
        for run in client.search_runs([experiment.experiment_id]):
            values: dict[int, dict[str, list[float]]] = {}
            for name in run.data.metrics:
                for point in client.get_metric_history(run.info.run_id, name):
                    values.setdefault(point.step, {}).setdefault(name, []).append(point.value)
            seen = Seen(run.data.params, values, FAILED[run.info.status], run.data.tags)
            found.setdefault(run.data.tags["trial_id"], []).append(seen)
    return found


def wandb_runs(place: str) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {}
    for file in Path(place).glob("wandb/offline-run-*/run-*.wandb"):
        records = wandb_records(file)
        (begin,) = (record["run"] for record in records if record["type"] == "run")
        (end,) = (record["exit"] for record in records if record["type"] == "exit")
        values: dict[int, dict[str, list[float]]] = {}
        notes: dict[str, str] = {}
        for record in records:
            if record["type"] == "history":
                item = {name: value for name, value in record["history"]["item"].items() if name[0] != "_"}
                step = values.setdefault(record["history"].get("step", {}).get("num", 0), {})
                for name, value in item.items():
                    step.setdefault(name, []).append(value)
            elif record["type"] == "summary":
                update = record["summary"].get("update", {})
                notes |= {name: value for name, value in update.items() if isinstance(value, str)}
        hyperparameters = {name: value for name, value in begin["config"]["update"].items() if name != "_wandb"}
        notes |= {"group": begin["run_group"], "job_type": begin["job_type"], "project": begin["project"]}
        seen = Seen(hyperparameters, values, end.get("exit_code", 0) != 0, notes)
        found.setdefault(begin["run_id"], []).append(seen)
    return found


def wandb_records(file: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in printed.stdout.splitlines()]


READERS = {"tensorboard": tensorboard_runs, "mlflow": mlflow_runs, "wandb": wandb_runs}
