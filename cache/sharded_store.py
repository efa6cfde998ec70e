"""Several stores as one: each key has its shard, and a dead shard costs its own keys only."""

import asyncio
from collections.abc import Sequence
from dataclasses import fields

from cache.rendezvous import Rendezvous
from cache.store import Store, StoreCounts


class ShardedStore:
    """Values spread over stores by rendezvous hashing. Each store has a connection and a breaker of its own."""

    def __init__(self, names: Sequence[str], stores: Sequence[Store]) -> None:
        self._place = Rendezvous(names).place
        self._stores = list(stores)

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return each key's value, in order; None for a miss, and for the keys of a shard that is out."""
        if len(keys) == 1:
            return await self._stores[self._place(keys[0])].get_many(keys)
        places = self._places(keys)
        if len(places) == 1:
            ((shard, _),) = places.items()
            return await self._stores[shard].get_many(keys)
        answers = await asyncio.gather(
            *[self._stores[shard].get_many([keys[place] for place in chosen]) for shard, chosen in places.items()]
        )
        values: list[bytes | None] = [None] * len(keys)
        for chosen, found in zip(places.values(), answers, strict=True):
            for place, value in zip(chosen, found, strict=True):
                values[place] = value
        return values

    async def put_many(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep (key, value) pairs; those of a shard that is out are dropped and counted."""
        places = self._places([key for key, _ in entries])
        await asyncio.gather(
            *[self._stores[shard].put_many([entries[place] for place in chosen]) for shard, chosen in places.items()]
        )

    def counts(self) -> StoreCounts:
        """Return the sums of the shards' counters."""
        counts = [store.counts() for store in self._stores]
        return StoreCounts(
            **{field.name: sum(getattr(one, field.name) for one in counts) for field in fields(StoreCounts)}
        )

    @property
    def unanswered(self) -> int:
        """Keys that were asked for and not answered, of all shards."""
        return sum(store.unanswered for store in self._stores)

    @property
    def is_alive(self) -> bool:
        """Whether the background work of every shard still runs."""
        return all(store.is_alive for store in self._stores)

    async def close(self) -> None:
        """Close every shard."""
        await asyncio.gather(*[store.close() for store in self._stores])

    def _places(self, keys: Sequence[bytes]) -> dict[int, list[int]]:
        places: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(self._place(key), []).append(place)
        return places
