"""The in-process level: bounded in bytes and in time."""

from dataclasses import dataclass

import pytest

from cache.local_lru import ENTRY_OVERHEAD_BYTES, SWEEP_STEP, LocalStore
from cache.store import Store
from tests.contracts import StoreContract, keys_of, make_entries

ENTRY_BYTES = 33 + 1052 + ENTRY_OVERHEAD_BYTES


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the time it was set to, in seconds."""
        return self.now


def make_local(max_bytes: int = 1 << 24, ttl_jitter: float = 0.0, clock: Clock | None = None) -> LocalStore[bytes]:
    """Return a level with a lifetime of 80 seconds."""
    return LocalStore(max_bytes, size_of=len, ttl_s=80.0, ttl_jitter=ttl_jitter, clock=clock or Clock())


class TestLocalStore(StoreContract):
    """The in-process level is a store like the others."""

    @pytest.fixture
    def store(self) -> Store:
        """An empty level."""
        return make_local()


def test_local_store_stays_within_its_bytes() -> None:
    """Ten times as much as there is room for leaves the room full, not fuller."""
    local = make_local(max_bytes=10 * ENTRY_BYTES)

    local.put_many_now(make_entries(100))

    assert local.items == 10
    assert local.used_bytes <= 10 * ENTRY_BYTES


def test_local_store_evicts_what_is_asked_for_least() -> None:
    """An entry that is asked for outlives a flood of entries that are not."""
    local = make_local(max_bytes=10 * ENTRY_BYTES)
    [(key, value)] = make_entries(1)
    local.put_many_now([(key, value)])
    local.get_many_now([key, key, key])

    local.put_many_now(make_entries(100))

    assert local.get_many_now([key]) == [value]


def test_local_store_drops_what_is_larger_than_itself() -> None:
    """A value that can never fit is dropped and counted, and evicts nothing."""
    local = make_local(max_bytes=2 * ENTRY_BYTES)
    small = make_entries(2)
    local.put_many_now(small)

    local.put_many_now([(b"large", bytes(4 * ENTRY_BYTES))])

    assert local.get_many_now([b"large", *keys_of(small)]) == [None, *[value for _, value in small]]
    assert local.counts().dropped_writes == 1


def test_local_store_of_no_bytes_keeps_nothing() -> None:
    """Zero bytes turn the level off."""
    local = make_local(max_bytes=0)

    local.put_many_now([(b"key", b"value")])

    assert local.get_many_now([b"key"]) == [None]


def test_local_store_forgets_after_the_lifetime() -> None:
    """An entry is there up to its lifetime and not after."""
    clock = Clock()
    local = make_local(clock=clock)
    local.put_many_now([(b"key", b"value")])

    clock.now = 79.9
    before = local.get_many_now([b"key"])
    clock.now = 80.0
    after = local.get_many_now([b"key"])

    assert (before, after) == ([b"value"], [None])


def test_local_store_spreads_lifetimes() -> None:
    """What came together does not expire together, and nothing lives longer than the lifetime."""
    clock = Clock()
    local = make_local(ttl_jitter=0.5, clock=clock)
    entries = make_entries(400, size=1)
    local.put_many_now(entries)

    clock.now = 60.0
    left = sum(value is not None for value in local.get_many_now(keys_of(entries)))

    assert 100 < left < 300


def test_local_store_sweeps_out_what_nobody_asks_for() -> None:
    """Entries that expired unasked make room, though they were once asked for often."""
    clock = Clock()
    local = make_local(clock=clock)
    old = make_entries(3 * SWEEP_STEP, size=1)
    local.put_many_now(old)
    local.get_many_now(keys_of(old))

    clock.now = 81.0
    for entry in make_entries(4, size=1):
        local.put_many_now([entry])

    assert local.items == 4
