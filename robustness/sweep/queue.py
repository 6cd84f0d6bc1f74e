"""The packs that are left, handed out one at a time; who holds which, and what becomes of those that kill."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from robustness.sweep.turns import Ended, Fallen, News, Running, Turn

MOST_DEATHS = 3
"""How often in a row a pack may take its worker down, without progress, before its members run alone."""

LEAST_SECONDS, MOST_SECONDS = 1.0, 4.0
"""Between two reports of a worker; it has to hear of an interrupt before the driver's patience ends."""

MOST_REPORTS = 250
"""A second, of all workers, as far as that is possible."""

MOST_IDLE_DEATHS = 20
"""How many workers in a row may die before they take a turn."""


@dataclass
class _Held:
    turn: Turn
    node: str
    share: float = 0.0
    deadline: float | None = None
    begun: tuple[float, float] | None = None
    """When, and from which share on."""


@dataclass
class _Apart:
    """A pack whose members run alone: those that have not, and those that fell."""

    left: set[int]
    fallen: list[Fallen] = field(default_factory=list)


class PackQueue:
    """Runs as one actor, which workers ask for their turns.

    The turn of a worker that dies is given to another one. Deaths count while their node lives and stays and the
    checkpoint makes no progress. After three, or when it ran out of time, a pack's members run alone; one that then
    ends its worker again has fallen, and the pack is put together when all members have run.

    Args:
        packs: how many members each pack has, in the order in which they are handed out.
        trial_timeout: seconds that a trial may take, for reasons; None if there is no limit.
        living: the nodes that are alive and stay; asked only where a worker has died.
        clock: seconds.
    """

    def __init__(
        self,
        packs: Mapping[str, int],
        *,
        trial_timeout: float | None = None,
        living: Callable[[], set[str]] = set,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sizes = dict(packs)
        self.trial_timeout, self.living, self.clock = trial_timeout, living, clock
        self.waiting = deque(Turn(pack) for pack in packs)
        self.stop_reason: str | None = None
        self.interrupted = False
        self.held: dict[str, _Held] = {}
        self.dead: set[str] = set()
        self.leaving: set[str] = set()
        self.moving: set[str] = set()
        self.idle_deaths = 0
        self.deaths: dict[Turn, list[tuple[str, str]]] = {}
        self.shares: dict[Turn, float] = {}
        self.apart: dict[str, _Apart] = {}
        self.ended: list[Ended] = []
        self.lines: list[str] = []

    def take(self, worker: str, node: str) -> Turn | None:
        """The next turn of this worker; None when there is none, the sweep ends, or the worker shall move.

        Args:
            worker: the name of the Tune trial, a slash, and what tells its lives apart.
            node: where it runs.
        """
        self.idle_deaths = 0
        if node in self.leaving:
            return None
        while self.waiting and self.goes_on() and worker not in self.dead:
            turn = self.waiting.popleft()
            if self._kills(turn):
                self._end(turn)
                continue
            self.held[worker] = _Held(turn, node)
            return turn
        return None

    def begin(self, worker: str, share: float, seconds: float | None) -> None:
        """The worker trains from this share on; it will end itself after so many seconds, if there is a limit."""
        held = self.held.get(worker)
        if held is None:
            return
        if share > self.shares.get(held.turn, 0.0):
            self.shares[held.turn] = share
            self.deaths.pop(held.turn, None)
        held.share, held.begun = share, (self.clock(), share)
        held.deadline = None if seconds is None else self.clock() + seconds

    def advance(self, worker: str, share: float) -> float | None:
        """The worker got so far.

        Returns:
            After how many seconds it tells again, longer where many do; None where it shall save and end.
        """
        held = self.held.get(worker)
        if held is None:
            return None
        held.share = share
        if not self.goes_on() or held.node in self.leaving:
            return None
        return min(max(len(self.held) / MOST_REPORTS, LEAST_SECONDS), MOST_SECONDS)

    def moves(self, worker: str, node: str) -> bool:
        """Whether a worker without a turn shall end so that another one starts elsewhere: its node leaves."""
        if node not in self.leaving or not self.goes_on():
            return False
        self.moving.add(_trial(worker))
        return True

    def leave(self, nodes: Mapping[str, str]) -> None:
        """These nodes, by id with their address, are told to go: their workers save where they are and move."""
        for node in nodes.keys() - self.leaving:
            self.leaving.add(node)
            self.lines.append(f"{nodes[node]} is told to go: its packs are saved and go on elsewhere")

    def finish(self, worker: str, failed: int = 0, message: str = "") -> None:
        """The worker stored its pack, or kept what came of a member that ran alone."""
        held = self.held.pop(worker, None)
        if held is None:
            return
        turn = held.turn
        if turn.member is None:
            self.ended.append(Ended(turn.pack, failed, message))
            self.apart.pop(turn.pack, None)
        else:
            self._ran_alone(turn.pack, turn.member)
        self.shares.pop(turn, None)
        self.deaths.pop(turn, None)

    def give_back(self, worker: str) -> None:
        """The worker ends before its turn does."""
        held = self.held.pop(worker, None)
        if held is not None:
            self.shares[held.turn] = held.share
            self.waiting.appendleft(held.turn)

    def died(self, trial: str, cause: str) -> None:
        """The worker of this Tune trial is dead.

        Args:
            cause: as far as it is known.
        """
        workers = [worker for worker in self.held if _trial(worker) == trial]
        if not workers and trial in self.moving:
            self.moving.discard(trial)
        elif not workers:
            self.idle_deaths += 1
            if self.idle_deaths >= MOST_IDLE_DEATHS:
                self.stop(f"{MOST_IDLE_DEATHS} workers in a row died before they trained: {cause}")
        for worker in workers:
            held = self.held.pop(worker)
            self.dead.add(worker)
            late = held.deadline is not None and self.clock() >= held.deadline
            if late and held.turn.fallen is None:
                self._end(held.turn, timed_out=True)
            else:
                self.deaths.setdefault(held.turn, []).append((held.node, cause))
                self.waiting.appendleft(held.turn)
                self.lines.append(f"a worker died with pack {held.turn.pack[:8]}, which is tried again: {cause}")

    def stop(self, reason: str) -> None:
        """Hand out nothing more, and let workers save where they are: going on makes no sense."""
        self.stop_reason = self.stop_reason or reason

    def interrupt(self) -> None:
        """Hand out nothing more, and let workers save where they are: the user wants it."""
        self.interrupted = True

    def goes_on(self) -> bool:
        """Whether the sweep was neither stopped nor interrupted."""
        return self.stop_reason is None and not self.interrupted

    def news(self) -> News:
        """What happened since this was last asked."""
        turns = self.shares | {held.turn: held.share for held in self.held.values()}
        shares = {turn.pack: share for turn, share in turns.items() if turn.member is None}
        now = self.clock()
        running = [
            Running(held.turn.pack, held.node, now - held.begun[0], held.share - held.begun[1])
            for held in self.held.values()
            if held.begun is not None and held.turn.member is None
        ]
        news = News(self.ended, shares, self.lines, running, len(self.waiting))
        self.ended, self.lines = [], []
        return news

    def why_stopped(self) -> str | None:
        """Why the sweep was stopped, if it was."""
        return self.stop_reason

    def _kills(self, turn: Turn) -> bool:
        """Whether it has ended too many workers; nodes that are gone by now took them along."""
        deaths = self.deaths.get(turn)
        if not deaths:
            return False
        living = self.living()
        self.deaths[turn] = [(node, cause) for node, cause in deaths if node in living]
        return len(self.deaths[turn]) >= (MOST_DEATHS if turn.member is None else 1)

    def _end(self, turn: Turn, *, timed_out: bool = False) -> None:
        """A turn that can't be tried again: the pack is taken apart, or its member falls."""
        if turn.fallen is not None:
            self.stop(f"{MOST_DEATHS} workers died storing pack {turn.pack}: {self._cause(turn)}")
        elif turn.member is None and self.sizes[turn.pack] > 1:
            members = range(self.sizes[turn.pack])
            self.apart[turn.pack] = _Apart(set(members))
            self.waiting.extendleft(Turn(turn.pack, member) for member in reversed(members))
            what = "ran out of time" if timed_out else f"ended {MOST_DEATHS} workers"
            self.lines.append(f"pack {turn.pack[:8]} {what}: each of its {len(members)} trials runs alone")
        else:
            member = turn.member or 0
            apart = self.apart.setdefault(turn.pack, _Apart({member}))
            if timed_out:
                rule = f"ran longer than the {self.trial_timeout:g} seconds of resources.trial_timeout"
                apart.fallen.append(Fallen(member, "timeout", rule))
            else:
                apart.fallen.append(Fallen(member, "error", f"ended its worker, even alone: {self._cause(turn)}"))
            self._ran_alone(turn.pack, member)
        self.deaths.pop(turn, None)
        self.shares.pop(turn, None)

    def _ran_alone(self, pack: str, member: int) -> None:
        apart = self.apart[pack]
        apart.left.discard(member)
        if not apart.left:
            self.waiting.appendleft(Turn(pack, fallen=tuple(apart.fallen)))

    def _cause(self, turn: Turn) -> str:
        return self.deaths[turn][-1][1]


def _trial(worker: str) -> str:
    """The name of a worker's Tune trial."""
    return worker.rpartition("/")[0]
