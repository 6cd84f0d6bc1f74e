"""Packs that run far slower than others do on machines of the same kind."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from robustness.sweep.turns import Running

FEWEST = 4
"""Packs on one kind of machine, of which some may be slow."""

SLOW = 1 / 3
"""Of the median pace: a pack at this pace or below is a straggler."""

LEAST_SECONDS = 300.0
"""Before that, a pace says little: workers start, images travel."""

Kinds = Mapping[str, tuple[str, str]]
"""Of each living node by its id: its address, and what kind it is."""


class Stragglers:
    """Finds each straggler once.

    Args:
        costs: expected work of each pack; a pace is work done over seconds.
    """

    def __init__(self, costs: Mapping[str, float]) -> None:
        self.costs = costs
        self.told: set[str] = set()

    def lines(self, running: Sequence[Running], nodes: Kinds) -> list[str]:
        """A line for each pack that has become a straggler."""
        by_kind: dict[str, list[tuple[float, Running]]] = defaultdict(list)
        for turn in running:
            if turn.seconds >= LEAST_SECONDS and turn.node in nodes:
                pace = self.costs[turn.pack] * turn.gained / turn.seconds
                by_kind[nodes[turn.node][1]].append((pace, turn))
        lines = []
        for turns in by_kind.values():
            middle = median(pace for pace, _ in turns)
            if len(turns) < FEWEST or middle == 0:
                continue
            for pace, turn in turns:
                if pace <= SLOW * middle and turn.pack not in self.told:
                    self.told.add(turn.pack)
                    place, others = nodes[turn.node][0], len(turns) - 1
                    slow = f"advances at {pace / middle:.2f} of the median pace of {others} others on such machines"
                    lines.append(f"pack {turn.pack[:8]} on {place} {slow}")
        return lines
