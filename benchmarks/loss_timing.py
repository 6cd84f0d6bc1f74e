"""Forward and backward of a family, its peers and its floor, in turn in one run; medians.

In turn because a shared machine drifts: a ratio of two medians of one alternating run moves far less than the
milliseconds do.
"""

import functools
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from loss_memory import can_measure, ours, peak_above_idle, two_views
from loss_peers import PEERS, SETTINGS, LossFunction
from matrix_floor import floors

# Each figure is a fresh process; below this size it says more about the allocator than about the loss.
SMALLEST_MEMORY_SIZE = 4096
Clock = Callable[[], float]
# From here on one call takes so long that a warm-up would only double it.
LARGEST_WARM_UP_SIZE = 4096
# A contender gets no new round after so many seconds, estimated from its warm-up.
SECONDS_PER_CONTENDER = 12.0


@dataclass(frozen=True)
class Limits:
    """The shape of the work, what it is timed with, and where peers are left out."""

    dim: int
    tile: int | None
    threads: int
    repeats: int | None
    memory: bool
    memory_bytes: float
    seconds: float
    clock: Clock


@dataclass(frozen=True)
class Row:
    """One family at one batch size.

    milliseconds: median per contender: `ours`, `floor` (the best block height), a column of PEERS.
    peak_bytes: above the idle process, per contender, where measured.
    missing: why a peer has no time.
    """

    family: str
    size: int
    repeats: int
    milliseconds: Mapping[str, float]
    peak_bytes: Mapping[str, float]
    missing: Mapping[str, str] = field(default_factory=dict)

    def ratio(self, contender: str) -> float:
        """Time of a contender over ours; above 1 where ours is faster; NaN where it has no time."""
        return self.milliseconds.get(contender, float("nan")) / self.milliseconds["ours"]

    def memory_ratio(self) -> float:
        """Our peak memory over plain torch's; below 1 where ours is smaller; NaN where not measured."""
        return self.peak_bytes.get("ours", float("nan")) / self.peak_bytes.get("plain", float("nan"))


def default_repeats(size: int) -> int:
    """More rounds where a round is short."""
    return next((repeats for limit, repeats in ((256, 30), (1024, 7), (4096, 3)) if size <= limit), 1)


def measure(family: str, size: int, limits: Limits, previous: Row | None) -> Row:
    """All contenders of one family at one batch size.

    previous: the row of the next smaller size, which predicts what takes too long; None if there is none.
    """
    repeats = limits.repeats if limits.repeats is not None else default_repeats(size)
    peers, missing = _affordable_peers(family, size, limits, previous)
    u, v = two_views(size, limits.dim)
    work = {
        name: _forward_and_backward(loss, u, v) for name, loss in {"ours": ours(family, limits.tile), **peers}.items()
    }
    seconds = functools.partial(_seconds, clock=limits.clock)
    floor_work = floors(family, size, limits.dim, seconds)
    medians = alternating_medians(work | floor_work, repeats, seconds, warm_up=size <= LARGEST_WARM_UP_SIZE)
    milliseconds = {name: 1e3 * medians[name] for name in work}
    if floor_work:
        milliseconds["floor"] = 1e3 * min(medians[name] for name in floor_work)
    return Row(family, size, repeats, milliseconds, peak_memory(family, size, limits), missing)


def alternating_medians(
    work: Mapping[str, Callable[[], None]],
    repeats: int,
    seconds: Callable[[Callable[[], None]], float],
    *,
    warm_up: bool,
) -> dict[str, float]:
    """Median seconds of each piece of work, done once each per round; what is slow sits out the later rounds."""
    rounds = dict.fromkeys(work, repeats)
    if warm_up:
        rounds = {name: min(repeats, math.ceil(SECONDS_PER_CONTENDER / seconds(each))) for name, each in work.items()}
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(repeats):
        for name, each in work.items():
            if turn < rounds[name]:
                times[name].append(seconds(each))
    return {name: statistics.median(values) for name, values in times.items()}


def peak_memory(family: str, size: int, limits: Limits) -> dict[str, float]:
    """Peak bytes above idle of ours, and of plain torch where there is one within the memory limit."""
    plain = PEERS.get(family, {}).get("plain")
    if not limits.memory or size < SMALLEST_MEMORY_SIZE or not can_measure():
        return {}
    contenders = ["ours", "plain"] if plain is not None and plain.peak_bytes(size) <= limits.memory_bytes else ["ours"]
    return {
        name: peak_above_idle(family, name, size=size, dim=limits.dim, tile=limits.tile, threads=limits.threads)
        for name in contenders
    }


def _affordable_peers(
    family: str, size: int, limits: Limits, previous: Row | None
) -> tuple[dict[str, LossFunction], dict[str, str]]:
    losses, missing = {}, {}
    for column, peer in PEERS.get(family, {}).items():
        needed = peer.peak_bytes(size)
        predicted = _predicted_seconds(column, size, previous)
        if needed > limits.memory_bytes:
            missing[column] = f"needs about {needed / 1e9:.0f} GB"
        elif predicted > limits.seconds:
            missing[column] = f"would take about {predicted:.0f} s"
        else:
            try:
                losses[column] = peer.build(SETTINGS[family], limits.dim)
            except ImportError as error:
                missing[column] = f"not installed: {error.name}"
    return losses, missing


def _predicted_seconds(column: str, size: int, previous: Row | None) -> float:
    if previous is None or column not in previous.milliseconds:
        return 0.0
    return previous.milliseconds[column] / 1e3 * (size / previous.size) ** 2


def _forward_and_backward(loss: LossFunction, u: torch.Tensor, v: torch.Tensor) -> Callable[[], None]:
    def work() -> None:
        u.grad = v.grad = None
        loss(u, v).backward()

    return work


def _seconds(work: Callable[[], None], clock: Clock) -> float:
    start = clock()
    work()
    return clock() - start
