"""Trials as Optuna studies: one a data set and family, for Optuna's dashboard, importances and plots."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from analysis.table.store import read_study, with_extra_columns
from robustness import store
from robustness.store import Folder, StoreError
from search_spaces import Axis, Choice, Family, Integer, Study
from search_spaces.families import UNTRAINED
from search_spaces.hyperparameters import PACK_AXES, TRAINING_AXES

Row = Mapping[str, Any]
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Exported:
    """What an export did: Optuna studies, trials that it added, and trials that were there."""

    studies: int
    added: int
    present: int


@dataclass(frozen=True)
class _Part:
    """The trials of one family on one data set, and what Optuna is to know of them.

    Args:
        name: of the Optuna study.
        axes: of the family, the shared ones first.
        rows: stored trials in the order in which they were finished.
        progress: trial_id -> epoch -> the outcome after it.
    """

    name: str
    study: Study
    axes: Mapping[str, Axis]
    distributions: Mapping[str, BaseDistribution]
    rows: list[Row]
    progress: Mapping[str, Mapping[int, float]]


def to_optuna(folder: Folder, url: str, *, on_progress: Progress = lambda share: None) -> Exported:
    """Add every stored trial to the Optuna study NAME/DATASET/FAMILY, unless it is there.

    Parameters are the axes that vary for the family, on their scales; what does not vary is an attribute of the
    Optuna study. A trial has the attributes `trial_id`, `seed`, `status` and `error`; the outcome that the study
    analyses is its value and, where it was measured on the way, by epoch its intermediate values. One that was
    stopped early is PRUNED, one that failed is FAIL; run again, it is another trial, as Optuna counts retries.

    Args:
        folder: what a sweep left behind.
        url: of a database, as Optuna takes it: `sqlite:///my.db`.
        on_progress: called after each trial with the share that is done, 0 to 1; a trial takes a transaction.

    Raises:
        StoreError: there is no study in the folder, it is damaged, or the database can't be opened or holds
            something else under these names.
    """
    parts = list(_parts(folder))
    with _quiet():
        try:
            storage = optuna.storages.get_storage(url)
        except Exception as error:  # Whatever the driver of that database raises.
            raise StoreError(f"--optuna: {url}: can't open this database: {_line(error)}") from None
        total, done, added = sum(len(part.rows) for part in parts), 0, 0
        for part in parts:
            try:
                for is_new in _add(part, storage):
                    done, added = done + 1, added + is_new
                    on_progress(done / total)
            except (ValueError, OptunaError) as error:
                raise StoreError(f"--optuna: {url}: {part.name}: {_line(error)}") from None
    return Exported(len(parts), added, total - added)


def _parts(folder: Folder) -> Iterator[_Part]:
    planned = store.read_plan(folder)
    study = read_study(folder, planned)
    stored = with_extra_columns(store.read(folder))
    stored = stored[stored["trial_id"].isin(planned["trial_id"])].sort_values(["finished_at", "trial_id"])
    progress = _progress(store.read_history(folder), study.analysis.outcome)
    for (dataset, label), own in stored.groupby(["dataset", "family"], sort=False):
        family = study.families[str(label)]
        axes = _axes(study, family)
        distributions = {name: _distribution(axis, family) for name, axis in axes.items() if axis.varies}
        rows: list[Row] = [{str(name): value for name, value in row.items()} for row in own.to_dict("records")]
        yield _Part(f"{study.name}/{dataset}/{label}", study, axes, distributions, rows, progress)


def _axes(study: Study, family: Family) -> dict[str, Axis]:
    """Those of the study that the family has, then its own."""
    known = set() if family.loss == UNTRAINED else {*PACK_AXES, *TRAINING_AXES, *family.hyperparameters}
    return {name: axis for name, axis in {**study.axes, **family.axes}.items() if name in known}


def _distribution(axis: Axis, family: Family) -> BaseDistribution:
    """Optuna's equal of an axis; a list of numbers is the range that they lie in."""
    dimension, own = axis.dimension, family.space.hyperparameters.get(axis.name)
    if isinstance(dimension, Choice):
        if dimension.scale is None:
            return CategoricalDistribution(dimension.values)
        numbers = [float(value) for value in dimension.values]
        low, high = min(numbers), max(numbers)
    else:
        low, high = dimension.low, dimension.high
    log = dimension.scale != "linear"
    if axis.name in PACK_AXES or (own is not None and isinstance(own.dimension, Integer)):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def _add(part: _Part, storage: BaseStorage) -> Iterator[bool]:
    """Add what is new, and tell of every trial whether it was."""
    direction = part.study.analysis.direction
    target = optuna.create_study(storage=storage, study_name=part.name, direction=direction, load_if_exists=True)
    if target.direction.name.lower() != direction:
        raise ValueError(f"expected a study to {direction}, got one to {target.direction.name.lower()}")
    target.set_metric_names([part.study.analysis.outcome])
    target.set_user_attr("fixed", {name: axis.levels[0] for name, axis in part.axes.items() if not axis.varies})
    known = {(trial.user_attrs.get("trial_id"), trial.state) for trial in target.get_trials(deepcopy=False)}
    for row in part.rows:
        trial = _trial(part, row)
        is_new = (row["trial_id"], trial.state) not in known
        if is_new:
            target.add_trial(trial)
        yield is_new


def _trial(part: _Part, row: Row) -> FrozenTrial:
    state, progress = _state(row, part.study.analysis.outcome), part.progress.get(row["trial_id"], {})
    value = {
        TrialState.COMPLETE: row[part.study.analysis.outcome],
        TrialState.PRUNED: progress[max(progress)] if progress else None,
    }.get(state)
    params = {
        name: int(row[name]) if isinstance(distribution, IntDistribution) else row[name]
        for name, distribution in part.distributions.items()
    }
    trial = create_trial(
        state=state,
        value=value,
        params=params,
        distributions=dict(part.distributions),
        user_attrs={name: row[name] for name in ("trial_id", "seed", "status", "error") if not pd.isna(row[name])},
        intermediate_values=dict(progress),
    )
    # Optuna's times are local and naive.
    trial.datetime_complete = row["finished_at"].to_pydatetime().astimezone().replace(tzinfo=None)
    trial.datetime_start = trial.datetime_complete - timedelta(seconds=_seconds(row))
    return trial


def _state(row: Row, outcome: str) -> TrialState:
    if row["status"] == "stopped":
        return TrialState.PRUNED
    return TrialState.COMPLETE if row["status"] == "ok" and not pd.isna(row[outcome]) else TrialState.FAIL


def _seconds(row: Row) -> float:
    parts = (row["train_seconds"], row["evaluate_seconds"])
    return float(sum(part for part in parts if not pd.isna(part)))


def _progress(history: pd.DataFrame, outcome: str) -> dict[str, dict[int, float]]:
    """Values by the epoch in which they were measured, 1 for any time in the first."""
    found: dict[str, dict[int, float]] = {}
    measured = history[history[outcome].notna()]
    for trial_id, epoch, value in zip(measured["trial_id"], measured["epoch"], measured[outcome], strict=True):
        found.setdefault(trial_id, {})[math.ceil(epoch)] = value
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna without its log lines, and without a warning that metric names may change."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _line(error: Exception) -> str:
    """The first of its lines: SQLAlchemy adds the statement and where to read more."""
    return str(error).strip().partition("\n")[0][:200]
