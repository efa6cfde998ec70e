"""One connection to a shared store, as the coalescer sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

Values = list[bytes | None]
Entries = Sequence[tuple[bytes, bytes]]


class Link(Protocol):
    """One connection. It answers what it is asked in the order of the questions, by calling back, and never waits.

    What it is asked while there is no connection, or has not answered when the connection is lost, is never answered.
    """

    async def connect(self, lost: Callable[[], object]) -> None:
        """Connect, or raise StoreUnavailable; call `lost` if the connection is lost later."""
        ...

    def look_up(self, keys: Sequence[bytes], answer: Callable[[Values | None], object]) -> None:
        """Ask for the keys' values, or None when the store answers with an error."""
        ...

    def write(self, entries: Entries, answer: Callable[[int], object]) -> None:
        """Write the entries; the answer is how many the store refused."""
        ...

    def ping(self, answer: Callable[[], object]) -> None:
        """Ask whether the other end is there."""
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
