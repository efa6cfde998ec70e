"""Lookups and writes of several callers that travel together, and what each caller is told."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from cache.link import Entries, Values

MAX_LOOKUP_KEYS = 256
MAX_WRITE_ENTRIES = 256
MAX_WRITE_BYTES = 1 << 20

# A tuple and not a class: one is made for every lookup.
Waiter = tuple[float, tuple[bytes, ...], "asyncio.Future[Values]"]
"""A lookup's deadline, its keys (at most 256), and the future of their values."""


class Exchange:
    """Lookups that share one command, in the order of their deadlines."""

    __slots__ = ("_late", "_waiters", "keys")

    def __init__(self, waiters: list[Waiter]) -> None:
        self._waiters = waiters
        self._late = 0
        self.keys: Sequence[bytes] = (
            waiters[0][1] if len(waiters) == 1 else [key for _, keys, _ in waiters for key in keys]
        )

    @property
    def is_late(self) -> bool:
        """Whether someone could not wait for the answer."""
        return self._late > 0

    @property
    def next_deadline(self) -> float | None:
        """The first deadline that has not passed, if there is one."""
        return self._waiters[self._late][0] if self._late < len(self._waiters) else None

    def expire(self, now: float) -> int:
        """Answer by misses whose deadline has passed, and return how many keys that were."""
        passed = count_passed(self._waiters, now, self._late)
        late = self._waiters[self._late : passed]
        self._late = passed
        return miss(late)

    def deliver(self, values: Values) -> Values:
        """Give each caller that still waits its own values; return the values that were in time."""
        waiters = self._waiters
        if self._late:
            values = values[sum(len(keys) for _, keys, _ in waiters[: self._late]) :]
            waiters = waiters[self._late :]
        if len(waiters) == len(values):
            for (_, _, future), value in zip(waiters, values, strict=True):
                if not future.done():
                    future.set_result([value])
            return values
        start = 0
        for _, keys, future in waiters:
            end = start + len(keys)
            if not future.done():
                future.set_result(values[start:end])
            start = end
        return values

    def give_up(self) -> int:
        """Answer everyone who still waits by misses, and return how many keys that were."""
        late, self._late = self._late, len(self._waiters)
        return miss(self._waiters[late:])


def miss(waiters: Sequence[Waiter]) -> int:
    """Tell the callers that nothing was found, and return how many keys they had asked for."""
    asked = 0
    for _, keys, future in waiters:
        asked += len(keys)
        if not future.done():
            future.set_result([None] * len(keys))
    return asked


def count_passed(waiters: Sequence[Waiter], now: float, start: int = 0) -> int:
    """Return the index of the first waiter, from `start`, whose deadline has not passed."""
    while start < len(waiters) and waiters[start][0] <= now:
        start += 1
    return start


def take(waiting: list[Waiter]) -> list[Waiter]:
    """Remove and return the first waiters, as many as fit one command; the first always does."""
    count = asked = 0
    for _, keys, _ in waiting:
        asked += len(keys)
        if asked > MAX_LOOKUP_KEYS:
            break
        count += 1
    taken = waiting[:count]
    del waiting[:count]
    return taken


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """Entries that fit one pipeline, how many bytes they are, and a future for when they are written or dropped."""

    entries: Entries
    size: int
    future: "asyncio.Future[None]"

    def settle(self) -> None:
        """Tell the caller, if it still waits."""
        if not self.future.done():
            self.future.set_result(None)


def cut(entries: Entries) -> list[tuple[Entries, int]]:
    """Cut entries into pieces that fit a pipeline each, with their sizes in bytes; a lone entry always does."""
    pieces: list[tuple[Entries, int]] = []
    start = size = 0
    for index, (key, value) in enumerate(entries):
        more = len(key) + len(value)
        if index > start and (index - start == MAX_WRITE_ENTRIES or size + more > MAX_WRITE_BYTES):
            pieces.append((entries[start:index], size))
            start, size = index, 0
        size += more
    pieces.append((entries[start:], size))
    return pieces


def take_writes(waiting: deque[Write]) -> list[Write]:
    """Remove and return the first writes, as many as fit one pipeline; the first always does."""
    taken = [waiting.popleft()]
    count, size = len(taken[0].entries), taken[0].size
    while waiting:
        count, size = count + len(waiting[0].entries), size + waiting[0].size
        if count > MAX_WRITE_ENTRIES or size > MAX_WRITE_BYTES:
            break
        taken.append(waiting.popleft())
    return taken
