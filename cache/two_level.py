"""The cache of embeddings: an in-process level over a shared store, written behind the answers."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache.codec import Codec
from cache.local_lru import LocalStore
from cache.store import Store, StoreCounts

_log = logging.getLogger(__name__)

FLUSH_ITEMS = 256
FLUSH_EVERY_S = 0.002
CLOSE_TIMEOUT_S = 2.0
# What nobody has stored yet is not asked for again at once. Only in this process: a shared note of absences would
# let a stranger fill the store with keys of inputs that do not exist.
ABSENT_TTL_S = 30.0
ABSENT_BYTES = 8 * 2**20


class Lookup(NamedTuple):
    """A question: the storage key, the vector's dim, and the input's length in bytes where it is known.

    A tuple, because dozens are made per request and a frozen dataclass takes three times as long to make.
    """

    key: bytes
    dim: int
    input_length: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer: the storage key, a float32[dim] vector, and the length in bytes of the input behind it."""

    key: bytes
    vector: NDArray[np.float32]
    input_length: int


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What the cache has done since it was opened: a snapshot. Lookups and entries, not calls."""

    l1_hits: int
    shared_hits: int
    misses: int
    corrupt: int
    written_behind: int
    dropped_writes: int
    queued_writes: int
    l1_items: int
    l1_bytes: int
    shared: StoreCounts


Cached = tuple[NDArray[np.float32], int | None]
"""What the in-process level keeps: a vector which owns its memory, and its input's length where known."""


def cached_bytes(cached: Cached) -> int:
    """Return the memory of a vector in the in-process level, in bytes."""
    return cached[0].nbytes


class EmbeddingCache:
    """Looks vectors up in two levels, and keeps new ones in both. Belongs to the event loop it is made in.

    The in-process level keeps decoded vectors: a hit there costs no decoding. An outage of the shared
    store is misses and dropped writes.
    """

    def __init__(
        self, local: LocalStore[Cached], shared: Store | None, codec: Codec, *, write_queue_items: int = 8192
    ) -> None:
        self._local = local
        self._shared = shared
        self._absent: LocalStore[bool] = LocalStore(ABSENT_BYTES, size_of=_weightless, ttl_s=ABSENT_TTL_S)
        self._codec = codec
        self._max_queued = write_queue_items
        self._queue: deque[Entry] = deque()
        self._has_work = asyncio.Event()
        self._is_flushed = asyncio.Event()
        self._is_flushed.set()
        self._l1_hits = self._shared_hits = self._misses = self._corrupt = 0
        self._written = self._dropped = 0
        self._writer: asyncio.Task[None] | None = None
        if shared is not None:
            self._writer = asyncio.get_running_loop().create_task(self._write_behind(shared), name="cache-writer")
            self._writer.add_done_callback(_log_end)

    async def get_many(self, lookups: Sequence[Lookup]) -> list[NDArray[np.float32] | None]:
        """Return each lookup's vector, read-only float32[dim], in order; None for a miss."""
        found = self.get_many_now(lookups)
        missing = [place for place, vector in enumerate(found) if vector is None]
        if not missing:
            return found
        if self._shared is not None:
            await self._get_shared(self._shared, lookups, missing, found)
        self._misses += sum(found[place] is None for place in missing)
        return found

    def get_many_now(self, lookups: Sequence[Lookup]) -> list[NDArray[np.float32] | None]:
        """Return what the in-process level has of each lookup, without waiting; None for the rest."""
        kept = self._local.get_many_now([lookup.key for lookup in lookups])
        found: list[NDArray[np.float32] | None] = []
        hits = 0
        for cached, lookup in zip(kept, lookups, strict=True):
            if cached is not None and _answers(cached, lookup):
                found.append(cached[0])
                hits += 1
            else:
                found.append(None)
        self._l1_hits += hits
        return found

    def get_all_now(self, lookups: Sequence[Lookup]) -> list[NDArray[np.float32]] | None:
        """Return every lookup's vector if the in-process level has them all, else None, without waiting."""
        kept = self._local.get_all_now([lookup.key for lookup in lookups])
        if kept is None or not all(map(_answers, kept, lookups)):
            return None
        self._l1_hits += len(kept)
        return [cached[0] for cached in kept]

    def is_absent(self, key: bytes) -> bool:
        """Whether the shared store said a moment ago that it has nothing under this key."""
        return self._absent.get_all_now((key,)) is not None

    def put(self, entries: Iterable[Entry]) -> None:
        """Keep vectors in the in-process level at once and queue them for the shared store. Never waits.

        A vector with a number that is not finite is dropped: no answer can be made of it.
        """
        offered = list(entries)
        kept = [entry for entry in offered if np.isfinite(entry.vector).all()]
        self._dropped += len(offered) - len(kept)
        self._local.put_many_now([(entry.key, (_own(entry.vector), entry.input_length)) for entry in kept])
        self._absent.drop_many_now([entry.key for entry in kept])
        if self._writer is None:
            return
        room = 0 if self._writer.done() else self._max_queued - len(self._queue)
        self._queue.extend(kept[:room])
        self._dropped += max(0, len(kept) - room)
        if self._queue:
            self._is_flushed.clear()
            self._has_work.set()

    def counts(self) -> CacheCounts:
        """Return a snapshot of the counters."""
        return CacheCounts(
            l1_hits=self._l1_hits,
            shared_hits=self._shared_hits,
            misses=self._misses,
            corrupt=self._corrupt,
            written_behind=self._written,
            dropped_writes=self._dropped,
            queued_writes=len(self._queue),
            l1_items=self._local.items,
            l1_bytes=self._local.used_bytes,
            shared=self._shared.counts() if self._shared is not None else StoreCounts(),
        )

    @property
    def is_alive(self) -> bool:
        """Whether the background work, the shared store's included, still runs."""
        if self._writer is None or self._shared is None:
            return True
        return not self._writer.done() and self._shared.is_alive

    async def flush(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until the shared store was given what was put; False when that took too long."""
        if self._writer is None:
            return True
        flushed = asyncio.ensure_future(self._is_flushed.wait())
        await asyncio.wait([flushed, self._writer], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        flushed.cancel()
        return self._is_flushed.is_set()

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Flush for at most `timeout_s` seconds, then stop the background work and close both levels."""
        if self._writer is not None:
            await self.flush(timeout_s)
            self._writer.cancel()
            await asyncio.wait([self._writer])
            self._dropped += len(self._queue)
            self._queue.clear()
        if self._shared is not None:
            await self._shared.close()
        await self._local.close()

    async def _get_shared(
        self,
        shared: Store,
        lookups: Sequence[Lookup],
        missing: Sequence[int],
        found: list[NDArray[np.float32] | None],
    ) -> None:
        """Fill the missing places from the shared store, and the in-process level with what it had."""
        keys = list(dict.fromkeys(lookups[place].key for place in missing))
        outages = _outages(shared)
        values = dict(zip(keys, await shared.get_many(keys), strict=True))
        if _outages(shared) == outages:  # else a miss may only mean that nobody answered
            self._absent.put_many_now([(key, True) for key, value in values.items() if value is None])
        places_of_dim: dict[int, list[int]] = {}
        for place in missing:
            if values[lookups[place].key] is not None:
                places_of_dim.setdefault(lookups[place].dim, []).append(place)
        for dim, places in places_of_dim.items():
            asked = [lookups[place] for place in places]
            vectors = self._codec.decode_many(
                [lookup.key for lookup in asked],
                [values[lookup.key] for lookup in asked],
                dim=dim,
                input_lengths=[lookup.input_length for lookup in asked],
            )
            self._keep_hits(asked, vectors)
            for place, vector in zip(places, vectors, strict=True):
                found[place] = vector

    def _keep_hits(self, asked: Sequence[Lookup], vectors: Sequence[NDArray[np.float32] | None]) -> None:
        hits = [
            (lookup.key, (_own(vector), lookup.input_length))
            for lookup, vector in zip(asked, vectors, strict=True)
            if vector is not None
        ]
        self._local.put_many_now(hits)
        self._shared_hits += len(hits)
        self._corrupt += len(vectors) - len(hits)

    async def _write_behind(self, shared: Store) -> None:
        while True:
            if not self._queue:
                self._is_flushed.set()
                self._has_work.clear()
                await self._has_work.wait()
            if len(self._queue) < FLUSH_ITEMS:
                await asyncio.sleep(FLUSH_EVERY_S)
            batch = [self._queue.popleft() for _ in range(min(FLUSH_ITEMS, len(self._queue)))]
            await shared.put_many(self._encode(batch))
            self._written += len(batch)

    def _encode(self, batch: Sequence[Entry]) -> list[tuple[bytes, bytes]]:
        values = self._codec.encode_many(
            [entry.key for entry in batch],
            [entry.vector for entry in batch],
            [entry.input_length for entry in batch],
        )
        encoded = [(entry.key, value) for entry, value in zip(batch, values, strict=True) if value is not None]
        self._dropped += len(batch) - len(encoded)
        return encoded


def _weightless(_: bool) -> int:  # noqa: FBT001 - the value that is weighed
    return 0


def _outages(shared: Store) -> int:
    counts = shared.counts()
    return counts.timeouts + counts.refused + counts.errors


def _answers(cached: Cached, lookup: Lookup) -> bool:
    vector, length = cached
    return vector.shape[0] == lookup.dim and (
        length == lookup.input_length or length is None or lookup.input_length is None
    )


def _own(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vector read-only and in memory of its own: a row would keep its whole batch alive."""
    if vector.flags.owndata and not vector.flags.writeable:
        return vector
    owned = vector.astype(np.float32)
    owned.flags.writeable = False
    return owned


def _log_end(writer: asyncio.Task[None]) -> None:
    if not writer.cancelled() and writer.exception() is not None:
        _log.error("cache: the write-behind task died; vectors are no longer shared", exc_info=writer.exception())
