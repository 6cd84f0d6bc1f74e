"""What the queue of packs and its workers tell each other."""

from dataclasses import dataclass, field
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
class Running:
    """A whole pack that runs: on which node, for how many seconds, and the share of it that was gained in them."""

    pack: str
    node: str
    seconds: float
    gained: float


@dataclass(frozen=True)
class News:
    """What happened since the last news, and how it stands.

    Args:
        ended: packs that ended.
        shares: of packs that have begun.
        lines: to print.
        running: packs that workers have.
        waiting: how many turns no worker has.
    """

    ended: list[Ended]
    shares: dict[str, float]
    lines: list[str]
    running: list[Running] = field(default_factory=list)
    waiting: int = 0
