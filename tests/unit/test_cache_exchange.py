"""What travels together: lookups and writes are cut and gathered without loss, and each caller gets its own."""

import asyncio
from collections import deque
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from cache.exchange import (
    MAX_LOOKUP_KEYS,
    MAX_WRITE_BYTES,
    MAX_WRITE_ENTRIES,
    Exchange,
    Waiter,
    Write,
    cut,
    take,
    take_writes,
)
from cache.link import Values

SIZES = st.lists(st.integers(1, MAX_LOOKUP_KEYS), max_size=20)


def make_waiters(sizes: Sequence[int]) -> list[Waiter]:
    """Return lookups of so many keys, the n-th with the deadline n."""
    loop = asyncio.get_running_loop()
    return [
        (float(n), tuple(b"%d:%d" % (n, m) for m in range(size)), loop.create_future()) for n, size in enumerate(sizes)
    ]


def asked(waiters: Sequence[Waiter]) -> list[list[bytes]]:
    """Return each lookup's keys."""
    return [list(keys) for _, keys, _ in waiters]


def told(waiters: Sequence[Waiter]) -> list[Values | None]:
    """Return what each caller was told; None for one that was told nothing."""
    return [future.result() if future.done() and not future.cancelled() else None for _, _, future in waiters]


@given(SIZES)
def test_each_caller_gets_the_values_of_its_own_keys(sizes: list[int]) -> None:
    """Taken in turns until none waits, whatever their sizes: all are answered, in order, within the bounds."""

    async def run() -> None:
        waiters = make_waiters(sizes)
        waiting = list(waiters)
        while waiting:
            exchange = Exchange(take(waiting))
            assert 1 <= len(exchange.keys) <= MAX_LOOKUP_KEYS
            exchange.deliver(list(exchange.keys))
        assert told(waiters) == asked(waiters)

    asyncio.run(run())


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.integers(0, 20), st.integers(0, 20))
def test_late_answer_reaches_those_who_still_wait(sizes: list[int], passed: int, cancelled: int) -> None:
    """Those whose deadline has passed have missed, the one that went away gets nothing, the others get theirs."""

    async def run() -> None:
        waiters = make_waiters(sizes)
        if cancelled < len(waiters):
            waiters[cancelled][2].cancel()
        exchange = Exchange(list(waiters))

        late = exchange.expire(passed - 1)
        values = exchange.deliver(list(exchange.keys))

        assert late == sum(sizes[:passed])
        assert exchange.is_late == (passed > 0)
        assert exchange.next_deadline == (passed if passed < len(sizes) else None)
        expected: list[Values | None] = [[None] * size for size in sizes[:passed]]
        expected.extend([*keys] for keys in asked(waiters)[passed:])
        assert len(values) == sum(sizes[passed:])
        if cancelled < len(waiters):
            expected[cancelled] = None
        assert told(waiters) == expected

    asyncio.run(run())


async def test_giving_up_answers_everyone_once() -> None:
    """Keys that were late already are not counted twice."""
    waiters = make_waiters([1, 2, 3])
    exchange = Exchange(list(waiters))
    exchange.expire(0.0)

    assert exchange.give_up() == 5
    assert exchange.give_up() == 0
    assert told(waiters) == [[None], [None] * 2, [None] * 3]


@given(st.lists(st.integers(0, 2 * MAX_WRITE_BYTES), min_size=1, max_size=30))
def test_writes_are_cut_by_bytes(sizes: list[int]) -> None:
    """Nothing is lost or reordered, and no piece is too large but one that can't be cut."""
    entries = [(b"%d" % n, bytes(size)) for n, size in enumerate(sizes)]

    pieces = cut(entries)

    assert [entry for piece, _ in pieces for entry in piece] == entries
    assert all(size == sum(len(key) + len(value) for key, value in piece) for piece, size in pieces)
    assert all(size <= MAX_WRITE_BYTES or len(piece) == 1 for piece, size in pieces)


def test_writes_are_cut_by_number() -> None:
    """No pipeline is longer than the bound."""
    pieces = cut([(b"key", b"value")] * (2 * MAX_WRITE_ENTRIES + 1))

    assert [len(piece) for piece, _ in pieces] == [MAX_WRITE_ENTRIES, MAX_WRITE_ENTRIES, 1]


async def test_small_writes_share_a_pipeline() -> None:
    """As many as fit by number and by bytes, in order; a large one goes alone."""
    loop = asyncio.get_running_loop()
    shapes = [(100, 10), (156, 10), (1, 10), (1, MAX_WRITE_BYTES), (1, 1)]
    waiting = deque(Write([(b"key", b"value")] * count, size, loop.create_future()) for count, size in shapes)

    taken = [[len(write.entries) for write in take_writes(waiting)] for _ in range(4)]

    assert taken == [[100, 156], [1], [1], [1]]
    assert not waiting
