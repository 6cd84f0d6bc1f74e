"""The packs that are left, handed out one at a time."""

from dataclasses import dataclass, field

MOST_ATTEMPTS = 3
"""How often a pack may take its worker down before it is given up."""


@dataclass
class PackQueue:
    """Runs as one actor; workers ask it for packs, in the order given.

    A worker that asks again without having finished its pack died on it: the pack is tried again, and
    given up after three such deaths.
    """

    waiting: list[str]
    given_up: list[str] = field(default_factory=list)
    stop_reason: str | None = None
    _held: dict[str, str] = field(default_factory=dict)
    _attempts: dict[str, int] = field(default_factory=dict)

    def take(self, worker: str) -> str | None:
        """The next pack for this worker; None when there is none, or the sweep was stopped."""
        lost = self._held.pop(worker, None)
        if lost is not None and self._attempts[lost] >= MOST_ATTEMPTS:
            self.given_up.append(lost)
        elif lost is not None:
            self.waiting.insert(0, lost)
        if self.stop_reason is not None or not self.waiting:
            return None
        pack = self.waiting.pop(0)
        self._held[worker] = pack
        self._attempts[pack] = self._attempts.get(pack, 0) + 1
        return pack

    def finish(self, worker: str) -> None:
        """The worker stored its pack."""
        self._held.pop(worker, None)

    def stop(self, reason: str) -> None:
        """Hand out nothing more: results can't be stored."""
        self.stop_reason = self.stop_reason or reason

    def outcome(self) -> tuple[list[str], str | None]:
        """The packs that were given up, and why the sweep was stopped, if it was."""
        return self.given_up, self.stop_reason
