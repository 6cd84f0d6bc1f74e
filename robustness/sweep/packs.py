"""What a worker does with one pack: train it, and store what came of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from robustness.store import Folder, replace_in_pack, stored_packs, write_encoder, write_pack
from robustness.sweep.images import splits_of
from robustness.sweep.rows import FAILED, Planned, history_rows, trial_rows
from robustness.training import Checkpoints, Fuse, train_pack
from robustness.training.checkpoints import plain, result_of
from robustness.training.pack import Prune, Start
from robustness.trial import Trial, TrialResult

Images = Mapping[str, Any]
"""The name of each data set with Ray's reference to its arrays, which the workers of a node share."""


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
        trial_timeout: seconds that a trial may take; None if there is no limit.
        again: packs that are stored, of which some members run again.
    """

    folder: Folder
    every: int | None
    cpus: float
    gpus: float
    fuse: Fuse
    checkpoint_seconds: float
    keep_weights: bool
    trial_timeout: float | None = None
    again: frozenset[str] = field(default_factory=frozenset)

    def checkpoints(self, *names: str) -> Checkpoints:
        """Where a pack, or a member of it that runs alone, keeps its state while it trains."""
        return Checkpoints(self.folder.joinpath("checkpoints", *names), seconds=self.checkpoint_seconds)


@dataclass(frozen=True)
class Stored:
    """A pack that is done.

    Args:
        ok, failed: how many of its trials; the others were stopped early.
        message: a line to print, empty if there is none.
        results: of its trials, in their order.
    """

    ok: int
    failed: int
    message: str
    results: list[TrialResult]


def train_and_store(
    pack: str,
    rows: Sequence[Planned],
    job: Job,
    images: Images,
    *,
    device: torch.device,
    on_start: Start = lambda share, seconds: None,
    on_progress: Callable[[float], None] = lambda share: None,
    prune: Prune = lambda trial, epoch: None,
) -> Stored:
    """Train one pack, going on from its checkpoint, and store it; a pack that fails as a whole is rows of `error`.

    Args:
        rows: the planned trials of the pack; of one that is stored already, those that run again.
        on_start, on_progress, prune: as of `train_pack`.

    Raises:
        Interrupted: by `on_progress`; the checkpoint is saved.
        StoreError, OSError: it can't be stored.
        RayError: the images are lost, or the other side of a hook.
    """
    hooks = {"on_start": on_start, "on_progress": on_progress, "prune": prune}
    return store(pack, rows, train(rows, job, images, job.checkpoints(pack), device=device, **hooks), job)


def train(
    rows: Sequence[Planned], job: Job, images: Images, checkpoints: Checkpoints, *, device: torch.device, **hooks: Any
) -> list[TrialResult]:
    """The results of a pack, or of one member of it, going on from its checkpoint; what fails as a whole is `error`.

    Args:
        hooks: of `train_pack`.

    Raises:
        Interrupted: by a hook; the checkpoint is saved.
        RayError: the images are lost, or the other side of a hook.
    """
    arrays = ray.get(images[rows[0]["dataset"]])
    try:
        return train_pack(
            [Trial.from_json(row["trial"]) for row in rows],
            splits=splits_of(arrays),
            every=job.every,
            device=device,
            fuse=job.fuse,
            checkpoints=checkpoints,
            keep_weights=job.keep_weights,
            **hooks,
        )
    except RayError:
        # A hook lost the other side: no fault of these trials.
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        return [TrialResult("error", reason)] * len(rows)


def train_alone(
    pack: str, row: Planned, job: Job, images: Images, *, device: torch.device, **hooks: Any
) -> TrialResult:
    """What came of one member of a pack that takes workers down; kept beside the pack's checkpoint once it is known.

    Args:
        hooks: of `train_pack`.

    Raises:
        Interrupted: by a hook; the checkpoint is saved.
        RayError: the images are lost, or the other side of a hook.
    """
    kept = job.checkpoints(pack, row["trial_id"], "result")
    known = kept.load(torch.device("cpu"))
    if known is not None:
        return result_of(known)
    (result,) = train([row], job, images, job.checkpoints(pack, row["trial_id"]), device=device, **hooks)
    kept.save(plain(result))
    return result


def store(pack: str, rows: Sequence[Planned], results: list[TrialResult], job: Job) -> Stored:
    """Store a pack whole, or in one that is stored the rows of trials that ran again; its checkpoint goes.

    Raises:
        StoreError, OSError: it can't be stored.
    """
    if pack in job.again or pack not in stored_packs(job.folder):
        # Before the pack, so that what is stored has its encoders.
        for row, result in zip(rows, results, strict=True):
            if result.weights is not None:
                write_encoder(job.folder, row["trial_id"], result.weights)
    parts = trial_rows(rows, results), history_rows(rows, results)
    message = None
    if pack in job.again:
        replace_in_pack(job.folder, pack, *parts)
    else:
        message = write_pack(job.folder, pack, *parts)
    job.checkpoints(pack).remove()
    statuses = [result.status for result in results]
    failed = sum(status in FAILED for status in statuses)
    return Stored(statuses.count("ok"), failed, message or "", results)
