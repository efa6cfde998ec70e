"""Redis killed, hung and restarted under load: no call fails, none waits, and hits come back by themselves."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvloop

from cache.config import CacheConfig
from cache.redis_store import RedisStore, open_redis
from router.breaker import BreakerConfig, BreakerState, CircuitBreaker
from tests.contracts import keys_of, make_entries
from tests.redis_server import RedisServer

# The hook that takes its place is younger than the oldest pytest-asyncio that we support.
pytestmark = pytest.mark.filterwarnings('ignore:Overriding the "event_loop_policy" fixture')

LOOKUP_TIMEOUT_S = 0.05
PATIENCE_S = 20.0
KEYS = make_entries(64)
KEEP_CLOSED = BreakerConfig(consecutive_failures=10**6, failure_rate=1.0, window_min_calls=10**6)


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Every test on both event loops: they notice an outage in different ways."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


@pytest.fixture
def breaker() -> CircuitBreaker:
    """A breaker which opens after three failures and tries again after 0.3 s."""
    return CircuitBreaker(BreakerConfig(consecutive_failures=3, open_s=0.3, probe_timeout_s=1.0))


@pytest.fixture
async def store(server: RedisServer, breaker: CircuitBreaker) -> AsyncIterator[RedisStore]:
    """A connected store with 64 entries."""
    store = await open_filled(server, breaker)
    yield store
    await store.close()


async def open_filled(server: RedisServer, breaker: CircuitBreaker, stall_timeout_s: float = 0.5) -> RedisStore:
    """Return a connected store with 64 entries."""
    config = CacheConfig(
        url=server.url, lookup_timeout_s=LOOKUP_TIMEOUT_S, connect_timeout_s=0.5, stall_timeout_s=stall_timeout_s
    )
    store = open_redis(config.urls[0], config, breaker)
    assert await store.wait_connected(PATIENCE_S)
    await store.put_many(KEYS)
    return store


async def poll(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds, or fail when patience ends."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - another process changes
            await asyncio.sleep(0.005)


async def test_killed_and_restarted_under_load_no_call_fails(server: RedisServer, store: RedisStore) -> None:
    """Fifty callers never see an exception, and find their entries again once someone wrote them."""
    is_over = False
    answered = 0

    async def call_on() -> None:
        nonlocal answered
        while not is_over:
            found = await store.get_many(keys_of(KEYS[:2]))
            assert len(found) == 2
            answered += 1
            await store.put_many(KEYS[:2])
            await asyncio.sleep(0.001)

    async def hits_again() -> bool:
        return None not in await store.get_many(keys_of(KEYS[:2]))

    callers = [asyncio.ensure_future(call_on()) for _ in range(50)]
    await poll(hits_again)
    await asyncio.to_thread(server.kill)
    await poll(lambda: _is(not store.is_connected))
    before = answered
    await poll(lambda: _is(answered > before + 200))
    await asyncio.to_thread(server.start)
    await poll(hits_again)
    is_over = True

    await asyncio.gather(*callers)
    assert store.is_alive


async def _is(condition: bool) -> bool:  # noqa: FBT001 - wraps a condition for `poll`
    return condition


async def test_dead_redis_costs_a_lookup_nothing(server: RedisServer, store: RedisStore) -> None:
    """While there is no server a lookup is a few microseconds, not a deadline."""
    server.kill()
    await poll(lambda: _is(not store.is_connected))

    begin = time.process_time()
    for _ in range(1000):
        assert await store.get_many([b"key"]) == [None]

    assert time.process_time() - begin < LOOKUP_TIMEOUT_S


async def test_hung_redis_costs_a_lookup_its_deadline_at_most(server: RedisServer) -> None:
    """Every lookup of a stopped server is over within the deadline, however many there are."""
    store = await open_filled(server, CircuitBreaker(KEEP_CLOSED), stall_timeout_s=30.0)
    server.pause()
    begin = time.monotonic()

    found = await asyncio.gather(*[store.get_many([key]) for key, _ in KEYS])

    assert found == [[None]] * len(KEYS)
    assert time.monotonic() - begin < 10 * LOOKUP_TIMEOUT_S  # the machine may be busy
    assert store.counts().timeouts == len(KEYS)
    server.resume()
    await store.close()


async def test_hung_redis_costs_nothing_once_the_breaker_is_open(
    server: RedisServer, store: RedisStore, breaker: CircuitBreaker
) -> None:
    """After a few late answers nobody asks any more, until a probe finds the server well."""
    server.pause()
    for _ in range(3):
        await store.get_many([b"key"])
    assert breaker.state(time.monotonic()) is not BreakerState.CLOSED

    begin = time.process_time()
    for _ in range(1000):
        await store.get_many([b"key"])

    assert time.process_time() - begin < LOOKUP_TIMEOUT_S
    server.resume()


async def test_hits_come_back_after_a_hang(server: RedisServer, store: RedisStore) -> None:
    """A server that was stopped and goes on is used again without anybody's doing."""
    server.pause()
    for _ in range(5):
        await store.get_many([b"key"])
    server.resume()

    async def hits_again() -> bool:
        return None not in await store.get_many(keys_of(KEYS))

    await poll(hits_again)


async def test_late_answer_is_never_taken_for_anothers(server: RedisServer) -> None:
    """After a stall shorter than the connection's patience each caller gets its own values, or misses."""
    store = await open_filled(server, CircuitBreaker(KEEP_CLOSED), stall_timeout_s=30.0)
    server.pause()
    await asyncio.gather(*[store.get_many([key]) for key, _ in KEYS])
    server.resume()

    for _ in range(20):
        found = await asyncio.gather(*[store.get_many([key]) for key, _ in KEYS])
        assert all(values in ([value], [None]) for values, (_, value) in zip(found, KEYS, strict=True))

    assert found == [[value] for _, value in KEYS]
    await store.close()


async def test_hung_redis_gets_a_new_connection(server: RedisServer, store: RedisStore) -> None:
    """A connection that answers nothing is given up, in case the server behind it is gone for good."""
    server.pause()

    await store.get_many([b"key"])
    await poll(lambda: _is(not store.is_connected))

    server.resume()
    assert await store.wait_connected(PATIENCE_S)


async def test_store_opens_before_its_server(server: RedisServer, breaker: CircuitBreaker) -> None:
    """A service that starts while Redis is down finds it later."""
    server.kill()
    store = open_redis(server.url, CacheConfig(lookup_timeout_s=1.0), breaker)
    assert not await store.wait_connected(0.1)

    await asyncio.to_thread(server.start)

    assert await store.wait_connected(PATIENCE_S)
    await store.put_many(KEYS)
    assert await store.get_many(keys_of(KEYS)) == [value for _, value in KEYS]
    await store.close()


async def test_write_to_a_dead_redis_returns_at_once(server: RedisServer, store: RedisStore) -> None:
    """Writes during an outage are dropped and counted, not waited for."""
    server.kill()
    await poll(lambda: _is(not store.is_connected))
    before = store.counts().dropped_writes

    await store.put_many(KEYS)

    assert store.counts().dropped_writes == before + len(KEYS)
