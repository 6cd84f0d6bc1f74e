"""What Ray Tune schedules: a worker that trains packs from the queue and stores each as it ends."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import ray
import torch
from ray import tune

from robustness.store import StoreError, stored_packs, write_encoder, write_pack
from robustness.sweep.images import splits_of
from robustness.sweep.rows import history_rows, members_of, trial_rows
from robustness.training import Checkpoints, Fuse, train_pack
from robustness.trial import Trial, TrialResult

_SECONDS_BETWEEN_REPORTS = 1.0


@dataclass(frozen=True)
class Job:
    """What every worker of a sweep needs to know.

    Args:
        folder: of the results.
        every: evaluate after every so many epochs, besides the end.
        cpus, gpus: that a worker has.
        fuse: whether members are trained as one computation.
        checkpoint_seconds: between two checkpoints of a pack.
        keep_weights: whether trained networks are stored.
    """

    folder: Path
    every: int | None
    cpus: float
    gpus: float
    fuse: Fuse
    checkpoint_seconds: float
    keep_weights: bool

    def checkpoints(self, pack: str) -> Checkpoints:
        """Where a pack keeps its state while it trains."""
        return Checkpoints(self.folder / "checkpoints" / pack, seconds=self.checkpoint_seconds)


def work(config: dict[str, Any], *, queue: Any, planned: pd.DataFrame, job: Job, images: Mapping[str, Any]) -> None:
    """Take packs until there are none. Reports `pack`, `share` of it done, `ok`, `failed`, `message`.

    Args:
        images: the name of each data set with Ray's reference to its arrays, which the workers of a node share.
    """
    name = tune.get_context().get_trial_id()
    device = _device(job)
    while (pack := ray.get(queue.take.remote(name))) is not None:
        rows = members_of(planned, pack)
        checkpoints = job.checkpoints(pack)
        train = partial(train_pack, every=job.every, device=device, fuse=job.fuse, keep_weights=job.keep_weights)
        results = _train(rows, images, partial(train, checkpoints=checkpoints, on_progress=_reporter(pack)))
        try:
            _keep_weights(job.folder, pack, rows, results)
            message = write_pack(job.folder, pack, trial_rows(rows, results), history_rows(rows, results))
        except (StoreError, OSError) as error:
            reason = str(error) if isinstance(error, StoreError) else f"{job.folder}: {error.strerror}"
            ray.get(queue.stop.remote(f"can't store results: {reason}"))
            return
        checkpoints.remove()
        ray.get(queue.finish.remote(name))
        ok = sum(result.status == "ok" for result in results)
        tune.report({"pack": pack, "share": 1.0, "ok": ok, "failed": len(results) - ok, "message": message or ""})


def _keep_weights(folder: Path, pack: str, rows: list[dict[str, Any]], results: list[TrialResult]) -> None:
    """Before the pack, so that what is stored has its encoders."""
    if pack in stored_packs(folder):
        return
    for row, result in zip(rows, results, strict=True):
        if result.weights is not None:
            write_encoder(folder, row["trial_id"], result.weights)


def _train(
    rows: list[dict[str, Any]],
    images: Mapping[str, Any],
    train: Callable[..., list[TrialResult]],
) -> list[TrialResult]:
    try:
        trials = [Trial.from_json(row["trial"]) for row in rows]
        splits = splits_of(ray.get(images[rows[0]["dataset"]]))
        return train(trials, splits=splits)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        return [TrialResult("error", reason)] * len(rows)


def _device(job: Job) -> torch.device:
    torch.set_num_threads(max(1, int(job.cpus)))
    if job.gpus == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        return torch.device("mps")
    if job.gpus < 1:
        torch.cuda.set_per_process_memory_fraction(job.gpus)
    return torch.device("cuda")


def _reporter(pack: str) -> Callable[[float], None]:
    last = time.monotonic()

    def report(share: float) -> None:
        nonlocal last
        if share < 1 and time.monotonic() - last >= _SECONDS_BETWEEN_REPORTS:
            last = time.monotonic()
            tune.report({"pack": pack, "share": share, "ok": 0, "failed": 0, "message": ""})

    return report
