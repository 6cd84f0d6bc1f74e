"""What Ray Tune schedules: a worker that trains packs from the queue and stores each as it ends."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import ray
import torch
from ray import tune

from robustness.store import StoreError, write_pack
from robustness.sweep.rows import history_rows, members_of, trial_rows
from robustness.training import train_pack
from robustness.trial import Trial, TrialResult

_SECONDS_BETWEEN_REPORTS = 1.0


@dataclass(frozen=True)
class Job:
    """What every worker of a sweep needs to know."""

    folder: Path
    every: int | None
    cpus: float
    gpus: float


def work(config: dict[str, Any], *, queue: Any, planned: pd.DataFrame, job: Job) -> None:
    """Take packs until there are none. Reports `pack`, `share` of it done, `ok`, `failed`, `message`."""
    name = tune.get_context().get_trial_id()
    device = _device(job)
    while (pack := ray.get(queue.take.remote(name))) is not None:
        rows = members_of(planned, pack)
        results = _train(rows, job.every, device, _reporter(pack))
        try:
            message = write_pack(job.folder, pack, trial_rows(rows, results), history_rows(rows, results))
        except (StoreError, OSError) as error:
            reason = str(error) if isinstance(error, StoreError) else f"{job.folder}: {error.strerror}"
            ray.get(queue.stop.remote(f"can't store results: {reason}"))
            return
        ray.get(queue.finish.remote(name))
        ok = sum(result.status == "ok" for result in results)
        tune.report({"pack": pack, "share": 1.0, "ok": ok, "failed": len(results) - ok, "message": message or ""})


def _train(
    rows: list[dict[str, Any]], every: int | None, device: torch.device, on_progress: Callable[[float], None]
) -> list[TrialResult]:
    try:
        trials = [Trial.from_json(row["trial"]) for row in rows]
        return train_pack(trials, every=every, device=device, on_progress=on_progress)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        return [TrialResult("error", reason)] * len(rows)


def _device(job: Job) -> torch.device:
    torch.set_num_threads(max(1, int(job.cpus)))
    if job.gpus == 0:
        return torch.device("cpu")
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
