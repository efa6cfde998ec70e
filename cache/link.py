"""One connection to a shared store, as the coalescer sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Values = list[bytes | None]
Entries = Sequence[tuple[bytes, bytes]]


class Link(Protocol):
    """One connection. It answers one exchange at a time; losing it raises StoreUnavailable."""

    async def connect(self) -> None:
        """Connect, or raise StoreUnavailable."""
        ...

    async def ping(self) -> None:
        """Make sure that the other end is there, or raise StoreUnavailable."""
        ...

    async def get(self, keys: Sequence[bytes]) -> Values | None:
        """Return the keys' values; None when the store answered with an error."""
        ...

    async def put(self, entries: Entries) -> int:
        """Write the entries and return how many the store refused."""
        ...

    async def disconnect(self) -> None:
        """Let go of the connection, whatever its state."""
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """Deadlines of a coalescer, in seconds.

    Of a lookup, of an exchange before the link is given up, and of silence before the link is tried.
    """

    lookup_timeout_s: float = 0.01
    stall_timeout_s: float = 1.0
    heartbeat_s: float = 1.0
