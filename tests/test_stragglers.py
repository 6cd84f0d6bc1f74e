"""Packs that are far slower than others."""

import pytest

from robustness.sweep.stragglers import FEWEST, LEAST_SECONDS, SLOW, Stragglers
from robustness.sweep.turns import Running

KINDS = {"n1": ("10.0.0.1", "H100"), "n2": ("10.0.0.2", "H100"), "t4": ("10.0.0.3", "T4")}
COSTS = dict.fromkeys("abcdefgh", 100.0) | {"big": 1000.0}


def running(pack, gained, *, node="n1", seconds=LEAST_SECONDS):
    return Running(pack, node, seconds, gained)


def others(count=FEWEST, **options):
    return [running(name, 0.5, **options) for name in "bcdefgh"[: count - 1]]


def test_a_slow_pack_is_named_once_with_its_machine():
    found = Stragglers(COSTS)
    turns = [running("a", 0.1, node="n2"), *others()]
    (line,) = found.lines(turns, KINDS)
    assert line == "pack a on 10.0.0.2 advances at 0.20 of the median pace of 3 others on such machines"
    assert found.lines(turns, KINDS) == []


@pytest.mark.parametrize(
    ("slow", "rest"),
    [
        (running("a", 0.5 * SLOW + 0.01), others()),
        (running("a", 0.0, seconds=LEAST_SECONDS - 1), others()),
        (running("a", 0.0), others(FEWEST - 1)),
        (running("a", 0.05, node="t4"), others()),
        (running("a", 0.0, node="gone"), others()),
        # A tenth of the share of ten times the work.
        (running("big", 0.05), others()),
        (running("a", 0.0), others(seconds=LEAST_SECONDS - 1)),
    ],
    ids=[
        "not slow enough",
        "too early",
        "too few",
        "another kind",
        "a node that is gone",
        "more work",
        "no others yet",
    ],
)
def test_others_are_not(slow, rest):
    assert Stragglers(COSTS).lines([slow, *rest], KINDS) == []


def test_where_nothing_advances_nobody_is_slow():
    assert Stragglers(COSTS).lines([running(name, 0.0) for name in "abcdef"], KINDS) == []
