"""A sweep on a cluster that isn't there: machines go, workers die, packs end, and our own queue decides."""

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter
from typing import Any

import numpy as np

from robustness.sweep.queue import LEAST_SECONDS, MOST_REPORTS, MOST_SECONDS, PackQueue
from robustness.sweep.turns import Turn

HOUR = 3600.0


@dataclass(frozen=True)
class World:
    """What a cluster does to a sweep; times in seconds.

    Args:
        gpus: workers, each with one.
        gpus_per_node: that come and go together.
        preemptions: of a node, an hour.
        notice: the share of them that is told `notice_seconds` before.
        replaced_after: mean time until another node is there.
        crashes: of a worker on a machine that stays, an hour.
        detected_after: until Ray tells of a machine that is gone.
        start: until a worker has imported what it needs.
        between: two packs of a worker: storing one, asking for the next.
        checkpoint: between two of a pack.
    """

    gpus: int
    gpus_per_node: int = 8
    preemptions: float = 0.01
    notice: float = 0.5
    notice_seconds: float = 30.0
    replaced_after: float = 300.0
    crashes: float = 0.0005
    detected_after: float = 30.0
    start: float = 20.0
    between: float = 2.0
    checkpoint: float = 600.0


@dataclass
class Outcome:
    """What became of a sweep; times in seconds, of one GPU each where nothing else is said."""

    wall: float = 0.0
    emptied_at: float = math.inf
    offered: float = 0.0
    offered_until_empty: float = 0.0
    useful: float = 0.0
    useful_until_empty: float = 0.0
    lost: float = 0.0
    preemptions: int = 0
    crashes: int = 0
    stored: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    calls: int = 0
    call_seconds: float = 0.0

    @property
    def utilisation_until_empty(self) -> float:
        """Time that made results over time that machines were there, while packs waited."""
        return self.useful_until_empty / self.offered_until_empty

    @property
    def utilisation(self) -> float:
        """The same, until the last pack was stored."""
        return self.useful / self.offered


@dataclass
class _Node:
    name: str
    up_since: float
    leaving: bool = False


@dataclass
class _Attempt:
    worker: str
    turn: Turn
    slot: int
    begun: float
    share: float
    seconds: float
    """That the whole turn takes."""


class Simulation:
    """Drives a `PackQueue` with workers that only pass time.

    Args:
        packs: how many trials each has, in the order in which they are handed out.
        seconds: that each takes on one GPU.
        world: what happens.
        killers: packs of which one trial ends its worker, and the place of that trial.
        seed: of all that is random.
    """

    def __init__(
        self,
        packs: Mapping[str, int],
        seconds: Mapping[str, float],
        world: World,
        *,
        killers: Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        self.packs, self.seconds, self.world, self.killers = packs, seconds, world, dict(killers or {})
        self.random = np.random.default_rng(seed)
        self.now, self.numbers, self.outcome = 0.0, count(), Outcome()
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.queue = PackQueue(packs, living=self._living, clock=lambda: self.now)
        self.nodes: list[_Node | None] = [None] * -(-world.gpus // world.gpus_per_node)
        self.running: dict[int, _Attempt] = {}
        self.starting: set[int] = set()
        self.saved: dict[Turn, float] = {}

    def run(self) -> Outcome:
        """Until every pack is stored.

        Raises:
            RuntimeError: the queue hands out nothing, but packs are left.
        """
        for place in range(len(self.nodes)):
            self._node_comes(place)
        while len(self.outcome.stored) < len(self.packs):
            if not self.events or self.queue.stop_reason:
                raise RuntimeError(f"{len(self.outcome.stored)} of {len(self.packs)} packs: {self.queue.stop_reason}")
            self.now, _, happens, arguments = heapq.heappop(self.events)
            happens(*arguments)
        self.outcome.wall = self.now
        for node in self.nodes:
            if node is not None:
                self._offered(node)
        return self.outcome

    def _after(self, seconds: float, happens: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.numbers), happens, arguments))

    def _ask(self, method: Callable[..., Any], *arguments: Any) -> Any:
        begun = perf_counter()
        answer = method(*arguments)
        self.outcome.call_seconds += perf_counter() - begun
        self.outcome.calls += 1
        return answer

    def _living(self) -> set[str]:
        return {node.name for node in self.nodes if node is not None and not node.leaving}

    def _slots(self, place: int) -> range:
        width = self.world.gpus_per_node
        return range(place * width, min((place + 1) * width, self.world.gpus))

    def _node_comes(self, place: int) -> None:
        node = self.nodes[place] = _Node(f"node{next(self.numbers)}", self.now)
        if self.world.preemptions:
            told = self.random.random() < self.world.notice
            goes = self._node_is_told if told else self._node_goes
            self._after(self.random.exponential(HOUR / self.world.preemptions), goes, place, node)
        self._wake()

    def _node_is_told(self, place: int, node: _Node) -> None:
        node.leaving = True
        self._ask(self.queue.leave, {node.name: node.name})
        for slot in self._slots(place):
            attempt = self.running.pop(slot, None)
            if attempt is not None:
                share = self._share(attempt, self.now - attempt.begun)
                self.queue.held[attempt.worker].share = share
                self._ask(self.queue.give_back, attempt.worker)
                self._kept(attempt, self.now - attempt.begun, share)
        self._wake()
        self._after(self.world.notice_seconds, self._node_goes, place, node)

    def _node_goes(self, place: int, node: _Node) -> None:
        self.outcome.preemptions += 1
        self._offered(node)
        self.nodes[place] = None
        for slot in self._slots(place):
            self.starting.discard(slot)
            if slot in self.running:
                self._worker_dies(slot, detected_after=self.world.detected_after)
        self._after(self.random.exponential(self.world.replaced_after), self._node_comes, place)

    def _worker_dies(self, slot: int, *, detected_after: float) -> None:
        attempt = self.running.pop(slot)
        passed = self.now - attempt.begun
        kept = passed // self.world.checkpoint * self.world.checkpoint
        self._kept(attempt, kept, self._share(attempt, kept))
        self.outcome.lost += passed - kept
        self._after(detected_after, self._death_is_known, attempt.worker)

    def _death_is_known(self, worker: str) -> None:
        self._ask(self.queue.died, worker.partition("/")[0], "it is gone")
        self._wake()

    def _wake(self) -> None:
        """Workers start where no other is, as long as packs wait."""
        wanted = len(self.queue.waiting) - len(self.starting)
        for place, node in enumerate(self.nodes):
            if node is None or node.leaving:
                continue
            for slot in self._slots(place):
                if wanted <= 0:
                    return
                if slot not in self.running and slot not in self.starting:
                    self.starting.add(slot)
                    self._after(self.world.start, self._worker_asks, slot, node, f"trial{next(self.numbers)}/0")
                    wanted -= 1

    def _worker_asks(self, slot: int, node: _Node, worker: str) -> None:
        self.starting.discard(slot)
        if self.nodes[slot // self.world.gpus_per_node] is not node or node.leaving or slot in self.running:
            return
        turn = self._ask(self.queue.take, worker, node.name)
        if not self.queue.waiting:
            self.outcome.emptied_at = min(self.outcome.emptied_at, self.now)
        if turn is None:
            return
        seconds, share = self._seconds(turn), self.saved.get(turn, 0.0)
        attempt = self.running[slot] = _Attempt(worker, turn, slot, self.now, share, seconds)
        self._ask(self.queue.begin, worker, share, None)
        left = (1 - share) * seconds
        crash = self.random.exponential(HOUR / self.world.crashes) if self.world.crashes else math.inf
        if self._kills(turn):
            crash = min(crash, 0.5 * left)
        if crash < left:
            self._after(crash, self._worker_crashes, attempt)
        else:
            self._after(left, self._turn_ends, attempt, node)

    def _kills(self, turn: Turn) -> bool:
        killer = self.killers.get(turn.pack)
        return killer is not None and turn.fallen is None and turn.member in (None, killer)

    def _seconds(self, turn: Turn) -> float:
        if turn.fallen is not None:
            return 1.0
        return self.seconds[turn.pack] / (1 if turn.member is None else self.packs[turn.pack])

    def _worker_crashes(self, attempt: _Attempt) -> None:
        if self.running.get(attempt.slot) is attempt:
            self.outcome.crashes += 1
            self._worker_dies(attempt.slot, detected_after=0.0)

    def _turn_ends(self, attempt: _Attempt, node: _Node) -> None:
        if self.running.get(attempt.slot) is not attempt:
            return
        del self.running[attempt.slot]
        self._kept(attempt, self.now - attempt.begun, 0.0)
        failed = len(attempt.turn.fallen or ())
        self._ask(self.queue.finish, attempt.worker, failed)
        for ended in self._ask(self.queue.news).ended:
            self.outcome.stored[ended.pack] = self.outcome.stored.get(ended.pack, 0) + 1
            self.outcome.failed += ended.failed
        self.starting.add(attempt.slot)
        self._after(self.world.between, self._worker_asks, attempt.slot, node, attempt.worker)
        self._wake()

    def _share(self, attempt: _Attempt, passed: float) -> float:
        return min(attempt.share + passed / attempt.seconds, 1.0)

    def _kept(self, attempt: _Attempt, seconds: float, share: float) -> None:
        self.saved[attempt.turn] = share
        self.outcome.useful += seconds
        until = self.outcome.emptied_at
        self.outcome.useful_until_empty += max(min(attempt.begun + seconds, until) - attempt.begun, 0.0)

    def _offered(self, node: _Node) -> None:
        slots = len(self._slots(self.nodes.index(node)))
        self.outcome.offered += slots * (self.now - node.up_since)
        until = min(self.now, self.outcome.emptied_at)
        self.outcome.offered_until_empty += slots * max(until - node.up_since, 0.0)


def reports_a_second(workers: int) -> float:
    """What the queue is told by so many workers, at the interval that it asks for."""
    return workers / min(max(workers / MOST_REPORTS, LEAST_SECONDS), MOST_SECONDS)
