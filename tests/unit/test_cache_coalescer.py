"""How the coalescer gathers lookups and writes, over a connection whose answers the test gives."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cache.coalescer import Coalescer
from cache.exchange import MAX_LOOKUP_KEYS
from cache.link import Timing
from tests.manual_link import Diary, ManualLink, tick

PATIENT = Timing(lookup_timeout_s=5.0, stall_timeout_s=5.0)


@pytest.fixture
def link() -> ManualLink:
    """A reachable connection."""
    return ManualLink()


@pytest.fixture
def gate() -> Diary:
    """An open gate."""
    return Diary()


@pytest.fixture
async def coalescer(link: ManualLink, gate: Diary) -> AsyncIterator[Coalescer]:
    """A connected coalescer with time to spare."""
    coalescer = Coalescer(link, gate, PATIENT)
    assert await coalescer.wait_connected(1.0)
    yield coalescer
    await coalescer.close()


async def test_lookups_of_one_turn_go_together(link: ManualLink, coalescer: Coalescer) -> None:
    """Callers that ask at the same time cost one exchange, and nobody waits for a timer."""
    calls = [asyncio.ensure_future(coalescer.get_many([key, b"x"][:size])) for key, size in ((b"a", 1), (b"b", 2))]
    await tick()
    link.answer()

    assert await asyncio.gather(*calls) == [[b"a"], [b"b", b"x"]]
    assert link.gets == [[b"a", b"b", b"x"]]
    assert coalescer.exchanges == 1


async def test_lookups_gather_while_two_exchanges_are_in_flight(link: ManualLink, coalescer: Coalescer) -> None:
    """Two go at once, all that come meanwhile go together when the first is answered."""
    calls = []
    for key in (b"a", b"b", b"c", b"d", b"e"):
        calls.append(asyncio.ensure_future(coalescer.get_many([key])))
        await tick()
    assert link.gets == [[b"a"], [b"b"]]

    for _ in range(3):
        link.answer()

    assert await asyncio.gather(*calls) == [[b"a"], [b"b"], [b"c"], [b"d"], [b"e"]]
    assert link.gets[2:] == [[b"c", b"d", b"e"]]


async def test_large_lookup_is_cut(link: ManualLink, coalescer: Coalescer) -> None:
    """No exchange carries more than 256 keys, and the answer is whole and in order."""
    keys = [b"%d" % number for number in range(600)]
    call = asyncio.ensure_future(coalescer.get_many(keys))
    await tick()

    for _ in range(3):
        link.answer()

    assert await call == keys
    assert [len(asked) for asked in link.gets] == [MAX_LOOKUP_KEYS, MAX_LOOKUP_KEYS, 88]


async def test_caller_that_goes_away_disturbs_nobody(link: ManualLink, coalescer: Coalescer, gate: Diary) -> None:
    """Cancelled lookups, in flight and waiting, leave the exchanges and their other callers as they were."""
    calls = [asyncio.ensure_future(coalescer.get_many([key])) for key in (b"a", b"b", b"c", b"d")]
    await tick()

    for call in calls[:-1]:
        call.cancel()
    await tick()
    link.answer()

    assert await calls[-1] == [b"d"]
    assert gate.reports == ["succeeded"] * 2
    assert coalescer.is_connected


async def test_shut_gate_refuses_without_asking(link: ManualLink, coalescer: Coalescer, gate: Diary) -> None:
    """Behind an open breaker lookups miss and writes drop at once."""
    gate.is_shut = True

    found = await coalescer.get_many([b"a"])
    await coalescer.put_many([(b"a", b"1")])

    assert (found, link.gets, link.puts) == ([None], [], [])
    assert (coalescer.counts().refused, coalescer.counts().dropped_writes) == (1, 1)


async def test_refused_writes_are_counted(link: ManualLink, coalescer: Coalescer) -> None:
    """What the store did not take is told from what it took."""
    await coalescer.put_many([(b"a", b"1"), (b"b", b""), (b"c", b"3")])

    assert (coalescer.counts().writes, coalescer.counts().dropped_writes) == (2, 1)


async def test_caller_that_changes_its_list_disturbs_nobody(link: ManualLink, coalescer: Coalescer) -> None:
    """Going away and using the list for something else gives nobody another's values."""
    keys = [b"a", b"b"]
    quitter = asyncio.ensure_future(coalescer.get_many(keys))
    other = asyncio.ensure_future(coalescer.get_many([b"c"]))
    await tick()

    quitter.cancel()
    keys.clear()
    link.answer()

    assert await other == [b"c"]


async def test_writes_gather_while_one_is_in_flight(link: ManualLink, coalescer: Coalescer) -> None:
    """Many small writes are few pipelines, and a large one is cut."""
    pieces = [300, 1, 2, 3]

    await asyncio.gather(*[coalescer.put_many([(b"key", b"value")] * count) for count in pieces])

    assert link.puts == [256, 44 + 1 + 2 + 3]
    assert coalescer.counts().writes == sum(pieces)


async def test_writer_that_goes_away_disturbs_nobody(link: ManualLink, coalescer: Coalescer) -> None:
    """What it gave is written all the same, and so is what others gave."""
    writes = [asyncio.ensure_future(coalescer.put_many([(key, b"value")])) for key in (b"a", b"b")]
    await asyncio.sleep(0)

    writes[0].cancel()

    await asyncio.wait(writes)
    assert (writes[0].cancelled(), writes[1].cancelled()) == (True, False)
    assert coalescer.counts().writes == 2


async def test_close_answers_who_still_waits(link: ManualLink, gate: Diary) -> None:
    """Nobody hangs on a closed store."""
    coalescer = Coalescer(link, gate, PATIENT)
    await coalescer.wait_connected(1.0)
    call = asyncio.ensure_future(coalescer.get_many([b"a"]))
    await tick()

    await coalescer.close()

    assert await call == [None]
    assert not coalescer.is_alive
