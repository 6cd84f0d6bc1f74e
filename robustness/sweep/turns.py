"""What the queue of packs and its workers tell each other."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Fallen:
    """A member that ended its worker even alone, or ran out of time: its place in the pack, and what its row says."""

    member: int
    status: Literal["error", "timeout"]
    reason: str


@dataclass(frozen=True)
class Turn:
    """What a worker does next: a whole pack, unless it is one that takes workers down.

    Args:
        pack: to train and store.
        member: the place of the only member to train; what came of it is kept for later.
        fallen: given when all members have run alone: the pack is put together of them and stored.
    """

    pack: str
    member: int | None = None
    fallen: tuple[Fallen, ...] | None = None


@dataclass(frozen=True)
class Ended:
    """A pack that is stored: how many of its trials failed, and a line to print, empty if there is none."""

    pack: str
    failed: int
    message: str = ""


@dataclass(frozen=True)
class News:
    """What happened since the last news: packs that ended, the shares of packs that run, and lines to print."""

    ended: list[Ended]
    shares: dict[str, float]
    lines: list[str]
