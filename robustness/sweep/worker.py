"""What Ray Tune schedules: a worker that trains packs from the queue and stores each as it ends."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pyarrow as pa
import ray
import torch
from ray import tune
from ray.exceptions import RayActorError, RayError

from robustness.store import StoreError, stored_packs
from robustness.sweep.packs import Images, Job, store, train, train_alone
from robustness.sweep.queue import LEAST_SECONDS
from robustness.sweep.rows import Planned, members_of
from robustness.sweep.turns import Turn
from robustness.sweep.watchdog import watchdog
from robustness.training import Interrupted
from robustness.trial import TrialResult


class MachineLeavesError(RayActorError):  # type: ignore[misc]  # ray ships no types
    """The machine is told to go: Tune, to which this is a preemption and no failure, starts a worker elsewhere."""

    def __init__(self) -> None:
        super().__init__(error_msg="its machine is told to go", preempted=True)


def work(config: dict[str, Any], *, queue: Any, planned: pa.Table, job: Job, images: Images) -> None:
    """Take turns until there are none, or the sweep ends.

    Args:
        queue: the actor of a `PackQueue`.
        planned: the trials that are left, packs in order; `rows.by_pack` makes it.
    """
    worker = _Worker(queue, job, images, name=f"{tune.get_context().get_trial_id()}/{uuid4().hex}")
    node = ray.get_runtime_context().get_node_id()
    if not (job.folder / "plan.parquet").exists():
        place = ray.util.get_node_ip_address()
        ray.get(queue.stop.remote(f"{job.folder}: {place} does not see this folder; use one that all machines share"))
    while (turn := ray.get(queue.take.remote(worker.name, node))) is not None:
        try:
            worker.do(turn, members_of(planned, turn.pack))
        except Interrupted:
            ray.get(queue.give_back.remote(worker.name))
        except RayActorError:
            # The queue is gone, and the driver knows.
            raise
        except (StoreError, OSError, RayError) as error:
            ray.get(queue.stop.remote(_reason(error, job)))
            ray.get(queue.give_back.remote(worker.name))
    if ray.get(queue.moves.remote(worker.name, node)):
        raise MachineLeavesError


def device_of(job: Job) -> torch.device:
    """Where this process trains; it takes as many threads and as much of a GPU as the worker has."""
    torch.set_num_threads(max(1, int(job.cpus)))
    if job.gpus == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        return torch.device("mps")
    if job.gpus < 1:
        torch.cuda.set_per_process_memory_fraction(job.gpus)
    return torch.device("cuda")


class _Worker:
    """Does turns, and tells the queue how they go."""

    def __init__(self, queue: Any, job: Job, images: Images, *, name: str) -> None:
        self.queue, self.job, self.images, self.name = queue, job, images, name
        self.device = device_of(job)

    def do(self, turn: Turn, rows: Sequence[Planned]) -> None:
        """Finish a turn."""
        if turn.pack not in self.job.again and turn.pack in stored_packs(self.job.folder):
            message = f"pack {turn.pack[:8]} was stored by another sweep meanwhile"
            ray.get(self.queue.finish.remote(self.name, 0, message))
        elif turn.member is not None:
            self._train_alone(turn.pack, rows[turn.member])
            ray.get(self.queue.finish.remote(self.name))
        else:
            results = self._results(turn, rows)
            stored = store(turn.pack, rows, results, self.job)
            ray.get(self.queue.finish.remote(self.name, stored.failed, stored.message))

    def _results(self, turn: Turn, rows: Sequence[Planned]) -> list[TrialResult]:
        if turn.fallen is not None:
            fallen = {each.member: TrialResult(each.status, each.reason) for each in turn.fallen}
            return [fallen.get(place) or self._train_alone(turn.pack, row) for place, row in enumerate(rows)]
        with self._watched(len(rows)) as hooks:
            return train(rows, self.job, self.images, self.job.checkpoints(turn.pack), device=self.device, **hooks)

    def _train_alone(self, pack: str, row: Planned) -> TrialResult:
        with self._watched(1) as hooks:
            return train_alone(pack, row, self.job, self.images, device=self.device, **hooks)

    @contextmanager
    def _watched(self, num_members: int) -> Iterator[dict[str, Any]]:
        """Yields the hooks of training, which end this process when the members have taken too long."""
        with watchdog() as end_after:

            def on_start(share: float, seconds: float) -> None:
                timeout = self.job.trial_timeout
                left = None if timeout is None else timeout * num_members - seconds
                # First the queue, so that it knows of the limit when this process has ended.
                self._ask(self.queue.begin, share, left)
                if left is not None:
                    end_after(left)

            yield {"on_start": on_start, "on_progress": self._reporter()}

    def _reporter(self) -> Callable[[float], None]:
        due = time.monotonic() + LEAST_SECONDS

        def report(share: float) -> None:
            nonlocal due
            if time.monotonic() >= due:
                seconds = self._ask(self.queue.advance, share)
                if seconds is None:
                    raise Interrupted
                due = time.monotonic() + seconds

        return report

    def _ask(self, method: Any, *arguments: Any) -> Any:
        """The queue's answer; where there is no queue any more, the sweep has ended."""
        try:
            return ray.get(method.remote(self.name, *arguments))
        except RayActorError:
            raise Interrupted from None


def _reason(error: Exception, job: Job) -> str:
    if isinstance(error, RayError):
        return f"Ray failed: {' '.join(str(error).split())[:300]}; the same command continues"
    said = error.strerror if isinstance(error, OSError) else None
    return f"can't store results: {job.folder}: {said}" if said else f"can't store results: {error}"
