"""A pack -> its results: members see the same images in the same order, one slice after another."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from robustness.data import Splits, load
from robustness.plan import evaluation_updates, images_per_update, num_updates, steps_per_epoch
from robustness.training.batches import Feed
from robustness.training.checkpoints import Checkpoints, State, plain, result_of
from robustness.training.devices import describe, peak_memory_bytes, reset_peak_memory
from robustness.training.evaluation import evaluate, probe_set
from robustness.training.lockstep import Fused, Lockstep, Looped
from robustness.training.member import Member, members_of
from robustness.training.slices import Fuse, Slicing, slicing
from robustness.trial import Trial, TrialResult

Progress = Callable[[float], None]
Start = Callable[[float, float], None]
Prune = Callable[[Trial, Mapping[str, Any]], str | None]

_SECONDS = ("train_seconds", "evaluate_seconds")

ON_DEVICE_BYTES = 2 * 2**30
"""Images of at most so many bytes lie on the device whole."""


class Interrupted(BaseException):
    """The pack ends here for now, its checkpoint saved: no failure, so that nothing takes it for one."""


def train_pack(
    trials: Sequence[Trial],
    *,
    splits: Splits | None = None,
    every: int | None = None,
    device: torch.device | None = None,
    fuse: Fuse = "auto",
    checkpoints: Checkpoints | None = None,
    keep_weights: bool = False,
    on_start: Start = lambda share, seconds: None,
    on_progress: Progress = lambda share: None,
    prune: Prune = lambda trial, epoch: None,
) -> list[TrialResult]:
    """Train and measure all members of a pack.

    Args:
        trials: they agree on data, model, length, batch size and seed.
        splits: the images; loaded unless given.
        every: evaluate after every so many epochs, besides the end.
        device: the CPU unless given.
        fuse: whether members are trained as one computation.
        checkpoints: where the pack's state is kept meanwhile, and continued from; None keeps none.
        keep_weights: whether results hold the trained weights.
        on_start: called once, with the share of the pack that a checkpoint holds, 0 to 1, and the seconds it took.
        on_progress: called after each update and evaluation with the share of the pack that is done, 0 to 1. Where it
            raises `Interrupted`, the checkpoint is saved, and the same call goes on from there bit by bit.
        prune: asked after each evaluation but the last, with the trial and its row of history; a reason in words
            ends the trial as `stopped`.

    Returns:
        One result per trial, in their order. A member that fails is a result with its status.

    Raises:
        Interrupted: by `on_progress`.
    """
    pack = _Pack(
        trials=trials,
        splits=load(trials[0].data, probes=trials[0].evaluation["probes"]) if splits is None else splits,
        every=every,
        device=device or torch.device("cpu"),
        fuse=fuse,
        checkpoints=checkpoints,
        keep_weights=keep_weights,
        on_start=on_start,
        on_progress=on_progress,
        prune=prune,
    )
    return pack.train()


@dataclass(kw_only=True)
class _Pack:
    """A pack while it trains: the results of slices that are done, and how the next one is cut."""

    trials: Sequence[Trial]
    splits: Splits
    every: int | None
    device: torch.device
    fuse: Fuse
    checkpoints: Checkpoints | None
    keep_weights: bool
    on_start: Start
    on_progress: Progress
    prune: Prune
    results: list[TrialResult] = field(default_factory=list)
    begun: State | None = None

    def __post_init__(self) -> None:
        if _num_bytes(self.splits) <= ON_DEVICE_BYTES:
            self.splits = self.splits.to(self.device)
        self.probes = probe_set(self.trials[0], self.splits)
        self.slicing = slicing(self.trials, self.device, fuse=self.fuse)
        self.evaluations = frozenset(evaluation_updates(self.trials[0], every=self.every))
        self.checkpoint_due = self.checkpoints.timer() if self.checkpoints else lambda: False

    def train(self) -> list[TrialResult]:
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            return self._train()

    def _train(self) -> list[TrialResult]:
        self._resume()
        self.on_start(*self._standing())
        while len(self.results) < len(self.trials):
            members = self.trials[len(self.results) :][: self.slicing.size]
            try:
                self.results += self._train_slice(members)
            except torch.OutOfMemoryError as error:
                self._spare_memory(members, error)
            except Exception:
                if not self.slicing.fused:
                    raise
                # Whose fault it was shows in a loop, which lets the others go on.
                self.slicing = Slicing(self.slicing.size, fused=False)
            self.begun = None
        return self.results

    def _spare_memory(self, members: Sequence[Trial], error: torch.OutOfMemoryError) -> None:
        if len(members) == 1:
            self.results.append(TrialResult("out_of_memory", " ".join(str(error).split())[:500]))
        self.slicing = Slicing(max(1, len(members) // 2), self.slicing.fused)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _train_slice(self, trials: Sequence[Trial]) -> list[TrialResult]:
        started = time.perf_counter()
        reset_peak_memory(self.device)
        members, fused = members_of(trials, self.device), False
        seconds = selection_seconds = 0.0
        if trials[0].training is None:
            for member in members:
                evaluate(member, self.probes, epoch=0.0, final=True)
        else:
            lockstep = (Fused if self.slicing.fused else Looped)(members, self.device)
            feed = Feed(members, self.splits.train, self.device)
            fused = lockstep.fused
            if self.begun is not None:
                lockstep.load_state_dict(self.begun["lockstep"])
                feed.load_state_dict(self.begun["feed"])
                seconds = self.begun["seconds"]
            self._train_in_lockstep(lockstep, feed, lambda: seconds + time.perf_counter() - started)
            selection_seconds = feed.seconds
        seconds += time.perf_counter() - started
        elsewhere = selection_seconds + sum(member.evaluate_seconds for member in members)
        cost = {
            "train_seconds": max(seconds - elsewhere, 0.0) / len(members),
            "selection_seconds": selection_seconds / len(members),
            "peak_memory_bytes": peak_memory_bytes(self.device),
            "device": describe(self.device),
            "threads": torch.get_num_threads(),
            "slice_size": len(members),
            "fused": fused,
        }
        return [_result(member, cost, keep_weights=self.keep_weights) for member in members]

    def _train_in_lockstep(self, lockstep: Lockstep, feed: Feed, seconds: Callable[[], float]) -> None:
        trial = self.trials[0]
        steps, total = steps_per_epoch(trial), num_updates(trial)
        try:
            self._evaluate(lockstep)
            for views in feed.views(first=lockstep.updates):
                if all(member.status != "ok" for member in lockstep.members):
                    return
                lockstep.update(views)
                if lockstep.updates % steps == 0 or lockstep.updates == total:
                    lockstep.close_epoch()
                self._evaluate(lockstep)
                self._advance(lockstep)
                if self.checkpoint_due():
                    self._save(lockstep, feed, seconds())
        except Interrupted:
            if self.checkpoints:
                self._save(lockstep, feed, seconds())
            raise

    def _evaluate(self, lockstep: Lockstep) -> None:
        """Measure, where it is time for it, every member that was not measured before an interruption."""
        trial, done = self.trials[0], lockstep.updates
        if done not in self.evaluations:
            return
        epoch, final = done / steps_per_epoch(trial), done == num_updates(trial)
        for member in lockstep.members:
            if member.status != "ok" or (member.history and member.history[-1]["updates"] == done):
                continue
            _guarded(member, partial(evaluate, member, self.probes, epoch=epoch, final=final))
            if member.status == "ok" and not final and (reason := self.prune(member.trial, member.history[-1])):
                member.fail("stopped", reason)
            self._advance(lockstep)

    def _advance(self, lockstep: Lockstep) -> None:
        done = len(lockstep.members) * lockstep.updates / num_updates(self.trials[0])
        self.on_progress((len(self.results) + done) / len(self.trials))

    def _save(self, lockstep: Lockstep, feed: Feed, seconds: float) -> None:
        assert self.checkpoints is not None
        state = {
            "pack": self._identity(),
            "results": [plain(result) for result in self.results],
            "size": self.slicing.size,
            "fused": self.slicing.fused,
            "begun": {"lockstep": lockstep.state_dict(), "feed": feed.state_dict(), "seconds": seconds},
        }
        self.checkpoints.save(state)

    def _resume(self) -> None:
        state = self.checkpoints.load(self.device) if self.checkpoints else None
        if state is None or state["pack"] != self._identity():
            return
        self.results = [result_of(result) for result in state["results"]]
        self.slicing = Slicing(state["size"], state["fused"])
        self.begun = state["begun"]

    def _standing(self) -> tuple[float, float]:
        """The share of the pack that is done, and the seconds that went into it."""
        share = float(len(self.results))
        seconds = sum(result.cost.get(name, 0.0) for result in self.results for name in _SECONDS)
        if self.begun is not None:
            slice_ = self.begun["lockstep"]
            share += len(slice_["members"]) * slice_["updates"] / num_updates(self.trials[0])
            seconds += self.begun["seconds"]
        return share / len(self.trials), seconds

    def _identity(self) -> list[str]:
        """What another run must have in common with this one to compute the same bits."""
        made_by = [str(torch.__version__), describe(self.device), f"{torch.get_num_threads()} threads"]
        return made_by + [trial.trial_id for trial in self.trials]


def _num_bytes(splits: Splits) -> int:
    return splits.images.nbytes + splits.test.images.nbytes


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


def _result(member: Member, shared_cost: dict[str, Any], *, keep_weights: bool) -> TrialResult:
    training, well = member.trial.training, member.status == "ok"
    images = member.updates * images_per_update(member.trial)
    seconds = float(shared_cost["train_seconds"])
    cost = {
        **shared_cost,
        "evaluate_seconds": member.evaluate_seconds,
        "images_per_second": images / seconds if images and seconds > 0 else None,
    }
    weights = {name: value.detach().cpu() for name, value in member.network.state_dict().items()}
    return TrialResult(
        status=member.status,
        error=member.error,
        epochs=member.updates / steps_per_epoch(member.trial) if training else 0.0,
        updates=member.updates,
        images=images,
        outcomes=member.outcomes if well else {},
        cost=cost,
        history=tuple(member.history),
        weights=weights if keep_weights and well else None,
    )
