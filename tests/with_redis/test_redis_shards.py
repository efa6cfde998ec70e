"""Several Redis servers as one cache: each key has its shard, a dead one costs its own keys only."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from cache.config import CacheConfig
from cache.open import load_secret, open_cache
from cache.redis_address import shard_name
from cache.redis_secret import share_secret
from cache.redis_store import open_redis
from cache.rendezvous import Rendezvous
from cache.sharded_store import ShardedStore
from cache.store import OpenGate
from cache.two_level import EmbeddingCache, Entry, Lookup
from router.breaker import BreakerConfig, CircuitBreaker
from tests.contracts import StoreContract
from tests.redis_server import RedisServer

DIM = 8
LOOKUP_TIMEOUT_S = 0.2
COUNT = 300


@pytest.fixture
def servers() -> Iterator[list[RedisServer]]:
    """Three running servers."""
    with ExitStack() as running:
        yield [running.enter_context(RedisServer()) for _ in range(3)]


def make_config(servers: list[RedisServer]) -> CacheConfig:
    """A cache on these servers, without a level of its own."""
    urls = tuple(server.url for server in servers)
    return CacheConfig(url=urls, l1_bytes=0, lookup_timeout_s=LOOKUP_TIMEOUT_S, stall_timeout_s=0.5)


@pytest.fixture
async def cache(servers: list[RedisServer]) -> AsyncIterator[EmbeddingCache]:
    """A filled cache on the servers."""
    cache = await open_cache(make_config(servers), lambda: CircuitBreaker(BreakerConfig(open_s=0.1)))
    cache.put(Entry(key(number), vector(number), number) for number in range(COUNT))
    assert await cache.flush()
    yield cache
    await cache.close()


def key(number: int) -> bytes:
    """A storage key."""
    return number.to_bytes(4, "big") * 8 + b"k"


def vector(number: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The vector under that key."""
    return np.full(DIM, number, dtype=np.float32)


def lookups() -> list[Lookup]:
    """Every key's lookup."""
    return [Lookup(key(number), DIM, number) for number in range(COUNT)]


def shards_of(servers: list[RedisServer]) -> list[int]:
    """Each key's shard."""
    rendezvous = Rendezvous([shard_name(server.url) for server in servers])
    return [rendezvous.place(key(number)) for number in range(COUNT)]


@pytest.fixture
async def store(servers: list[RedisServer]) -> AsyncIterator[ShardedStore]:
    """A connected store on the servers."""
    config = make_config(servers)
    shards = [open_redis(url, config, OpenGate()) for url in config.urls]
    for shard in shards:
        assert await shard.wait_connected(5.0)
    store = ShardedStore([shard_name(url) for url in config.urls], shards)
    yield store
    await store.close()


class TestShardedStore(StoreContract):
    """Several stores are a store like the others."""


async def test_every_key_is_found_on_its_own_shard(servers: list[RedisServer], cache: EmbeddingCache) -> None:
    """And nowhere else."""
    found = await cache.get_many(lookups())

    assert [None if one is None else one.vector[0] for one in found] == list(range(COUNT))
    for number, shard in enumerate(shards_of(servers)):
        assert [server.get(b"sl:" + key(number)) is not None for server in servers] == [
            shard == other for other in range(3)
        ]


async def test_order_of_the_list_moves_no_key(servers: list[RedisServer], cache: EmbeddingCache) -> None:
    """Two routers whose files list the servers differently share the cache."""
    other = await open_cache(make_config(servers[::-1]), CircuitBreaker)

    assert None not in await other.get_many(lookups())
    await other.close()


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_lost_shard_costs_its_own_keys_and_no_time(
    servers: list[RedisServer], cache: EmbeddingCache, fault: str
) -> None:
    """The others' keys are found, within the deadline of a lookup; a restarted shard takes part again."""
    getattr(servers[1], fault)()

    for _ in range(20):
        began = time.monotonic()
        found = await cache.get_many(lookups())
        assert time.monotonic() - began < LOOKUP_TIMEOUT_S + 0.1
        is_alive = [shard != 1 for shard in shards_of(servers)]
        assert all(one is not None for one, alive in zip(found, is_alive, strict=True) if alive)
        await asyncio.sleep(0.01)

    if fault == "pause":
        servers[1].resume()
    else:
        servers[1].restart()
    deadline = time.monotonic() + 10
    while True:
        cache.put(Entry(key(number), vector(number), number) for number in range(COUNT))
        await cache.flush()
        if None not in await cache.get_many(lookups()):
            break
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_secret_is_one_whichever_shards_are_out(servers: list[RedisServer]) -> None:
    """Routers that come later, with other shards out, find the secret that the first one shared."""
    config = make_config(servers)
    secret = await load_secret(config)
    cache = await open_cache(config, CircuitBreaker, secret=secret)
    assert [server.get(b"sl:secret") for server in servers] == [secret] * 3

    for server in servers[:2]:
        server.kill()
        assert await load_secret(config) == secret
    await cache.close()


async def test_secret_is_found_while_a_shard_hangs(servers: list[RedisServer]) -> None:
    """Whichever it is, a router that begins then waits for it, and goes on with the others."""
    config = make_config(servers)
    secret = await load_secret(config)

    for server in servers:
        server.pause()
        assert await load_secret(config) == secret
        server.resume()


async def test_routers_that_were_parted_share_one_secret_in_the_end(servers: list[RedisServer]) -> None:
    """Each shard has the secret of a router that began without the others; those that begin later agree for good."""
    config = make_config(servers)
    for number, server in enumerate(servers):
        server.call("SET", "sl:secret", b"%032d" % number)

    secret = await load_secret(config)

    assert [server.get(b"sl:secret") for server in servers] == [secret] * 3
    for server in servers[:2]:
        server.kill()
        assert await load_secret(config) == secret


async def test_routers_that_begin_together_share_one_secret(servers: list[RedisServer]) -> None:
    """Eight at once, on empty servers, in any order of the list."""
    orders = [make_config(servers), make_config(servers[::-1])] * 4

    assert len(set(await asyncio.gather(*[load_secret(config) for config in orders]))) == 1


@pytest.mark.parametrize("hung", [0, 1, 2])
@pytest.mark.parametrize("is_new", [True, False])
async def test_shard_that_takes_no_writes_keeps_nobody_from_the_secret(
    servers: list[RedisServer], hung: int, *, is_new: bool
) -> None:
    """It answers PING and GET, and then no more: the others hold the secret, or take it."""
    config = make_config(servers)
    secret = b"s" * 32 if is_new else await load_secret(config)
    servers[hung].call("CLIENT", "PAUSE", "3000", "WRITE")

    found = await share_secret(config, secret)

    assert found == secret
    servers[hung].call("CLIENT", "UNPAUSE")
