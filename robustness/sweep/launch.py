"""Ray Tune trains the packs that are left."""

import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from robustness.plan import pack_costs
from robustness.store import StoreError, write_pack
from robustness.sweep.cluster import connected, num_workers
from robustness.sweep.images import share, stored_bytes
from robustness.sweep.progress import SweepProgress
from robustness.sweep.queue import MOST_ATTEMPTS, PackQueue
from robustness.sweep.rows import members_of, trial_rows
from robustness.sweep.worker import Job, work
from robustness.trial import TrialResult
from search_spaces.study import Study

import ray  # isort: skip
from ray import tune  # isort: skip

_MOST_WORKER_DEATHS = 20


def launch(study: Study, folder: Path, todo: pd.DataFrame, before: pd.DataFrame, *, address: str | None) -> None:
    """Train the trials of `todo`; workers store them in `folder`.

    Args:
        before: the trials that are stored already; they are counted in the progress bar.
        address: of a Ray cluster; this machine unless given.

    Raises:
        StudyError: the cluster can't be joined or is too small, or images can't be read there.
        StoreError: results can't be stored.
    """
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
    job = Job(
        folder,
        every=study.evaluation.every,
        cpus=resources.cpus_per_pack,
        gpus=resources.gpus_per_pack,
        fuse=study.pack.fuse,
        checkpoint_seconds=60 * resources.checkpoint_minutes,
        keep_weights=study.evaluation.keep != "none",
    )
    with connected(address, image_bytes=stored_bytes(todo)), _sigterm_interrupts():
        workers = num_workers(study, num_packs=len(order))
        images = share(study, todo, local=address is None)
        queue = ray.remote(num_cpus=0)(PackQueue).remote(order)
        with _scratch(folder, address) as scratch, progress:
            _tune(queue, todo, job, images, workers=workers, scratch=scratch, progress=progress)
        given_up, stop_reason = ray.get(queue.outcome.remote())
    if stop_reason is not None:
        raise StoreError(stop_reason)
    for pack in given_up:
        rows = members_of(todo, pack)
        reason = f"the worker died {MOST_ATTEMPTS} times while it trained this trial's pack"
        write_pack(folder, pack, trial_rows(rows, [TrialResult("error", reason)] * len(rows)), [])


def _tune(
    queue: Any,
    todo: pd.DataFrame,
    job: Job,
    images: dict[str, Any],
    *,
    workers: int,
    scratch: str,
    progress: SweepProgress,
) -> None:
    trainable = tune.with_resources(
        tune.with_parameters(work, queue=queue, planned=todo, job=job, images=images),
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
    for error in tuner.fit().errors:
        progress.say(f"a worker ended: {str(error).strip().splitlines()[-1]}")


@contextmanager
def _scratch(folder: Path, address: str | None) -> Iterator[str]:
    """A place for Tune's own files, which nothing reads: all nodes must see it, so on a cluster beside the results."""
    with tempfile.TemporaryDirectory(prefix=".tune-", dir=None if address is None else folder) as path:
        yield path


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM end a sweep as Ctrl-C does; Python allows it in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
