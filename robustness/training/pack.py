"""A pack -> its results: members see the same images in the same order, one slice after another."""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import torch

from robustness.data import LOADERS, Splits, epoch_batches, two_views
from robustness.plan import evaluation_updates, num_updates, steps_per_epoch
from robustness.seeds import derive
from robustness.training.devices import describe, peak_memory_bytes, reset_peak_memory
from robustness.training.evaluation import ProbeSet, evaluate, probe_set
from robustness.training.member import Member
from robustness.training.slices import slice_size
from robustness.trial import Trial, TrialResult

Progress = Callable[[float], None]


def train_pack(
    trials: Sequence[Trial],
    *,
    every: int | None = None,
    device: torch.device | None = None,
    on_progress: Progress = lambda share: None,
) -> list[TrialResult]:
    """Train and measure all members of a pack.

    Args:
        trials: they agree on data, model, length, batch size and seed.
        every: evaluate after every so many epochs, besides the end.
        device: the CPU unless given.
        on_progress: called after each epoch with the share of the pack that is done, 0 to 1.

    Returns:
        One result per trial, in their order. A member that fails is a result with its status.
    """
    device = device or torch.device("cpu")
    splits = _load(trials[0].data["dataset"], device)
    probes = probe_set(trials[0], splits)
    size = slice_size(trials)
    results: list[TrialResult] = []
    while len(results) < len(trials):
        done, members = len(results), trials[len(results) : len(results) + size]

        def report(share: float, done: int = done, count: int = len(members)) -> None:
            on_progress((done + share * count) / len(trials))

        try:
            results += _train_slice(members, probes, every=every, device=device, on_progress=report)
        except torch.OutOfMemoryError as error:
            if len(members) == 1:
                results.append(TrialResult("out_of_memory", " ".join(str(error).split())[:500]))
            size = max(1, len(members) // 2)
    return results


def _train_slice(
    trials: Sequence[Trial],
    probes: ProbeSet,
    *,
    every: int | None,
    device: torch.device,
    on_progress: Progress,
) -> list[TrialResult]:
    started = time.perf_counter()
    reset_peak_memory(device)
    members = [Member(trial, device) for trial in trials]
    if trials[0].training is None:
        for member in members:
            evaluate(member, probes, epoch=0.0, final=True)
    else:
        _train_in_lockstep(members, probes, every=every, on_progress=on_progress)
    evaluate_seconds = sum(member.evaluate_seconds for member in members)
    train_seconds = max(time.perf_counter() - started - evaluate_seconds, 0.0)
    cost = {
        "train_seconds": train_seconds / len(members),
        "peak_memory_bytes": peak_memory_bytes(device),
        "device": describe(device),
        "threads": torch.get_num_threads(),
        "slice_size": len(members),
        "fused": False,
    }
    return [_result(member, cost) for member in members]


def _train_in_lockstep(members: list[Member], probes: ProbeSet, *, every: int | None, on_progress: Progress) -> None:
    trial = members[0].trial
    assert trial.training is not None
    batch_size, steps, total = int(trial.training["batch_size"]), steps_per_epoch(trial), num_updates(trial)
    evaluations = set(evaluation_updates(trial, every=every))
    # Augmented in the precision of the trial: float32 differs between devices by 1e-7 from the first batch on.
    images, preset = probes.splits.train.to(members[0].dtype), trial.data["augmentation"]
    done = 0
    while done < total:
        epoch = done // steps
        batches = epoch_batches(len(images), batch_size=batch_size, seed=trial.seed, epoch=epoch)
        for step, indices in enumerate(batches[: total - done]):
            seed = derive(trial.seed, "augment", batch_size, epoch, step)
            views = two_views(images[indices.to(images.device)], preset, seed=seed)
            for member in members:
                _guarded(member, partial(member.update, views))
        done = min(done + steps, total)
        for member in members:
            _guarded(member, member.close_epoch)
            if done in evaluations:
                _guarded(member, partial(evaluate, member, probes, epoch=done / steps, final=done == total))
        on_progress(done / total)


def _guarded(member: Member, action: Callable[[], None]) -> None:
    """Let a member that is well act; an exception ends this member's trial and no other's."""
    if member.status != "ok":
        return
    try:
        action()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        member.fail("error", f"{type(error).__name__}: {error}")


def _result(member: Member, shared_cost: dict[str, Any]) -> TrialResult:
    training = member.trial.training
    images = member.updates * int(training["batch_size"]) if training else 0
    seconds = float(shared_cost["train_seconds"])
    cost = {
        **shared_cost,
        "evaluate_seconds": member.evaluate_seconds,
        "images_per_second": images / seconds if images and seconds > 0 else None,
    }
    return TrialResult(
        status=member.status,
        error=member.error,
        epochs=member.updates / steps_per_epoch(member.trial) if training else 0.0,
        updates=member.updates,
        images=images,
        outcomes=member.outcomes if member.status == "ok" else {},
        cost=cost,
        history=tuple(member.history),
    )


@lru_cache(maxsize=4)
def _load(dataset: str, device: torch.device) -> Splits:
    return LOADERS[dataset]().to(device)
