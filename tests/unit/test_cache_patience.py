"""Lookups of those who can wait: what a slow store did not answer in time is asked for again."""

from collections.abc import Sequence

import numpy as np
import pytest

from cache import two_level
from cache.two_level import EmbeddingCache, Entry, Lookup
from tests.fakes import DIMENSION, SlowStore, make_cache

KEYS = [bytes([number]) * 33 for number in range(3)]
LOOKUPS = [Lookup(key, DIMENSION, 5) for key in KEYS]


class LateStore(SlowStore):
    """Does not answer the first lookups in time."""

    def __init__(self, late: int) -> None:
        super().__init__()
        self.late = late
        self.asked: list[int] = []
        self._unanswered = 0

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Answer, or not."""
        self.asked.append(len(keys))
        if len(self.asked) <= self.late:
            self._unanswered += len(keys)
            return [None] * len(keys)
        return await super().get_many(keys)

    @property
    def unanswered(self) -> int:
        """Keys that were asked for in vain."""
        return self._unanswered


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_level, "PATIENT_PAUSES_S", (0.0, 0.0, 0.0))


async def cache_of(store: LateStore, known: Sequence[bytes]) -> EmbeddingCache:
    """A cache without a level of its own, over a store that has these keys."""
    cache = make_cache(0, store)
    cache.put([Entry(key, np.ones(DIMENSION, dtype=np.float32), 5, 1) for key in known])
    await cache.flush()
    return cache


@pytest.mark.parametrize(("late", "found"), [(0, [True, True, False]), (2, [True, True, False]), (9, [False] * 3)])
async def test_slow_store_is_asked_again_by_who_can_wait(late: int, found: list[bool]) -> None:
    """A few times and no more."""
    store = LateStore(late)
    cache = await cache_of(store, KEYS[:2])

    stored = await cache.get_many_patiently(LOOKUPS)

    assert [one is not None for one in stored] == found
    assert len(store.asked) == min(late, 3) + 1
    await cache.close()


async def test_who_can_not_wait_asks_once() -> None:
    """It is a miss."""
    store = LateStore(1)
    cache = await cache_of(store, KEYS)

    assert await cache.get_many(LOOKUPS) == [None] * 3
    assert store.asked == [3]
    await cache.close()


async def test_without_a_store_there_is_nobody_to_ask_again() -> None:
    """Misses are misses at once."""
    assert await make_cache().get_many_patiently(LOOKUPS) == [None] * 3
