"""Runs as TensorBoard has them: a folder of event files each, with the summaries of its HParams plugin."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from robustness.logs.experiments import Experiment
from robustness.logs.runs import IDENTITY, Run
from robustness.store import NUMERIC_OUTCOMES, write_bytes

_PREFIX = "events.out.tfevents."


class TensorBoardRuns:
    """FOLDER/FAMILY/TRIAL_ID/events.out.tfevents.STAMP: a file is there whole or not at all.

    A file of FOLDER itself tells the HParams plugin what there is and what to show first: the alphabet would.

    Args:
        place: the folder, as `tensorboard --logdir` takes it.
        experiment: what the runs have in common.
    """

    def __init__(self, place: str, experiment: Experiment) -> None:
        self.place, self.experiment = place, experiment
        Path(place).mkdir(parents=True, exist_ok=True)
        self._write_columns()
        self.logged = {
            file.parent.name: file.name.removeprefix(_PREFIX) for file in Path(place).glob(f"*/*/{_PREFIX}*")
        }

    def add(self, run: Run) -> None:
        """Write the only event file of a run."""
        # Folders of a family together: TensorBoard filters runs by expressions on their paths.
        folder = Path(self.place, quote(run.family, safe=" ")[:100], run.trial_id)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{_PREFIX}*"):
            old.unlink()
        self._write(folder / f"{_PREFIX}{run.stamp}", _records(_summaries(run), run.finished))
        self.logged[run.trial_id] = run.stamp
        known = self.experiment.metrics
        new = [name for name in NUMERIC_OUTCOMES if name in run.outcomes and name not in known]
        if new:
            self.experiment = replace(self.experiment, metrics=[*known, *new])
            self._write_columns()

    def _write_columns(self) -> None:
        self._write(Path(self.place, f"{_PREFIX}0"), _records([(0, _columns(self.experiment))], 0.0))

    def _write(self, file: Path, content: bytes) -> None:
        # TensorBoard reads whatever has `tfevents` in its name, half a file that a kill leaves behind, too.
        part = Path(self.place, ".part")
        write_bytes(part, content, replace=True)
        part.replace(file)


def _records(summaries: Iterable[tuple[int, Summary]], wall_time: float) -> bytes:
    content = io.BytesIO()
    writer = RecordWriter(content)
    writer.write(Event(wall_time=wall_time, file_version="brain.Event:2").SerializeToString())
    for step, summary in summaries:
        writer.write(Event(wall_time=wall_time, step=step, summary=summary).SerializeToString())
    return content.getvalue()


def _columns(experiment: Experiment) -> Summary:
    words = {*IDENTITY, "batch_policy"}
    hyperparameters = [
        api_pb2.HParamInfo(
            name=name,
            type=api_pb2.DATA_TYPE_STRING if name in words else api_pb2.DATA_TYPE_FLOAT64,
            differs=differs,
        )
        for name, differs in experiment.hyperparameters.items()
    ]
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in experiment.metrics]
    content = api_pb2.Experiment(name=experiment.study, hparam_infos=hyperparameters, metric_infos=metrics)
    return _hparams(metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=content))


def _summaries(run: Run) -> Iterator[tuple[int, Summary]]:
    yield 0, hparams_pb(dict(run.hyperparameters), trial_id=run.trial_id, start_time_secs=run.started)
    for step, metrics in run.steps.items():
        yield step, Summary(value=[scalar_pb(name, value).value[0] for name, value in metrics.items()])
    for name, text in run.notes.items():
        yield 0, text_pb(name, text)
    yield 0, _end(run)


def _end(run: Run) -> Summary:
    status = api_pb2.STATUS_FAILURE if run.failed else api_pb2.STATUS_SUCCESS
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=run.finished)
    return _hparams(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end))


def _hparams(tag: str, content: plugin_data_pb2.HParamsPluginData) -> Summary:
    """As `hparams.summary` makes it, which imports TensorFlow."""
    own = metadata.create_summary_metadata(content)
    return Summary(value=[Summary.Value(tag=tag, metadata=own, tensor=metadata.NULL_TENSOR)])
