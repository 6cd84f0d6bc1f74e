"""Ray Tune trains the packs that are left."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd

from robustness.plan import in_order, pack_costs
from robustness.store import Folder, StoreError
from robustness.sweep.cluster import MOST_WORKERS, connected, living_nodes, num_workers, on_this_node
from robustness.sweep.images import share, stored_bytes
from robustness.sweep.interrupt import interruptible, terminable
from robustness.sweep.packs import Images, Job
from robustness.sweep.place import Place
from robustness.sweep.progress import SweepProgress
from robustness.sweep.queue import PackQueue
from robustness.sweep.rows import by_pack
from robustness.sweep.stragglers import Stragglers
from robustness.sweep.watch import Watch, WhilePacksWait
from robustness.sweep.worker import work
from search_spaces.study import Study

import ray  # isort: skip
from ray import tune  # isort: skip


@dataclass(frozen=True)
class Todo:
    """What a sweep has to do.

    Args:
        rows: planned trials, packs whole, or of a pack that is stored those that run again.
        again: packs of which some trials run again.
        done, failed: how many trials stay as they are stored, for the progress bar.
        ends_at: when running packs are saved and no others begin, on the clock of `time.monotonic`; then the seeds
            are trained one after another, so that what is stored by then is whole.
    """

    rows: pd.DataFrame
    again: frozenset[str]
    done: int
    failed: int
    ends_at: float | None = None


def launch(study: Study, folder: Folder, todo: Todo, place: Place) -> None:
    """Train what is left; workers store it in `folder`.

    On a cluster that may grow, as many workers wait for machines as packs wait for workers, so that its autoscaler
    sees what is wanted; once no pack waits, nor do they.

    Args:
        place: the cluster.

    Raises:
        StudyError: the cluster can't be joined or is too small, or images can't be read there.
        StoreError: results can't be stored, or the sweep can't go on.
        KeyboardInterrupt: interrupted; packs that were running have a checkpoint.
    """
    costs = pack_costs(todo.rows, every=study.evaluation.every)
    counts = todo.rows["pack_id"].value_counts()
    order = in_order(todo.rows, costs, by_seed=todo.ends_at is not None)
    members = {pack: int(counts[pack]) for pack in order}
    with ready(study, folder, todo.rows, place) as (images, fitting):
        workers = min(len(members), MOST_WORKERS if place.grows else fitting)
        queue = on_this_node(PackQueue).remote(
            members, trial_timeout=study.resources.trial_timeout, living=living_nodes
        )
        progress = SweepProgress(costs, members, done=todo.done, failed=todo.failed)
        parameters = {"queue": queue, "planned": by_pack(todo.rows), "images": images}
        job = job_of(study, folder, todo.again)
        with progress, interruptible() as interrupt:
            watch = Watch(queue, progress, interrupt, stragglers=Stragglers(costs), ends_at=todo.ends_at)
            try:
                _tune(tune.with_parameters(work, job=job, **parameters), job, watch, workers=workers)
                watch.show()
                reason = ray.get(queue.why_stopped.remote())
            except (ray.exceptions.RayActorError, tune.TuneError):
                # Tune wraps what its callbacks raise.
                _check_alive(queue, folder)
                raise
            if interrupt.wanted:
                raise KeyboardInterrupt
    if reason is not None:
        raise StoreError(reason)


@contextmanager
def ready(study: Study, folder: Folder, todo: pd.DataFrame, place: Place) -> Iterator[tuple[Images, int]]:
    """A cluster on which trials can run; SIGTERM interrupts like Ctrl-C.

    Args:
        folder: of the results.
        todo: planned trials, whose images are read.
        place: the cluster.

    Yields:
        The name of each data set with Ray's reference to its arrays, and how many workers the cluster holds now.

    Raises:
        StudyError: the cluster can't be joined or is too small, or images can't be read there.
    """
    with connected(place, image_bytes=stored_bytes(todo)), terminable():
        workers = num_workers(study, place)
        yield share(study, todo, local=not place.grows), workers


def job_of(study: Study, folder: Folder, again: frozenset[str]) -> Job:
    """What the workers of a study need to know; `again` as in `Todo`."""
    resources = study.resources
    return Job(
        folder,
        every=study.evaluation.every,
        cpus=resources.cpus_per_pack,
        gpus=resources.gpus_per_pack,
        fuse=study.pack.fuse,
        checkpoint_seconds=60 * resources.checkpoint_minutes,
        keep_weights=study.evaluation.keep != "none",
        trial_timeout=resources.trial_timeout,
        again=again,
    )


def _check_alive(queue: Any, folder: Folder) -> None:
    try:
        ray.get(queue.why_stopped.remote())
    except ray.exceptions.RayActorError as error:
        said = " ".join(str(error).split())[:300]
        raise StoreError(f"{folder}: Ray lost the queue of packs: {said}; the same command continues") from None


def _tune(trainable: Any, job: Job, watch: Watch, *, workers: int) -> None:
    # Tune's own files, which nothing reads: workers that report no checkpoints need not see them.
    with tempfile.TemporaryDirectory(prefix="tune-") as scratch:
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": job.cpus, "gpu": job.gpus}),
            param_space={"worker": tune.grid_search(list(range(workers)))},
            tune_config=tune.TuneConfig(scheduler=WhilePacksWait(watch), reuse_actors=True),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                callbacks=[watch],
                # Workers that die are replaced however often: the queue decides when it is enough.
                failure_config=tune.FailureConfig(max_failures=-1),
            ),
        ).fit()
