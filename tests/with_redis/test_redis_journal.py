"""The journal on a real Redis: outages within the deadline, trimming, rights, and the master that sentinels name."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
import uvloop

from cache.errors import JournalUnavailable
from cache.journal import Journal
from cache.redis_journal import RedisJournal
from tests.journal_contract import PLENTY, JournalContract, numbered, read_all, records_of
from tests.redis_server import RedisServer, Sentinel

# The hook that takes its place is younger than the oldest pytest-asyncio that we support.
pytestmark = pytest.mark.filterwarnings('ignore:Overriding the "event_loop_policy" fixture')

TIMEOUT_S = 0.7
PATIENCE_S = 20.0
LOG_KEY = b"sl:journal:log:audit"
ACL_RULES = ("~sl:journal:*", "-@all", "+ping", "+get", "+set", "+eval", "+xadd", "+xrange", "+xrevrange")


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Every test on both event loops: they notice an outage in different ways."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


@pytest.fixture
async def journal(server: RedisServer) -> AsyncIterator[Journal]:
    """An empty journal with a short deadline."""
    journal = RedisJournal(server.url, connect_timeout_s=TIMEOUT_S, timeout_s=TIMEOUT_S)
    yield journal
    await journal.close()


class TestRedisJournal(JournalContract):
    """The journal on Redis is a journal like the others."""


async def assert_unavailable(call: Awaitable[object], why: str = ".") -> None:
    """The call says that the journal is unavailable, within its deadline."""
    begin = time.monotonic()

    with pytest.raises(JournalUnavailable, match=why):
        await call

    assert time.monotonic() - begin < 4 * TIMEOUT_S  # the machine may be busy


async def until(call: Callable[[], Awaitable[object]]) -> None:
    """Repeat a call until it is answered, or fail when patience ends."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(JournalUnavailable):
                await call()
                return
            await asyncio.sleep(0.02)


async def test_keys_carry_the_caches_prefix(server: RedisServer, journal: Journal) -> None:
    """The same ACL pattern covers them, and logs and documents can be told apart."""
    await journal.append("audit", [b"1"], keep=1)
    await journal.replace("audit", b"1", expected=None)

    assert sorted(server.keys()) == [b"sl:journal:doc:audit", LOG_KEY]


async def test_stream_is_trimmed_by_redis(server: RedisServer, journal: Journal) -> None:
    """About as many records are there as are to be kept."""
    for start in range(0, 5000, 100):
        await journal.append("audit", numbered(100, start), keep=1000)

    length = int(server.call("XLEN", LOG_KEY)[1:])

    assert 1000 <= length <= 1100


async def test_log_goes_on_after_a_record_was_removed(server: RedisServer, journal: Journal) -> None:
    """A position need not exist any more."""
    await journal.append("audit", numbered(4), keep=PLENTY)
    second = (await journal.read("audit", limit=2))[-1].position
    server.call("XTRIM", LOG_KEY, "MAXLEN", 1)

    assert records_of(await journal.read("audit", after=second)) == numbered(1, start=3)


async def test_restarted_redis_is_found_by_the_next_call(server: RedisServer, journal: Journal) -> None:
    """While it is out calls say so at once; afterwards the first one makes a new connection."""
    await journal.append("audit", [b"1"], keep=PLENTY)
    server.kill()

    for _ in range(3):
        await assert_unavailable(journal.append("audit", [b"2"], keep=PLENTY))

    await asyncio.to_thread(server.start)
    await until(lambda: journal.append("audit", [b"3"], keep=PLENTY))
    assert (await read_all(journal, "audit"))[-1] == b"3"


async def test_hung_redis_costs_a_caller_its_deadline(server: RedisServer, journal: Journal) -> None:
    """However many call; when it goes on, so do they, and nobody gets another's answer."""
    await journal.append("audit", [b"1"], keep=PLENTY)
    await journal.replace("state", b"state", expected=None)
    server.pause()

    await asyncio.gather(*[assert_unavailable(journal.get("state")) for _ in range(20)])
    await assert_unavailable(journal.append("audit", [b"2"], keep=PLENTY))

    server.resume()
    await until(lambda: journal.get("state"))
    state, none, entries = await asyncio.gather(
        journal.get("state"), journal.get("none"), journal.read("audit", limit=1)
    )
    assert (state, none, records_of(entries)) == (b"state", None, [b"1"])


async def test_callers_share_one_connection(server: RedisServer, journal: Journal) -> None:
    """Also those that come before there is one."""
    await asyncio.gather(*[journal.get("state") for _ in range(50)])

    clients = server.call("CLIENT", "LIST", "TYPE", "normal").count(b" addr=")
    assert clients == 2  # the journal's and this question's


async def test_connections_at_once_count_exactly(server: RedisServer) -> None:
    """Compare-and-set over connections, as of several processes: no step is lost, none is done twice."""
    journals = [RedisJournal(server.url) for _ in range(4)]

    async def count_up(journal: Journal) -> None:
        done = 0
        while done < 50:
            held = await journal.get("count")
            done += await journal.replace("count", b"%d" % (int(held or b"0") + 1), expected=held)

    await asyncio.gather(*[count_up(journal) for journal in journals])

    assert await journals[0].get("count") == b"200"
    await asyncio.gather(*[journal.close() for journal in journals])


async def test_caller_that_leaves_disturbs_nobody(server: RedisServer, journal: Journal) -> None:
    """Neither while a connection is made nor while an answer is waited for."""
    await journal.replace("state", b"state", expected=None)
    for _ in range(20):
        leaving = [asyncio.ensure_future(journal.read("audit")) for _ in range(5)]
        await asyncio.sleep(0)
        for call in leaving:
            call.cancel()

        assert await journal.get("state") == b"state"


async def test_close_ends_an_attempt_to_connect(server: RedisServer) -> None:
    """At once, and whoever waits for it is told."""
    journal = RedisJournal(server.url, connect_timeout_s=10, timeout_s=10)
    server.pause()
    waiting = asyncio.ensure_future(journal.get("state"))
    await asyncio.sleep(0.05)

    await journal.close()

    await assert_unavailable(waiting, "closed")


async def test_wrong_password_is_an_outage(server: RedisServer) -> None:
    """And the right one is none; neither is in the message."""
    server.call("CONFIG", "SET", "requirepass", "word")
    for password in (None, "other"):
        journal = RedisJournal(server.url, password=password, timeout_s=TIMEOUT_S)
        with pytest.raises(JournalUnavailable) as caught:
            await journal.get("state")
        assert "other" not in str(caught.value)
        await journal.close()

    journal = RedisJournal(server.url, password="word", timeout_s=TIMEOUT_S)
    assert await journal.get("state") is None
    await journal.close()


async def test_redis_that_refuses_is_unavailable_and_stays_connected(server: RedisServer, journal: Journal) -> None:
    """Full without eviction: writes say so, reads are answered."""
    await journal.append("audit", [b"1"], keep=PLENTY)
    server.call("CONFIG", "SET", "maxmemory", 1)

    await assert_unavailable(journal.append("audit", [b"2"], keep=PLENTY), "OOM")
    await assert_unavailable(journal.replace("state", b"1", expected=None), "OOM")

    assert records_of(await journal.read("audit")) == [b"1"]


@pytest.mark.parametrize("kind", ["RPUSH", "SET"])
async def test_key_of_another_type_is_unavailable(server: RedisServer, journal: Journal, kind: str) -> None:
    """What somebody else has written under our key is no log."""
    server.call(kind, LOG_KEY, "value")

    await assert_unavailable(journal.read("audit"), "WRONGTYPE")
    await assert_unavailable(journal.append("audit", [b"1"], keep=1), "WRONGTYPE")


async def test_entry_of_another_form_is_unavailable(server: RedisServer, journal: Journal) -> None:
    """A stream with fields that we do not write is no log of ours."""
    server.call("XADD", LOG_KEY, "*", "a", "1", "b", "2")

    await assert_unavailable(journal.read("audit"), "something else")


async def test_user_with_few_rights_is_enough() -> None:
    """These commands, on the journal's own keys: the documented rules."""
    with RedisServer() as server:
        server.call("ACL", "SETUSER", "cache", "on", ">word", *ACL_RULES)
        journal = RedisJournal(f"redis://cache@127.0.0.1:{server.port}/0", password="word")
        await journal.open()

        await journal.append("audit", [b"1"], keep=1)
        assert await journal.replace("state", b"1", expected=None)
        assert not await journal.replace("state", b"2", expected=None)

        assert records_of(await journal.read("audit") + await journal.read_last("audit", 1)) == [b"1", b"1"]
        assert await journal.get("state") == b"1"
        await journal.close()


@pytest.mark.parametrize("missing", ACL_RULES[2:])
async def test_user_with_fewer_rights_is_not(missing: str) -> None:
    """None of the documented commands is one too many."""
    with RedisServer() as server:
        server.call("ACL", "SETUSER", "cache", "on", ">word", *[rule for rule in ACL_RULES if rule != missing])
        journal = RedisJournal(f"redis://cache:word@127.0.0.1:{server.port}/0")

        calls = await asyncio.gather(
            journal.append("audit", [b"1"], keep=1),
            journal.read("audit"),
            journal.read_last("audit", 1),
            journal.get("state"),
            journal.replace("state", b"1", expected=None),
            return_exceptions=True,
        )

        assert any(isinstance(result, JournalUnavailable) for result in calls)
        await journal.close()


async def test_demoted_master_is_left_for_its_successor() -> None:
    """Behind sentinels: a write that is refused by a replica is the last one that goes to it."""
    with (
        RedisServer() as first,
        RedisServer() as second,
        Sentinel("one", first) as old,
    ):
        journal = RedisJournal(f"redis+sentinel://127.0.0.1:{old.port}/one", timeout_s=TIMEOUT_S)
        await journal.append("audit", [b"1"], keep=PLENTY)
        old.call("SENTINEL", "REMOVE", "one")
        old.call("SENTINEL", "MONITOR", "one", "127.0.0.1", second.port, 1)
        first.call("REPLICAOF", "127.0.0.1", second.port)

        await until(lambda: journal.append("audit", [b"2"], keep=PLENTY))

        assert int(second.call("XLEN", LOG_KEY)[1:]) == 1
        await journal.close()


def is_replicated(sentinel: Sentinel, replica: RedisServer) -> bool:
    """Whether the sentinel has heard of the replica, without which it has nobody to promote, and that of the log."""
    return sentinel.call("SENTINEL", "REPLICAS", "cache")[:2] == b"*1" and replica.call("XLEN", LOG_KEY) == b":1\r\n"


async def test_sentinels_name_the_successor_of_a_dead_master() -> None:
    """What was replicated is still there, and the log goes on."""
    with RedisServer("--repl-diskless-sync-delay", "0") as master, RedisServer() as replica:
        replica.call("REPLICAOF", "127.0.0.1", master.port)
        with Sentinel("cache", master) as sentinel:
            journal = RedisJournal(f"redis+sentinel://127.0.0.1:{sentinel.port}/cache", timeout_s=TIMEOUT_S)
            await journal.append("audit", [b"1"], keep=PLENTY)
            async with asyncio.timeout(PATIENCE_S):
                while not is_replicated(sentinel, replica):  # noqa: ASYNC110 - other processes change
                    await asyncio.sleep(0.05)

            master.kill()
            await until(lambda: journal.append("audit", [b"2"], keep=PLENTY))

            assert records_of(await journal.read("audit")) == [b"1", b"2"]
            await journal.close()
