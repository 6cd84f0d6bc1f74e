"""Images of a study: read once on the cluster, and shared by its workers through Ray's object store."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import ray
import torch

from robustness.data import DataError, Split, Splits, load
from robustness.trial import Trial
from search_spaces.axes import StudyError
from search_spaces.sections import Data
from search_spaces.study import Study

_ARRAYS = ("images", "labels", "test_images", "test_labels")
_FACTS = ("num_train", "num_fit", "corrupted")


def stored_bytes(todo: pd.DataFrame) -> int:
    """How much memory the images of these trials take as bytes; digits, which are floats, are too few to count."""
    total = 0
    for trial in _one_trial_each(todo).values():
        facts = trial.dataset
        channels, height, width = facts.shape
        images = max(facts.num_train, facts.num_fit + facts.num_validation) + facts.num_test
        total += images * channels * height * width
    return total


def share(study: Study, todo: pd.DataFrame, *, local: bool) -> dict[str, Any]:
    """Read every data set of the trials that are left, where the workers are.

    Args:
        study: says where files lie; relative paths are of this process.
        todo: planned trials.
        local: whether the workers are on this machine; it is this process then that reads, which starts sooner.

    Returns:
        The name of each data set with Ray's reference to its arrays; `splits_of` makes splits of them.

    Raises:
        StudyError: images can't be read there, in one line; no trial has started.
    """
    read, source = _read_here if local else _read_there, _absolute(study.data)
    shared = {}
    for name, trial in _one_trial_each(todo).items():
        try:
            shared[name] = read(trial, source)
        except DataError as error:
            raise StudyError(f"{study.source}: {error}") from None
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1][:300]
            raise StudyError(f"{study.source}: data: can't load {name} on the cluster: {reason}") from None
    return shared


def splits_of(arrays: Mapping[str, Any]) -> Splits:
    """Splits that share the memory of arrays, which is read-only: no worker may write into them."""
    with warnings.catch_warnings():
        # torch has no tensors that can't be written, and warns of arrays that can't be.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        images, labels, test_images, test_labels = (torch.from_numpy(arrays[name]) for name in _ARRAYS)
    test = Split(test_images, test_labels)
    return Splits(images, labels, test, **{name: arrays[name] for name in _FACTS})


def _read_here(trial: Trial, source: Data) -> Any:
    return ray.put(_arrays(load(trial.data, source, probes=trial.evaluation["probes"])))


def _read_there(trial: Trial, source: Data) -> Any:
    problem, arrays = ray.remote(num_returns=2)(_read).remote(trial, source)
    line = ray.get(problem)
    if line is not None:
        raise DataError(line)
    return arrays


def _read(trial: Trial, source: Data) -> tuple[str | None, dict[str, Any]]:
    """Runs as a task of the cluster: what went wrong in one line, and the arrays, which stay on the node."""
    try:
        return None, _arrays(load(trial.data, source, probes=trial.evaluation["probes"]))
    except DataError as error:
        return str(error), {}


def _arrays(splits: Splits) -> dict[str, Any]:
    tensors = (splits.images, splits.labels, splits.test.images, splits.test.labels)
    arrays = {name: tensor.numpy() for name, tensor in zip(_ARRAYS, tensors, strict=True)}
    return {**arrays, **{name: getattr(splits, name) for name in _FACTS}}


def _one_trial_each(todo: pd.DataFrame) -> dict[str, Trial]:
    first = todo.drop_duplicates("dataset")
    return {str(name): Trial.from_json(text) for name, text in zip(first["dataset"], first["trial"], strict=True)}


def _absolute(data: Data) -> Data:
    """With paths that mean the same in a process that was started elsewhere."""
    given = {"root": data.root, "npz": data.npz, "imagefolder": data.imagefolder}
    paths = {key: str(Path(path).expanduser().absolute()) for key, path in given.items() if path is not None}
    return data.model_copy(update=paths)
