"""What the coalescer does when the store is late, hangs, answers by errors or is gone."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cache.coalescer import Coalescer
from cache.link import Timing
from cache.store import StoreCounts
from tests.manual_link import Diary, ManualLink, tick

PATIENT = Timing(lookup_timeout_s=5.0, stall_timeout_s=5.0)
HASTY = Timing(lookup_timeout_s=0.005, stall_timeout_s=5.0)


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


async def test_late_answer_is_a_miss_and_one_failure(link: ManualLink, gate: Diary) -> None:
    """When the deadline passes the caller goes on; the answer that comes then is thrown away."""
    coalescer = Coalescer(link, gate, HASTY)
    await coalescer.wait_connected(1.0)

    found = await coalescer.get_many([b"a", b"b"])
    link.answer()

    assert found == [None, None]
    assert gate.reports == ["succeeded", "failed"]
    assert coalescer.counts() == StoreCounts(timeouts=2)
    assert coalescer.unanswered == 2
    await coalescer.close()


async def test_lookup_that_expired_unsent_is_not_sent(link: ManualLink, gate: Diary) -> None:
    """A store that comes back from a stall is not asked for what nobody waits for."""
    coalescer = Coalescer(link, gate, HASTY)
    await coalescer.wait_connected(1.0)
    calls = []
    for key in (b"a", b"b", b"c"):
        calls.append(asyncio.ensure_future(coalescer.get_many([key])))
        await tick()

    await asyncio.wait(calls)
    link.answer()
    link.answer()

    assert link.gets == [[b"a"], [b"b"]]
    await coalescer.close()


async def test_deadline_holds_in_a_busy_loop(link: ManualLink, gate: Diary) -> None:
    """Other work that keeps the loop late does not keep lookups waiting for a store that hangs."""
    coalescer = Coalescer(link, gate, HASTY)
    await coalescer.wait_connected(1.0)
    loop = asyncio.get_running_loop()

    def work() -> None:
        end = loop.time() + 0.004
        while loop.time() < end:
            pass
        if not lookup.done():
            loop.call_soon(work)

    lookup = asyncio.ensure_future(coalescer.get_many([b"a"]))
    work()

    async with asyncio.timeout(2):
        assert await lookup == [None]
    await coalescer.close()


async def test_answer_that_a_busy_loop_read_late_is_a_hit(link: ManualLink, gate: Diary) -> None:
    """If our own process was slow and not the store, its answer counts and the breaker hears nothing bad."""
    coalescer = Coalescer(link, gate, HASTY)
    await coalescer.wait_connected(1.0)
    loop = asyncio.get_running_loop()
    lookup = asyncio.ensure_future(coalescer.get_many([b"a"]))
    await tick()

    loop.call_later(2 * HASTY.lookup_timeout_s, link.answer)  # as if it lay in the socket
    end = loop.time() + 5 * HASTY.lookup_timeout_s
    while loop.time() < end:
        pass

    assert await lookup == [b"a"]
    assert gate.reports == ["succeeded", "succeeded"]
    await coalescer.close()


async def test_error_answer_is_a_miss_and_a_failure(link: ManualLink, coalescer: Coalescer, gate: Diary) -> None:
    """A store that answers lookups by errors is of no use; the connection is."""
    call = asyncio.ensure_future(coalescer.get_many([b"a"]))
    await tick()

    link.refuse()

    assert await call == [None]
    assert (coalescer.counts().errors, gate.reports[-1], coalescer.is_connected) == (1, "failed", True)


async def test_lost_link_answers_everyone_and_comes_back(link: ManualLink, coalescer: Coalescer, gate: Diary) -> None:
    """Lookups in flight and waiting miss at once, and the link is made anew in the background."""
    link.is_silent = True
    calls = []
    for key in (b"a", b"b", b"c"):
        calls.append(asyncio.ensure_future(coalescer.get_many([key])))
        await tick()
    writes = [asyncio.ensure_future(coalescer.put_many([(b"c", b"3")])) for _ in range(2)]
    await tick()

    link.lose()
    link.lose()

    assert await asyncio.gather(*calls) == [[None]] * 3
    await asyncio.gather(*writes)
    assert await coalescer.wait_connected(1.0)
    assert (link.connects, gate.reports) == (2, ["succeeded", "failed", "succeeded"])
    assert (coalescer.counts().errors, coalescer.counts().dropped_writes) == (3, 2)


async def test_answers_after_the_loss_are_nobodys(link: ManualLink, gate: Diary) -> None:
    """What a connection that was given up still brings, to a lookup, a write or a heartbeat, changes nothing."""
    coalescer = Coalescer(link, gate, Timing(lookup_timeout_s=5.0, stall_timeout_s=5.0, heartbeat_s=0.001))
    await coalescer.wait_connected(1.0)
    link.is_silent = True
    async with asyncio.timeout(5):
        while not link.pings:
            await tick()
    calls = (coalescer.get_many([b"a"]), coalescer.put_many([(b"a", b"1")]))
    tasks = [asyncio.ensure_future(call) for call in calls]
    await tick()

    link.lose()
    link.answer()
    for answer in link.held:
        answer()

    assert await asyncio.gather(*tasks) == [[None], None]
    assert coalescer.counts() == StoreCounts(errors=1, dropped_writes=1)
    await coalescer.close()


async def test_open_breaker_keeps_from_connecting(link: ManualLink, gate: Diary) -> None:
    """While the gate is shut not even a connection is tried."""
    gate.is_shut = True
    coalescer = Coalescer(link, gate, PATIENT)
    await tick()
    assert link.connects == 0

    gate.is_shut = False

    assert await coalescer.wait_connected(5.0)
    await coalescer.close()


async def test_death_of_the_task_is_noticed(
    link: ManualLink, gate: Diary, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours in connecting is logged, and the store says that it is dead."""
    monkeypatch.setattr(link, "connect", _fail)
    coalescer = Coalescer(link, gate, PATIENT)
    await tick()

    assert not coalescer.is_alive
    assert await coalescer.get_many([b"a"]) == [None]
    assert "task died" in caplog.text
    await coalescer.close()


async def _fail(_lost: object) -> None:
    raise RuntimeError("a fault of ours")


async def test_unreachable_store_is_told_once(link: ManualLink, gate: Diary, caplog: pytest.LogCaptureFixture) -> None:
    """The first failed attempt of an outage is a warning with its reason, the others are not."""
    link.is_reachable = False
    coalescer = Coalescer(link, gate, PATIENT)
    async with asyncio.timeout(5):
        await link.tried_again.wait()
    await coalescer.close()

    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "cache: the shared store cannot be reached: refused"
    ]


async def test_stalled_exchange_gives_the_link_up(link: ManualLink, gate: Diary) -> None:
    """An exchange which is never answered ends with a new connection."""
    coalescer = Coalescer(link, gate, Timing(lookup_timeout_s=0.002, stall_timeout_s=0.01))
    await coalescer.wait_connected(1.0)

    await coalescer.get_many([b"a"])
    async with asyncio.timeout(5):
        await link.tried_again.wait()

    assert await coalescer.wait_connected(1.0)
    await coalescer.close()


async def test_stalled_write_gives_the_link_up(link: ManualLink, gate: Diary) -> None:
    """A pipeline which is never answered does so too, although the heartbeat is not due for long."""
    coalescer = Coalescer(link, gate, Timing(stall_timeout_s=0.01, heartbeat_s=60.0))
    await coalescer.wait_connected(1.0)
    link.is_silent = True

    await coalescer.put_many([(b"a", b"1")])

    assert coalescer.counts().dropped_writes == 1
    await coalescer.close()


async def test_idle_link_that_is_gone_is_noticed(link: ManualLink, gate: Diary) -> None:
    """Without any traffic a heartbeat finds the loss, so that no lookup has to."""
    coalescer = Coalescer(link, gate, Timing(heartbeat_s=0.001))
    await coalescer.wait_connected(1.0)
    async with asyncio.timeout(5):
        while link.pings < 3:
            await tick()
        assert link.connects == 1
        link.is_reachable = False

        await link.tried_again.wait()

    assert not coalescer.is_connected
    await coalescer.close()


async def test_unreachable_store_costs_lookups_nothing(link: ManualLink, gate: Diary) -> None:
    """Without a connection there is nothing to wait for, and each attempt is reported."""
    link.is_reachable = False
    coalescer = Coalescer(link, gate, PATIENT)
    await tick()

    found = await coalescer.get_many([b"a"])

    assert (found, gate.reports) == ([None], ["failed"])
    assert not coalescer.is_connected
    await coalescer.close()
