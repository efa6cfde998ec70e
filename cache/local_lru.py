"""The in-process level: bounded in bytes, least frequently used first out, entries with a lifetime."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import cachebox

from cache.store import StoreCounts

V = TypeVar("V")

ENTRY_OVERHEAD_BYTES = 200  # the key, the map's slot, the (expiry, value) pair and the value's own header
SWEEPS_PER_TTL = 8
SWEEP_STEP = 64


class LocalStore(Generic[V]):
    """Values of one process, for `ttl_s` seconds at most, in `max_bytes` bytes at most.

    Lifetimes are shortened by up to `ttl_jitter` at random, so that what came together does not go
    together. Frequencies do not age by themselves: a slow sweep behind the writes drops what has expired,
    and with it the fame of entries which nobody asks for any more. `LocalStore[bytes]` is a `Store`.
    """

    def __init__(
        self,
        max_bytes: int,
        *,
        size_of: Callable[[V], int],
        ttl_s: float = 3600.0,
        ttl_jitter: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._ttl_jitter = ttl_jitter
        self._clock = clock
        self._entries: cachebox.LFUCache[bytes, tuple[float, V]] = cachebox.LFUCache(
            max(1, max_bytes),
            getsizeof=lambda key, entry: len(key) + size_of(entry[1]) + ENTRY_OVERHEAD_BYTES,
        )
        self._sweep: Iterator[bytes] = iter(())
        self._next_sweep_at = clock() + ttl_s / SWEEPS_PER_TTL
        self._hits = self._misses = self._writes = self._dropped = 0

    def get_now(self, key: bytes) -> V | None:
        """Return a key's value; None for a miss."""
        entry: tuple[float, V] | None = self._entries.get(key)
        if entry is None or entry[0] <= self._clock():
            self._misses += 1
            return None
        self._hits += 1
        return entry[1]

    def get_many_now(self, keys: Sequence[bytes]) -> list[V | None]:
        """Return each key's value, in order; None for a miss."""
        now = self._clock()
        found: list[V | None] = []
        for key in keys:
            entry: tuple[float, V] | None = self._entries.get(key)
            found.append(None if entry is None or entry[0] <= now else entry[1])
        misses = sum(value is None for value in found)
        self._misses += misses
        self._hits += len(found) - misses
        return found

    def get_all_now(self, keys: Sequence[bytes]) -> list[V] | None:
        """Return every key's value, in order, or None at the first miss; only hits of all are counted."""
        now = self._clock()
        found: list[V] = []
        for key in keys:
            entry: tuple[float, V] | None = self._entries.get(key)
            if entry is None or entry[0] <= now:
                return None
            found.append(entry[1])
        self._hits += len(found)
        return found

    def put_many_now(self, entries: Iterable[tuple[bytes, V]]) -> None:
        """Keep (key, value) pairs; one that is larger than the whole level is dropped."""
        now, insert, jitter = self._clock(), self._entries.insert, self._ttl_s * self._ttl_jitter
        latest = now + self._ttl_s
        for key, value in entries:
            try:
                insert(key, (latest - jitter * random.random(), value))  # noqa: S311 - no secret
                self._writes += 1
            except OverflowError:
                self._dropped += 1
        self._drop_some_expired(now)

    def drop_many_now(self, keys: Iterable[bytes]) -> None:
        """Forget these keys."""
        for key in keys:
            self._entries.pop(key, None)

    async def get_many(self, keys: Sequence[bytes]) -> list[V | None]:
        """Return each key's value, in order; None for a miss."""
        return self.get_many_now(keys)

    async def put_many(self, entries: Sequence[tuple[bytes, V]]) -> None:
        """Keep (key, value) pairs."""
        self.put_many_now(entries)

    def counts(self) -> StoreCounts:
        """Return a snapshot of the level's counters."""
        return StoreCounts(hits=self._hits, misses=self._misses, writes=self._writes, dropped_writes=self._dropped)

    async def close(self) -> None:
        """Let go of every entry."""
        self._entries.clear()

    @property
    def is_alive(self) -> bool:
        """Always: nothing runs in the background."""
        return True

    @property
    def unanswered(self) -> int:
        """None: this process always answers."""
        return 0

    @property
    def items(self) -> int:
        """Entries kept now, expired ones included until the sweep has come by."""
        return len(self._entries)

    @property
    def used_bytes(self) -> int:
        """Estimated memory of the entries, in bytes."""
        return self._entries.current_size()

    def _drop_some_expired(self, now: float) -> None:
        if now >= self._next_sweep_at:
            self._next_sweep_at = now + self._ttl_s / SWEEPS_PER_TTL
            self._sweep = iter(list(self._entries.keys()))
        for _, key in zip(range(SWEEP_STEP), self._sweep):  # noqa: B905 - stops at whichever ends first
            entry: tuple[float, V] | None = self._entries.peek(key)
            if entry is not None and entry[0] <= now:
                del self._entries[key]
