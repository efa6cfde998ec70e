"""What every store of cached values promises."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """What a store has done and refused since it was opened; keys and entries, not calls."""

    hits: int = 0
    misses: int = 0
    timeouts: int = 0
    refused: int = 0
    errors: int = 0
    writes: int = 0
    dropped_writes: int = 0


class Store(Protocol):
    """Keeps values by key. An outage is misses and dropped writes, counted, and never an exception."""

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return each key's value, in order; None for a miss."""
        ...

    async def put_many(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep (key, value) pairs; of two under one key the later stays."""
        ...

    def counts(self) -> StoreCounts:
        """Return a snapshot of the store's counters."""
        ...

    async def close(self) -> None:
        """Finish what was accepted and let go of everything; closing twice is closing once."""
        ...

    @property
    def is_alive(self) -> bool:
        """Whether the store's own background work, if it has any, still runs."""
        ...

    @property
    def unanswered(self) -> int:
        """Keys that were asked for and got no answer: timeouts, refusals and errors, of which `None` says nothing."""
        ...


class Gate(Protocol):
    """Decides whether a store that may be ill is asked at all; a circuit breaker is one."""

    def allow(self, now: float) -> bool:
        """Whether to go ahead at this time, in seconds of a monotonic clock."""
        ...

    def succeeded(self, now: float) -> None:
        """Report that a call was answered in time."""
        ...

    def failed(self, now: float) -> None:
        """Report that a call was answered late, with an error, or not at all."""
        ...


class OpenGate:
    """Lets everything pass."""

    def allow(self, now: float) -> bool:  # noqa: ARG002 - the protocol's signature
        """Return True."""
        return True

    def succeeded(self, now: float) -> None:
        """Ignore the report."""

    def failed(self, now: float) -> None:
        """Ignore the report."""
