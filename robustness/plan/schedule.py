"""Packs one after another on several workers: in which order, and when each ends."""

import heapq
from collections.abc import Mapping, Sequence

import pandas as pd


def in_order(planned: pd.DataFrame, costs: Mapping[str, float], *, by_seed: bool = False) -> list[str]:
    """Packs as they are handed out: the most expensive first, so that the last one keeps no worker busy alone.

    Args:
        planned: trials with their `pack_id` and `seed`.
        costs: of each pack.
        by_seed: all packs of the first seed before those of the next, so that what is done when time is up is whole.
    """
    seeds = dict(zip(planned["pack_id"], planned["seed"], strict=True))
    return sorted(costs, key=lambda pack: (seeds[pack] if by_seed else 0, -costs[pack], pack))


def ends(seconds: Sequence[float], *, workers: int) -> list[float]:
    """When each pack ends, if each in turn goes to the worker that is free first; in their order, in seconds."""
    free = [0.0] * workers
    times = []
    for each in seconds:
        times.append(heapq.heappop(free) + each)
        heapq.heappush(free, times[-1])
    return times
