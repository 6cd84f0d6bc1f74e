"""What an update takes on this machine, measured on images that are made up."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter

import torch

from robustness.data import Split, Splits, load
from robustness.plan import images_per_update, update_cost
from robustness.training.devices import describe
from robustness.training.pack import Interrupted, train_pack
from robustness.training.slices import Fuse
from robustness.trial import Trial

MOST_UPDATES = 20
SECONDS = 2.0
"""After so long no further update is measured."""

_LONGEST_UPDATE = 5.0
"""Seconds: where the update of a pack is expected to take longer, one member is measured for all."""


@dataclass(frozen=True)
class Measured:
    """The updates of one kind of pack on one device.

    Args:
        device: in words.
        members: trained at once.
        seconds: that an update takes each of them.
        images_per_second: of all members together.
    """

    device: str
    members: int
    seconds: float
    images_per_second: float


def measure(trials: Sequence[Trial], *, device: torch.device, fuse: Fuse = "auto") -> Measured:
    """Train a pack for a few updates, the first of which, with all that it sets up, doesn't count.

    Needs no data set on disk. What batch policies take to choose is not in it, nor is evaluation.

    Args:
        trials: of a pack, with a loss.
        device: where.
        fuse: as the study says.
    """
    if update_cost(trials[0]) * len(trials) > _LONGEST_UPDATE:
        trials = trials[:1]
    short = [_of_updates(trial, MOST_UPDATES + 1) for trial in trials]
    times: list[float] = []
    members = len(trials)

    def note(share: float) -> None:
        nonlocal members
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(perf_counter())
        if len(times) == 1:
            members = round(share * len(short) * (MOST_UPDATES + 1))
        done = len(times) - 1
        if done >= MOST_UPDATES or times[-1] - times[0] >= SECONDS:
            raise Interrupted

    with suppress(Interrupted):
        train_pack(short, splits=_made_up(short[0]), device=device, fuse=fuse, on_progress=note)
    update = (times[-1] - times[0]) / max(len(times) - 1, 1)
    images = images_per_update(trials[0])
    return Measured(describe(device), members, update / members, images * members / update)


def _of_updates(trial: Trial, count: int) -> Trial:
    assert trial.training is not None
    kept = {name: value for name, value in trial.training.items() if name not in ("epochs", "images")}
    return replace(trial, training={**kept, "updates": count}, evaluation={**trial.evaluation, "probes": []})


def _made_up(trial: Trial) -> Splits:
    """One random image for all, in the memory of one."""
    facts = trial.dataset
    if facts.is_free:
        return load(trial.data)
    labelled = facts.num_fit + facts.num_validation
    image = torch.randint(0, 256, facts.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def several(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        return image.expand(count, *facts.shape), torch.arange(count) % facts.num_classes

    images, _ = several(max(facts.num_train, labelled))
    return Splits(images, several(labelled)[1], Split(*several(facts.num_test)), facts.num_train, facts.num_fit)
