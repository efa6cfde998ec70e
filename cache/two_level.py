"""The cache of embeddings: an in-process level over a shared store, written behind the answers."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache.codec import Codec
from cache.layout import Stored
from cache.local_lru import LocalStore
from cache.store import Store, StoreCounts
from cache.write_behind import Entry, WriteBehind

__all__ = ["CacheCounts", "EmbeddingCache", "Entry", "Lookup", "Stored", "stored_bytes"]

CLOSE_TIMEOUT_S = 2.0
# What nobody has stored yet is not asked for again at once. Only in this process: a shared note of absences would
# let a stranger fill the store with keys of inputs that do not exist.
ABSENT_TTL_S = 30.0
ABSENT_BYTES = 8 * 2**20
# How long who can wait pauses before asking again for what the shared store did not answer in time.
PATIENT_PAUSES_S = (0.02, 0.1, 0.5)


class Lookup(NamedTuple):
    """A question: the storage key, the vector's dim, and the input's length in bytes where it is known.

    A tuple, because dozens are made per request and a frozen dataclass takes three times as long to make.
    """

    key: bytes
    dim: int
    input_length: int | None


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


def stored_bytes(stored: Stored) -> int:
    """Return the memory of a vector in the in-process level, in bytes; it is the vector's own."""
    return stored.vector.nbytes


class EmbeddingCache:
    """Looks vectors up in two levels, and keeps new ones in both. Belongs to the event loop it is made in.

    The in-process level keeps decoded vectors: a hit there costs no decoding. An outage of the shared
    store is misses and dropped writes.
    """

    def __init__(
        self, local: LocalStore[Stored], shared: Store | None, codec: Codec, *, write_queue_items: int = 8192
    ) -> None:
        self._local = local
        self._has_local = local.max_bytes > 0
        self._shared = shared
        self._absent: LocalStore[bool] = LocalStore(ABSENT_BYTES, size_of=_weightless, ttl_s=ABSENT_TTL_S)
        self._codec = codec
        self._l1_hits = self._shared_hits = self._misses = self._corrupt = self._unfit = 0
        self._writer = None if shared is None else WriteBehind(shared, codec, write_queue_items)

    async def get_many(self, lookups: Sequence[Lookup]) -> list[Stored | None]:
        """Return what is stored for each lookup, in order; None for a miss."""
        if len(lookups) == 1:
            # On its own: half of a single lookup's time would go into lists of one.
            (lookup,) = lookups
            stored = self._get_one_now(lookup)
            if stored is None and self._shared is not None:
                unanswered = self._shared.unanswered
                (value,) = await self._shared.get_many((lookup.key,))
                if value is None and self._shared.unanswered == unanswered:
                    self._absent.put_many_now(((lookup.key, True),))
                return [self._take_one(lookup, value)]
            self._misses += stored is None
            return [stored]
        found = self.get_many_now(lookups)
        if None not in found:
            return found
        if self._shared is not None:
            missing = [place for place, stored in enumerate(found) if stored is None]
            asked = lookups if len(missing) == len(lookups) else [lookups[place] for place in missing]
            for place, stored in zip(missing, await self._get_shared(self._shared, asked), strict=True):
                found[place] = stored
        self._misses += found.count(None)
        return found

    async def get_many_patiently(self, lookups: Sequence[Lookup]) -> list[Stored | None]:
        """Return what `get_many` does, for who can wait: what the shared store did not answer is asked for again."""
        shared = self._shared
        unanswered = shared.unanswered if shared is not None else 0
        found = await self.get_many(lookups)
        for pause_s in PATIENT_PAUSES_S:
            if shared is None or None not in found or shared.unanswered == unanswered:
                break
            await asyncio.sleep(pause_s)
            unanswered = shared.unanswered
            missing = [place for place, stored in enumerate(found) if stored is None]
            for place, stored in zip(missing, await self.get_many([lookups[at] for at in missing]), strict=True):
                found[place] = stored
        return found

    def get_many_now(self, lookups: Sequence[Lookup]) -> list[Stored | None]:
        """Return what the in-process level has of each lookup, without waiting; None for the rest."""
        if not self._has_local:
            return [None] * len(lookups)
        found = self._local.get_many_now([lookup.key for lookup in lookups])
        for place, stored in enumerate(found):
            if stored is not None and not _answers(stored, lookups[place]):
                found[place] = None
        self._l1_hits += len(found) - found.count(None)
        return found

    def get_all_now(self, lookups: Sequence[Lookup]) -> list[Stored] | None:
        """Return what is stored for each lookup if the in-process level has them all, else None, without waiting.

        Whoever makes an answer of it counts the hits (`count_hits`); who does not will ask again.
        """
        kept = self._local.get_all_now([lookup.key for lookup in lookups])
        if kept is None or not all(map(_answers, kept, lookups)):
            return None
        return kept

    def count_hits(self, count: int) -> None:
        """Count hits of what `get_all_now` has found, now or for an earlier question."""
        self._l1_hits += count

    def is_absent(self, key: bytes) -> bool:
        """Whether the shared store said a moment ago that it has nothing under this key."""
        return self._absent.get_now(key) is not None

    def put(self, entries: Iterable[Entry]) -> None:
        """Keep vectors in the in-process level at once and queue them for the shared store. Never waits.

        A vector with a number that is not finite is dropped: no answer can be made of it.
        """
        offered = list(entries)
        kept = [entry for entry in offered if np.isfinite(entry.vector).all()]
        self._unfit += len(offered) - len(kept)
        if self._has_local:
            self._local.put_many_now(
                [(key, Stored(_own(vector), length, count)) for key, vector, length, count in kept]
            )
        self._absent.drop_many_now([entry.key for entry in kept])
        if self._writer is not None:
            self._writer.put(kept)

    def counts(self) -> CacheCounts:
        """Return a snapshot of the counters."""
        writer = self._writer
        return CacheCounts(
            l1_hits=self._l1_hits,
            shared_hits=self._shared_hits,
            misses=self._misses,
            corrupt=self._corrupt,
            written_behind=writer.written if writer else 0,
            dropped_writes=self._unfit + (writer.dropped if writer else 0),
            queued_writes=writer.queued if writer else 0,
            l1_items=self._local.items,
            l1_bytes=self._local.used_bytes,
            shared=self._shared.counts() if self._shared is not None else StoreCounts(),
        )

    @property
    def is_alive(self) -> bool:
        """Whether the background work, the shared store's included, still runs."""
        return self._writer is None or self._shared is None or (self._writer.is_alive and self._shared.is_alive)

    async def flush(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until the shared store was given what was put; False when that took too long."""
        return self._writer is None or await self._writer.flush(timeout_s)

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Flush for at most `timeout_s` seconds, then stop the background work and close both levels."""
        if self._writer is not None:
            await self._writer.close(timeout_s)
        if self._shared is not None:
            await self._shared.close()
        await self._local.close()

    def _get_one_now(self, lookup: Lookup) -> Stored | None:
        """What `get_many_now` does, for a single lookup."""
        if not self._has_local:
            return None
        stored = self._local.get_now(lookup.key)
        if stored is None or not _answers(stored, lookup):
            return None
        self._l1_hits += 1
        return stored

    def _take_one(self, lookup: Lookup, value: bytes | None) -> Stored | None:
        """Return what the shared store's value for a single lookup holds, and keep it."""
        stored = None
        if value is not None:
            stored = self._codec.decode(lookup.key, value, dim=lookup.dim, input_length=lookup.input_length)
            self._corrupt += stored is None
        if stored is None:
            self._misses += 1
            return None
        self._shared_hits += 1
        if self._has_local:
            self._local.put_many_now(((lookup.key, stored),))
        return stored

    async def _get_shared(self, shared: Store, asked: Sequence[Lookup]) -> list[Stored | None]:
        """Return what the shared store has of each lookup, and fill the in-process level with it."""
        keys = [lookup.key for lookup in asked]
        values = await self._get_values(shared, keys)
        found = self._decode(asked, keys, values)
        misses = found.count(None)
        if self._has_local:
            self._local.put_many_now(
                [(key, stored) for key, stored in zip(keys, found, strict=True) if stored is not None]
            )
        self._shared_hits += len(found) - misses
        self._corrupt += misses - values.count(None)
        return found

    async def _get_values(self, shared: Store, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return each key's value, asking once for each, and remember which ones are absent."""
        unique = list(dict.fromkeys(keys))
        unanswered = shared.unanswered
        values = await shared.get_many(unique)
        if None in values and shared.unanswered == unanswered:  # else a miss may only mean that nobody answered
            self._absent.put_many_now([(key, True) for key, value in zip(unique, values, strict=True) if value is None])
        if len(unique) == len(keys):
            return values
        value_of = dict(zip(unique, values, strict=True))
        return [value_of[key] for key in keys]

    def _decode(
        self, asked: Sequence[Lookup], keys: Sequence[bytes], values: Sequence[bytes | None]
    ) -> list[Stored | None]:
        dims = {lookup.dim for lookup in asked}
        lengths = [lookup.input_length for lookup in asked]
        if len(dims) == 1:
            return self._codec.decode_many(keys, values, dim=dims.pop(), input_lengths=lengths, owned=self._has_local)
        found: list[Stored | None] = [None] * len(asked)
        for dim in dims:
            places = [place for place, lookup in enumerate(asked) if lookup.dim == dim]
            decoded = self._codec.decode_many(
                [keys[place] for place in places],
                [values[place] for place in places],
                dim=dim,
                input_lengths=[lengths[place] for place in places],
                owned=self._has_local,
            )
            for place, stored in zip(places, decoded, strict=True):
                found[place] = stored
        return found


def _weightless(_: bool) -> int:  # noqa: FBT001 - the value that is weighed
    return 0


def _answers(stored: Stored, lookup: Lookup) -> bool:
    vector, length, _ = stored
    _, dim, asked = lookup
    return (length == asked or asked is None or length is None) and len(vector) == dim


def _own(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vector read-only and in memory of its own: a row would keep its whole batch alive."""
    if vector.flags.owndata and not vector.flags.writeable:
        return vector
    owned = vector.astype(np.float32)
    owned.flags.writeable = False
    return owned
