"""Two levels and a queue between them: what is found where, and what an ill store costs."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from cache.codec import Codec
from cache.local_lru import LocalStore
from cache.store import Store, StoreCounts
from cache.two_level import EmbeddingCache, Entry, Lookup, Stored, stored_bytes
from cache.write_behind import FLUSH_ITEMS

DIM = 16


class MemoryStore:
    """A store in a dict which can be closed like a valve, and which remembers what it was asked."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.asked: list[list[bytes]] = []
        self.written: list[int] = []
        self.valve = asyncio.Event()
        self.valve.set()

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Look the keys up."""
        self.asked.append(list(keys))
        return [self.values.get(key) for key in keys]

    async def put_many(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep the entries once the valve is open."""
        await self.valve.wait()
        self.written.append(len(entries))
        self.values.update(entries)

    def counts(self) -> StoreCounts:
        """Return no counts."""
        return StoreCounts()

    async def close(self) -> None:
        """Do nothing."""

    @property
    def is_alive(self) -> bool:
        """Always."""
        return True

    @property
    def unanswered(self) -> int:
        """None."""
        return 0


class BrokenStore(MemoryStore):
    """A store with a programming error in its writes."""

    async def put_many(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Raise what no store should."""
        raise LookupError


class ShyStore(MemoryStore):
    """A store that answers no lookup in time."""

    @property
    def unanswered(self) -> int:
        """Every lookup."""
        return len(self.asked)


def make_cache(shared: Store | None, *, l1_bytes: int = 1 << 20, write_queue_items: int = 1000) -> EmbeddingCache:
    """Return a cache with an empty in-process level."""
    local: LocalStore[Stored] = LocalStore(l1_bytes, size_of=stored_bytes)
    return EmbeddingCache(local, shared, Codec("float32"), write_queue_items=write_queue_items)


def make_entry(number: int, dim: int = DIM) -> Entry:
    """Return an entry which differs from every other number's."""
    return Entry(b"%033d" % number, np.full(dim, number, dtype=np.float32), 100 + number)


def ask(*entries: Entry) -> list[Lookup]:
    """Return the lookups that these entries answer."""
    return [Lookup(entry.key, entry.vector.shape[0], entry.input_length) for entry in entries]


def numbers(found: Sequence[Stored | None]) -> list[float | None]:
    """Return each vector's first number."""
    return [None if stored is None else float(stored.vector[0]) for stored in found]


@pytest.fixture
def shared() -> MemoryStore:
    """An empty shared store."""
    return MemoryStore()


async def test_put_is_found_in_process_at_once(shared: MemoryStore) -> None:
    """The next lookup hits the first level, before anything was written behind."""
    cache, entry = make_cache(shared), make_entry(1)

    cache.put([entry])
    found = await cache.get_many(ask(entry))

    assert (numbers(found), shared.asked, cache.counts().l1_hits) == ([1.0], [], 1)
    await cache.close()


async def test_put_reaches_other_processes_after_a_flush(shared: MemoryStore) -> None:
    """What one process wrote behind, another one finds in the shared store, once for every lookup."""
    ours, theirs, entries = make_cache(shared), make_cache(shared), [make_entry(n) for n in range(3)]
    ours.put(entries)
    assert await ours.flush()

    first = await theirs.get_many(ask(*entries))
    again = await theirs.get_many(ask(*entries))

    assert numbers(first) == numbers(again) == [0.0, 1.0, 2.0]
    assert len(shared.asked) == 1
    assert (theirs.counts().shared_hits, theirs.counts().l1_hits) == (3, 3)
    await ours.close()
    await theirs.close()


async def test_lookup_asks_the_shared_store_only_for_what_is_missing(shared: MemoryStore) -> None:
    """Hits of the first level and repeated keys are not asked for, and all answers keep their places."""
    cache, near, far, absent = make_cache(shared), make_entry(1), make_entry(2), make_entry(3)
    shared.values[far.key] = Codec("float32").encode(far.key, far.vector, far.input_length)
    cache.put([near])

    found = await cache.get_many(ask(far, near, absent, far, absent))

    assert numbers(found) == [2.0, 1.0, None, 2.0, None]
    assert shared.asked == [[far.key, absent.key]]
    assert cache.counts().misses == 2
    await cache.close()


async def test_lookup_takes_dims_of_both_tiers_at_once(shared: MemoryStore) -> None:
    """Vectors of different dims are found by one question to the shared store."""
    cache, small, large = make_cache(shared, l1_bytes=0), make_entry(1, dim=8), make_entry(2, dim=24)
    cache.put([small, large])
    await cache.flush()

    found = await cache.get_many(ask(large, small))

    assert [stored.vector.shape for stored in found if stored is not None] == [(24,), (8,)]
    assert len(shared.asked) == 1
    await cache.close()


@pytest.mark.parametrize("at", [0, 3, 13, 25, 40])
async def test_corrupt_value_is_a_miss_and_counted(shared: MemoryStore, at: int) -> None:
    """A flipped byte in the shared store is computed again, never answered with."""
    cache, entry = make_cache(shared), make_entry(1)
    value = bytearray(Codec("float32").encode(entry.key, entry.vector, entry.input_length))
    value[at] ^= 0x10
    shared.values[entry.key] = bytes(value)

    found = await cache.get_many(ask(entry))

    assert (found, cache.counts().corrupt, cache.counts().misses) == ([None], 1, 1)
    await cache.close()


@pytest.mark.parametrize("l1_bytes", [0, 1 << 20])
async def test_input_of_another_length_or_dim_is_a_miss(shared: MemoryStore, l1_bytes: int) -> None:
    """In both levels an entry answers only for its own input length and dim."""
    cache, entry = make_cache(shared, l1_bytes=l1_bytes), make_entry(1)
    cache.put([entry])
    await cache.flush()

    found = await cache.get_many(
        [Lookup(entry.key, DIM, 7), Lookup(entry.key, DIM + 1, entry.input_length), Lookup(entry.key, DIM, None)]
    )

    assert numbers(found) == [None, None, 1.0]
    await cache.close()


async def test_cached_vectors_are_nobodys_to_change(shared: MemoryStore) -> None:
    """The caller's own array stays its own, and what the cache returns is read-only."""
    cache, vector = make_cache(shared), np.ones(DIM, dtype=np.float32)
    cache.put([Entry(b"k" * 33, vector, 5)])
    vector[:] = 9

    [found] = await cache.get_many([Lookup(b"k" * 33, DIM, 5)])

    assert found is not None
    assert (found.vector[0], found.vector.flags.writeable) == (1.0, False)
    await cache.close()


async def test_vector_that_nobody_can_change_is_kept_as_it_is(shared: MemoryStore) -> None:
    """Only what could change, or keeps more alive than itself, is copied."""
    cache, entry = make_cache(shared), make_entry(1)
    entry.vector.flags.writeable = False
    cache.put([entry])

    [found] = await cache.get_many(ask(entry))

    assert found is not None
    assert found.vector is entry.vector
    await cache.close()


@pytest.mark.parametrize("count", [1, 2, 50])
async def test_kept_vectors_do_not_keep_their_batch(shared: MemoryStore, count: int) -> None:
    """Each vector of the first level has memory of its own, so that its bound in bytes holds."""
    cache, entries = make_cache(shared), [make_entry(n) for n in range(count)]
    shared.values = {e.key: Codec("float32").encode(e.key, e.vector, e.input_length) for e in entries}
    await cache.get_many(ask(*entries))

    kept = cache.get_many_now(ask(*entries))

    for stored in kept:
        assert stored is not None
        memory = stored.vector.base
        assert memory is None or (isinstance(memory, bytes) and len(memory) == stored.vector.nbytes)
    await cache.close()


@pytest.mark.parametrize("count", [1, 7])
async def test_hit_is_the_very_object_that_is_kept(shared: MemoryStore, count: int) -> None:
    """An answer of the shared store and all later ones of the first level are one object."""
    cache, entries = make_cache(shared), [make_entry(n) for n in range(count)]
    shared.values = {e.key: Codec("float32").encode(e.key, e.vector, e.input_length) for e in entries}

    first = await cache.get_many(ask(*entries))
    again = [await cache.get_many(ask(*entries)), cache.get_many_now(ask(*entries)), cache.get_all_now(ask(*entries))]

    assert all(id(one) == id(other) for found in again for one, other in zip(first, found or [], strict=True))
    await cache.close()


@pytest.mark.parametrize("l1_bytes", [0, 1 << 20])
@pytest.mark.parametrize("count", [1, 7])
async def test_token_count_and_length_come_back(shared: MemoryStore, l1_bytes: int, count: int) -> None:
    """What was put with a vector is found with it, in both levels, and through the shared store."""
    cache = make_cache(shared, l1_bytes=l1_bytes)
    entries = [make_entry(number)._replace(token_count=70 + number) for number in range(count)]
    cache.put(entries)
    await cache.flush()

    found = await cache.get_many(ask(*entries))

    assert [(s.input_length, s.token_count) for s in found if s] == [(100 + n, 70 + n) for n in range(count)]
    await cache.close()


async def test_length_is_kept_of_what_was_asked_for_by_its_key_alone(shared: MemoryStore) -> None:
    """A later lookup by bytes of another length is refused, in the first level too."""
    cache, entry = make_cache(shared), make_entry(1)
    shared.values[entry.key] = Codec("float32").encode(entry.key, entry.vector, entry.input_length)
    (by_key,) = await cache.get_many([Lookup(entry.key, DIM, None)])

    by_other_bytes = cache.get_all_now([Lookup(entry.key, DIM, entry.input_length + 1)])
    by_bytes = cache.get_all_now(ask(entry))

    assert by_key is not None
    assert by_key.input_length == entry.input_length
    assert (by_other_bytes, by_bytes) == (None, [by_key])
    await cache.close()


async def test_callers_own_hits_are_counted(shared: MemoryStore) -> None:
    """Who keeps what the first level answered says so."""
    cache = make_cache(shared)

    cache.count_hits(3)

    assert cache.counts().l1_hits == 3
    await cache.close()


async def test_full_queue_drops_writes_and_never_waits(shared: MemoryStore) -> None:
    """While the shared store hangs, puts go on: what does not fit is dropped, counted, and still in process."""
    cache, entries = make_cache(shared, write_queue_items=10), [make_entry(n) for n in range(30)]
    shared.valve.clear()

    for entry in entries:
        cache.put([entry])
    found = await cache.get_many(ask(*entries))

    assert None not in numbers(found)
    assert (cache.counts().queued_writes, cache.counts().dropped_writes) == (10, 20)
    shared.valve.set()
    await cache.close()


async def test_writes_are_gathered(shared: MemoryStore) -> None:
    """Many single puts become few writes of at most 256 entries."""
    cache = make_cache(shared)

    for number in range(600):
        cache.put([make_entry(number)])
    await cache.flush()

    assert shared.written == [FLUSH_ITEMS, FLUSH_ITEMS, 88]
    await cache.close()


async def test_close_flushes_what_is_queued(shared: MemoryStore) -> None:
    """Nothing that was accepted is lost on an orderly end."""
    cache, entries = make_cache(shared), [make_entry(n) for n in range(300)]
    cache.put(entries)

    await cache.close()

    assert len(shared.values) == 300


async def test_close_gives_up_on_a_store_that_hangs(shared: MemoryStore) -> None:
    """An end has a deadline; what was not written by then is dropped."""
    cache = make_cache(shared)
    shared.valve.clear()
    cache.put([make_entry(1)])

    await cache.close(timeout_s=0.01)

    assert shared.values == {}
    assert not cache.is_alive


async def test_dead_writer_is_noticed_and_costs_nothing() -> None:
    """If the background task dies, the cache says so, and lookups and puts go on without it."""
    cache, entry = make_cache(BrokenStore()), make_entry(1)
    cache.put([entry])
    flushed = await cache.flush()

    cache.put([make_entry(2)])
    found = await cache.get_many(ask(entry, make_entry(2)))

    assert (flushed, cache.is_alive, numbers(found)) == (False, False, [1.0, 2.0])
    assert cache.counts().dropped_writes == 1
    await cache.close()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
async def test_vector_that_is_no_answer_is_not_kept(shared: MemoryStore, number: float) -> None:
    """A model's NaN is not repeated for an hour."""
    cache, entry = make_cache(shared), Entry(b"k" * 33, np.full(DIM, number, dtype=np.float32), 5)

    cache.put([entry])
    found = await cache.get_many(ask(entry))

    assert (found, cache.counts().dropped_writes) == ([None], 1)
    await cache.close()


async def test_cache_without_a_shared_store_is_the_first_level_alone() -> None:
    """`none:` keeps vectors in process, and is always alive."""
    cache, entry = make_cache(None), make_entry(1)
    cache.put([entry])

    found = await cache.get_many(ask(entry, make_entry(2)))

    assert numbers(found) == [1.0, None]
    assert cache.is_alive
    assert await cache.flush()
    await cache.close()


async def test_single_lookup_without_a_shared_store_is_a_miss() -> None:
    """There is nobody else to ask."""
    cache = make_cache(None)

    assert await cache.get_many(ask(make_entry(1))) == [None]
    assert cache.counts().misses == 1
    await cache.close()


async def test_first_level_answers_all_or_nothing_without_waiting(shared: MemoryStore) -> None:
    """One vector that is elsewhere, or of another dim, and the caller has to ask properly. Then it counts."""
    cache, one, two = make_cache(shared), make_entry(1), make_entry(2)
    cache.put([one])

    assert numbers(cache.get_all_now(ask(one)) or []) == [1.0]
    assert cache.get_all_now(ask(one, two)) is None
    assert cache.get_all_now([Lookup(one.key, DIM + 1, one.input_length)]) is None
    assert cache.counts().l1_hits == 0
    await cache.close()


@pytest.mark.parametrize("others", [0, 3])
async def test_absence_is_remembered_until_the_vector_is_put(shared: MemoryStore, others: int) -> None:
    """What the shared store did not have is known to be absent, until it is made."""
    cache, entry = make_cache(shared), make_entry(1)
    assert not cache.is_absent(entry.key)

    await cache.get_many(ask(entry, *[make_entry(10 + number) for number in range(others)]))
    was_absent = cache.is_absent(entry.key)
    cache.put([entry])

    assert was_absent
    assert not cache.is_absent(entry.key)
    await cache.close()


@pytest.mark.parametrize("others", [0, 3])
async def test_outage_is_no_absence(others: int) -> None:
    """A store that did not answer has said nothing about what it holds."""
    cache, entry = make_cache(ShyStore()), make_entry(1)

    await cache.get_many(ask(entry, *[make_entry(10 + number) for number in range(others)]))

    assert not cache.is_absent(entry.key)
    await cache.close()
