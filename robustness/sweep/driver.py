"""Plan minus store = todo; Ray Tune trains it; the store holds the result."""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from robustness.plan import extend, pack_costs, plan
from robustness.store import (
    StoreError,
    prepare,
    read,
    read_plan,
    read_study,
    stored_packs,
    write_pack,
    write_plan,
)
from robustness.sweep.cluster import connected, num_workers
from robustness.sweep.progress import SweepProgress
from robustness.sweep.queue import MOST_ATTEMPTS, PackQueue
from robustness.sweep.rows import trial_rows
from robustness.sweep.worker import Job, work
from robustness.trial import TrialResult
from search_spaces.study import Study

import ray  # isort: skip
from ray import tune  # isort: skip

_MOST_WORKER_DEATHS = 20


@dataclass(frozen=True)
class Summary:
    """How a study stands after a sweep."""

    folder: Path
    planned: int
    trained: int
    failed: int
    left: int


def sweep(study: Study, folder: Path, *, address: str | None = None) -> Summary:
    """Train every planned trial that is not stored yet.

    The same call again continues; a study that adds trials extends the folder.

    Args:
        study: what to train.
        folder: where the results are or shall be; on a cluster, a path that all nodes share.
        address: of a Ray cluster; this machine unless given.

    Raises:
        StudyError, StoreError: one line; nothing was started or lost.
        KeyboardInterrupt: interrupted; what was stored stays.
    """
    folder = folder.resolve()
    planned = freeze(study, folder)
    todo = planned[~planned["pack_id"].isin(stored_packs(folder))]
    if len(todo):
        before = read(folder)
        _run(study, folder, todo, before, address)
    stored = read(folder)
    mine = stored[stored["trial_id"].isin(planned["trial_id"])]
    failed = int((mine["status"] != "ok").sum())
    left = len(planned) - len(mine)
    return Summary(folder, len(planned), trained=len(todo) - left, failed=failed, left=left)


def freeze(study: Study, folder: Path) -> pd.DataFrame:
    """Write the plan before anything runs; where there is one, keep it or extend it."""
    new = plan(study)
    if (folder / "plan.parquet").exists():
        planned = read_plan(folder)
        new = extend(folder, planned, read_study(folder), study)
        prepare(folder)
        if len(new) == len(planned) and read_study(folder) == study.written():
            return planned
    else:
        prepare(folder)
    write_plan(folder, new, study.written())
    return new


def _run(study: Study, folder: Path, todo: pd.DataFrame, before: pd.DataFrame, address: str | None) -> None:
    costs = pack_costs(todo, every=study.evaluation.every)
    progress = SweepProgress(
        costs,
        {str(pack): count for pack, count in todo["pack_id"].value_counts().items()},
        done=len(before),
        failed=int((before["status"] != "ok").sum()),
    )
    # The most expensive first: otherwise the last one keeps a single worker busy.
    order = sorted(costs, key=lambda pack: (-costs[pack], pack))
    resources = study.resources
    job = Job(folder, study.evaluation.every, resources.cpus_per_pack, resources.gpus_per_pack)
    with _sigterm_interrupts(), connected(address):
        workers = num_workers(study, num_packs=len(order))
        queue = ray.remote(num_cpus=0)(PackQueue).remote(order)
        with _scratch(folder, address) as scratch, progress:
            _tune(queue, todo, job, workers=workers, scratch=scratch, progress=progress)
        given_up, stop_reason = ray.get(queue.outcome.remote())
    if stop_reason is not None:
        raise StoreError(stop_reason)
    for pack in given_up:
        rows = todo[todo["pack_id"] == pack].astype(object)
        records = rows.where(rows.notna(), None).to_dict("records")
        reason = f"the worker died {MOST_ATTEMPTS} times while it trained this trial's pack"
        write_pack(folder, pack, trial_rows(records, [TrialResult("error", reason)] * len(records)), [])


def _tune(queue: Any, todo: pd.DataFrame, job: Job, *, workers: int, scratch: str, progress: SweepProgress) -> None:
    columns = todo.drop(columns=[name for name in todo if todo[name].isna().all()])
    trainable = tune.with_resources(
        tune.with_parameters(work, queue=queue, planned=columns, job=job),
        {"cpu": job.cpus, "gpu": job.gpus},
    )
    tuner = tune.Tuner(
        trainable,
        param_space={"worker": tune.grid_search(list(range(workers)))},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=scratch,
            verbose=0,
            callbacks=[progress],
            failure_config=tune.FailureConfig(max_failures=_MOST_WORKER_DEATHS),
        ),
    )
    tuner.fit()


@contextmanager
def _scratch(folder: Path, address: str | None) -> Iterator[str]:
    """A place for Tune's own files, which nothing reads: all nodes must see it, so on a cluster beside the results."""
    with tempfile.TemporaryDirectory(prefix=".tune-", dir=None if address is None else folder) as path:
        yield path


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM end a sweep as Ctrl-C does."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
