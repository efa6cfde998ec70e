"""What every store of the cache does, whatever it is made of: inherit, and give a `store` fixture."""

import os
from collections.abc import Sequence

from cache.store import Store


def make_entries(count: int, size: int = 1052) -> list[tuple[bytes, bytes]]:
    """Return entries with the cache's key size and random values of `size` bytes."""
    return [(os.urandom(33), os.urandom(size)) for _ in range(count)]


def keys_of(entries: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """Return the entries' keys, in order."""
    return [key for key, _ in entries]


class StoreContract:
    """The behaviours that callers of a `Store` rely on."""

    async def test_store_misses_what_was_never_put(self, store: Store) -> None:
        """An unknown key is None."""
        found = await store.get_many([b"never", b"put"])

        assert found == [None, None]

    async def test_store_answers_in_the_order_of_the_question(self, store: Store) -> None:
        """Hits and misses stand where their keys stood, repeated keys included."""
        (key_a, a), (key_b, b) = entries = make_entries(2)
        await store.put_many(entries)

        found = await store.get_many([key_b, b"unknown", key_a, key_b])

        assert found == [b, None, a, b]

    async def test_store_keeps_the_later_of_two_values(self, store: Store) -> None:
        """Within one call and over two, the later value of a key stays."""
        await store.put_many([(b"one", b"first"), (b"one", b"second"), (b"two", b"first")])
        await store.put_many([(b"two", b"second")])

        found = await store.get_many([b"one", b"two"])

        assert found == [b"second", b"second"]

    async def test_store_keeps_any_bytes(self, store: Store) -> None:
        """Keys and values with zero bytes, line ends and high bytes come back unchanged."""
        entries = [(b"\x00\r\n\xff", b"\x00"), (bytes(33), b"\r\n$-1\r\n"), (b"\xff" * 33, bytes(range(256)))]
        await store.put_many(entries)

        found = await store.get_many(keys_of(entries))

        assert found == [value for _, value in entries]

    async def test_store_takes_batches_of_any_size(self, store: Store) -> None:
        """More keys than any store moves at once are all written and all found."""
        entries = make_entries(1500)
        await store.put_many(entries)

        found = await store.get_many(keys_of(entries))

        assert found == [value for _, value in entries]

    async def test_store_does_nothing_for_nothing(self, store: Store) -> None:
        """Empty calls are answered, and count nothing."""
        before = store.counts()

        await store.put_many([])
        found = await store.get_many([])

        assert found == []
        assert store.counts() == before

    async def test_store_counts_keys_by_outcome(self, store: Store) -> None:
        """Hits, misses and writes add up to what was asked and given."""
        entries = make_entries(3)
        await store.put_many(entries)

        await store.get_many([*keys_of(entries), b"unknown"])

        counts = store.counts()
        assert (counts.hits, counts.misses, counts.writes, counts.dropped_writes) == (3, 1, 3, 0)

    async def test_closed_store_misses_and_drops_without_an_error(self, store: Store) -> None:
        """After close, and a second close, calls are outages like any other."""
        entries = make_entries(2)
        await store.put_many(entries)

        await store.close()
        await store.close()

        assert await store.get_many(keys_of(entries)) == [None, None]
        await store.put_many(entries)
