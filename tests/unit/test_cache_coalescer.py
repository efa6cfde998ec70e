"""Coalescing, deadlines and the breaker's part, over a connection made of futures."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from cache.coalescer import MAX_LOOKUP_KEYS, Coalescer
from cache.errors import StoreUnavailable
from cache.link import Entries, Timing, Values
from cache.store import OpenGate

PATIENT = Timing(lookup_timeout_s=5.0, stall_timeout_s=5.0)
HASTY = Timing(lookup_timeout_s=0.005, stall_timeout_s=5.0)
TICKS = 10


class ManualLink:
    """A connection whose answers the test gives: each exchange waits for its turn."""

    def __init__(self) -> None:
        self.gets: list[tuple[list[bytes], asyncio.Future[Values | None]]] = []
        self.puts: list[int] = []
        self.connects = 0
        self.pings = 0
        self.tried_again = asyncio.Event()
        self.is_reachable = True

    async def connect(self) -> None:
        """Connect if the test allows it."""
        self.connects += 1
        if self.connects > 1:
            self.tried_again.set()
        if not self.is_reachable:
            raise StoreUnavailable("refused")

    async def ping(self) -> None:
        """Answer if the test allows it."""
        self.pings += 1
        if not self.is_reachable:
            raise StoreUnavailable("gone")

    async def get(self, keys: Sequence[bytes]) -> Values | None:
        """Wait for the test's answer."""
        future: asyncio.Future[Values | None] = asyncio.get_running_loop().create_future()
        self.gets.append((list(keys), future))
        return await future

    async def put(self, entries: Entries) -> int:
        """Take all entries but those with an empty value."""
        self.puts.append(len(entries))
        return sum(not value for _, value in entries)

    async def disconnect(self) -> None:
        """Do nothing."""

    def answer(self) -> None:
        """Answer the exchange in flight: every key's value is the key."""
        keys, future = self.gets[-1]
        future.set_result(list(keys))


class Diary(OpenGate):
    """A gate that can be shut, and writes down what it is told."""

    def __init__(self) -> None:
        self.is_shut = False
        self.reports: list[str] = []

    def allow(self, now: float) -> bool:
        """Whether the test left it open."""
        return not self.is_shut

    def succeeded(self, now: float) -> None:
        """Write down a success."""
        self.reports.append("succeeded")

    def failed(self, now: float) -> None:
        """Write down a failure."""
        self.reports.append("failed")


async def tick() -> None:
    """Let every ready task run."""
    for _ in range(TICKS):
        await asyncio.sleep(0)


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


async def test_lookups_gather_while_one_is_in_flight(link: ManualLink, coalescer: Coalescer) -> None:
    """The first goes at once and alone, all that come meanwhile go together."""
    calls = [asyncio.ensure_future(coalescer.get_many([b"a"]))]
    await tick()
    calls += [asyncio.ensure_future(coalescer.get_many([key, b"x"])) for key in (b"b", b"c", b"d")]
    await tick()

    link.answer()
    await tick()
    link.answer()

    assert await asyncio.gather(*calls) == [[b"a"], [b"b", b"x"], [b"c", b"x"], [b"d", b"x"]]
    assert [keys for keys, _ in link.gets] == [[b"a"], [b"b", b"x", b"c", b"x", b"d", b"x"]]


async def test_large_lookup_is_cut(link: ManualLink, coalescer: Coalescer) -> None:
    """No exchange carries more than 256 keys, and the answer is whole and in order."""
    keys = [b"%d" % number for number in range(600)]
    call = asyncio.ensure_future(coalescer.get_many(keys))

    for _ in range(3):
        await tick()
        link.answer()

    assert await call == keys
    assert [len(asked) for asked, _ in link.gets] == [MAX_LOOKUP_KEYS, MAX_LOOKUP_KEYS, 88]


async def test_caller_that_goes_away_disturbs_nobody(link: ManualLink, coalescer: Coalescer, gate: Diary) -> None:
    """A cancelled lookup leaves the exchange and its other callers as they were."""
    quitter = asyncio.ensure_future(coalescer.get_many([b"a"]))
    await tick()
    others = [asyncio.ensure_future(coalescer.get_many([key])) for key in (b"b", b"c")]
    await tick()

    quitter.cancel()
    others[0].cancel()
    await tick()
    link.answer()
    await tick()
    link.answer()

    assert await others[1] == [b"c"]
    assert gate.reports == ["succeeded"] * 3
    assert coalescer.is_connected


async def test_late_answer_is_a_miss_and_one_failure(link: ManualLink, gate: Diary) -> None:
    """When the deadline passes the caller goes on; the answer that comes then is thrown away."""
    coalescer = Coalescer(link, gate, HASTY)
    await coalescer.wait_connected(1.0)

    found = await coalescer.get_many([b"a", b"b"])
    link.answer()
    await tick()

    assert found == [None, None]
    assert (coalescer.counts().timeouts, gate.reports) == (2, ["succeeded", "failed"])
    await coalescer.close()


async def test_lookup_that_expired_unsent_is_not_sent(link: ManualLink, gate: Diary) -> None:
    """A store that comes back from a stall is not asked for what nobody waits for."""
    coalescer = Coalescer(link, gate, HASTY)
    await coalescer.wait_connected(1.0)
    first = asyncio.ensure_future(coalescer.get_many([b"a"]))
    await tick()
    second = asyncio.ensure_future(coalescer.get_many([b"b"]))

    await asyncio.wait([first, second])
    link.answer()
    await tick()

    assert [keys for keys, _ in link.gets] == [[b"a"]]
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

    link.answer()
    end = loop.time() + 5 * HASTY.lookup_timeout_s
    while loop.time() < end:
        pass

    assert await lookup == [b"a"]
    assert gate.reports == ["succeeded", "succeeded"]
    await coalescer.close()


async def test_shut_gate_refuses_without_asking(link: ManualLink, coalescer: Coalescer, gate: Diary) -> None:
    """Behind an open breaker lookups miss and writes drop at once."""
    gate.is_shut = True

    found = await coalescer.get_many([b"a"])
    await coalescer.put_many([(b"a", b"1")])

    assert (found, link.gets, link.puts) == ([None], [], [])
    assert (coalescer.counts().refused, coalescer.counts().dropped_writes) == (1, 1)


async def test_error_answer_is_a_miss_and_a_failure(link: ManualLink, coalescer: Coalescer, gate: Diary) -> None:
    """A store that answers lookups by errors is of no use; the connection is."""
    call = asyncio.ensure_future(coalescer.get_many([b"a"]))
    await tick()

    link.gets[-1][1].set_result(None)

    assert await call == [None]
    assert (coalescer.counts().errors, gate.reports[-1], coalescer.is_connected) == (1, "failed", True)


async def test_lost_link_answers_everyone_and_comes_back(link: ManualLink, coalescer: Coalescer, gate: Diary) -> None:
    """Lookups in flight and waiting miss at once, and the link is made anew in the background."""
    calls = [asyncio.ensure_future(coalescer.get_many([b"a"]))]
    await tick()
    calls += [asyncio.ensure_future(coalescer.get_many([b"b"]))]
    write = asyncio.ensure_future(coalescer.put_many([(b"c", b"3")]))
    await tick()

    link.gets[-1][1].set_exception(StoreUnavailable("gone"))

    assert await asyncio.gather(*calls) == [[None], [None]]
    await write
    assert await coalescer.wait_connected(1.0)
    assert (link.connects, gate.reports) == (2, ["succeeded", "failed", "succeeded"])
    assert coalescer.counts().dropped_writes == 1


async def test_stalled_exchange_gives_the_link_up(link: ManualLink, gate: Diary) -> None:
    """An exchange which is never answered ends with a new connection."""
    coalescer = Coalescer(link, gate, Timing(lookup_timeout_s=0.002, stall_timeout_s=0.01))
    await coalescer.wait_connected(1.0)

    await coalescer.get_many([b"a"])
    async with asyncio.timeout(5):
        await link.tried_again.wait()

    assert await coalescer.wait_connected(1.0)
    await coalescer.close()


async def test_idle_link_that_is_gone_is_noticed(link: ManualLink, gate: Diary) -> None:
    """Without any traffic a heartbeat finds the loss, so that no lookup has to."""
    coalescer = Coalescer(link, gate, Timing(heartbeat_s=0.001))
    await coalescer.wait_connected(1.0)
    link.is_reachable = False

    async with asyncio.timeout(5):
        await link.tried_again.wait()

    assert not coalescer.is_connected
    assert link.pings >= 1
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


async def test_refused_writes_are_counted(link: ManualLink, coalescer: Coalescer) -> None:
    """What the store did not take is told from what it took."""
    await coalescer.put_many([(b"a", b"1"), (b"b", b""), (b"c", b"3")])

    assert (coalescer.counts().writes, coalescer.counts().dropped_writes) == (2, 1)


async def test_close_answers_who_still_waits(link: ManualLink, gate: Diary) -> None:
    """Nobody hangs on a closed store."""
    coalescer = Coalescer(link, gate, PATIENT)
    await coalescer.wait_connected(1.0)
    call = asyncio.ensure_future(coalescer.get_many([b"a"]))
    await tick()

    await coalescer.close()

    assert await call == [None]
    assert not coalescer.is_alive
