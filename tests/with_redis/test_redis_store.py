"""The store on a real Redis: coalescing, full memory, errors, expiry, authentication."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cache.config import CacheConfig
from cache.redis_store import KEY_PREFIX, RedisStore, open_redis
from cache.store import OpenGate
from router.breaker import BreakerConfig, BreakerState, CircuitBreaker
from tests.contracts import StoreContract, keys_of, make_entries
from tests.redis_server import RedisServer

Opener = Callable[..., Awaitable[RedisStore]]


@pytest.fixture
async def open_store(server: RedisServer) -> AsyncIterator[Opener]:
    """Open connected stores on the server, and close them after the test."""
    opened: list[RedisStore] = []

    async def open_store(gate: CircuitBreaker | None = None, password: str | None = None, ttl_s: int = 0) -> RedisStore:
        config = CacheConfig(url=server.url, lookup_timeout_s=1.0, redis_ttl_s=ttl_s)
        opened.append(open_redis(config.urls[0], config, gate or OpenGate(), password=password))
        await opened[-1].wait_connected(5.0)
        return opened[-1]

    yield open_store
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store: Opener) -> RedisStore:
    """A connected store."""
    return await open_store()


class TestRedisStore(StoreContract):
    """The Redis store is a store like the others."""


async def test_concurrent_lookups_share_few_commands(server: RedisServer, store: RedisStore) -> None:
    """A thousand callers cost a handful of MGETs over one connection, not a thousand of either."""
    entries = make_entries(1000)
    await store.put_many(entries)

    found = await asyncio.gather(*[store.get_many([key]) for key, _ in entries])

    assert found == [[value] for _, value in entries]
    assert store.exchanges <= 10
    clients = server.call("CLIENT", "LIST", "TYPE", "normal").count(b" addr=")
    assert clients == 2  # the store's connection and this question's


async def test_keys_carry_the_prefix(server: RedisServer, store: RedisStore) -> None:
    """An ACL or a scan can tell the cache's keys from others on the same server."""
    await store.put_many([(b"key", b"value")])

    assert server.keys() == [KEY_PREFIX + b"key"]


async def test_entries_stay_until_evicted_unless_told_otherwise(server: RedisServer, open_store: Opener) -> None:
    """Without a lifetime entries have none, with one they have that one."""
    forever, brief = await open_store(), await open_store(ttl_s=3600)

    await forever.put_many([(b"forever", b"1")])
    await brief.put_many([(b"brief", b"1")])

    assert server.call("TTL", KEY_PREFIX + b"forever") == b":-1\r\n"
    assert server.call("TTL", KEY_PREFIX + b"brief") in (b":3600\r\n", b":3599\r\n")


async def test_full_redis_drops_writes_and_answers_lookups(server: RedisServer, store: RedisStore) -> None:
    """Out of memory without eviction: writes are refused one by one and counted, reads are hits."""
    kept = make_entries(10)
    await store.put_many(kept)
    server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.call("CONFIG", "SET", "maxmemory", "1mb")

    await store.put_many(make_entries(300))

    counts = store.counts()
    assert counts.dropped_writes > 100
    assert counts.writes + counts.dropped_writes == 310
    assert await store.get_many(keys_of(kept)) == [value for _, value in kept]
    assert store.is_connected


async def test_write_protected_redis_drops_writes_and_answers_lookups(server: RedisServer, store: RedisStore) -> None:
    """A replica that was not promoted yet (READONLY) still answers."""
    await store.put_many([(b"key", b"value")])
    server.call("REPLICAOF", "127.0.0.1", "1")

    await store.put_many([(b"other", b"value")])

    assert store.counts().dropped_writes == 1
    assert await store.get_many([b"key"]) == [b"value"]


async def test_key_of_another_type_is_a_miss(server: RedisServer, store: RedisStore) -> None:
    """A list under one of our keys is nobody's vector."""
    server.call("RPUSH", KEY_PREFIX + b"key", "value")

    assert await store.get_many([b"key"]) == [None]


async def test_password_opens_the_server(server: RedisServer, open_store: Opener) -> None:
    """With the password the store connects; without it, it stays an outage."""
    server.call("CONFIG", "SET", "requirepass", "let me in")

    with_password = await open_store(password="let me in")
    await with_password.put_many([(b"key", b"value")])

    assert await with_password.get_many([b"key"]) == [b"value"]
    config = CacheConfig(url=server.url, connect_timeout_s=0.5)
    without = open_redis(config.urls[0], config, OpenGate())
    assert not await without.wait_connected(0.3)
    assert await without.get_many([b"key"]) == [None]
    await without.close()


async def test_redis_that_refuses_the_command_opens_the_breaker(server: RedisServer, open_store: Opener) -> None:
    """A server that answers every lookup by an error is soon left alone."""
    breaker = CircuitBreaker(BreakerConfig(consecutive_failures=3, open_s=60))
    store = await open_store(breaker)
    server.call("ACL", "SETUSER", "default", "-mget")

    found = [await store.get_many([b"key"]) for _ in range(5)]

    assert found == [[None]] * 5
    assert breaker.state(asyncio.get_running_loop().time()) is BreakerState.OPEN
    assert (store.counts().errors, store.counts().refused) == (3, 2)
