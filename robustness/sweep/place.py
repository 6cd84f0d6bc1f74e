"""Where a sweep runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A cluster.

    Args:
        address: of a Ray cluster, HOST:PORT or `auto`; None for one on this machine, which ends with the sweep.
        insecure: whether a cluster without token authentication is accepted.
    """

    address: str | None = None
    insecure: bool = False

    @property
    def grows(self) -> bool:
        """Whether machines may come and go."""
        return self.address is not None
