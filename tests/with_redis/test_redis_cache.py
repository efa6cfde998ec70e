"""The whole cache on a real Redis: sharing, keys, corruption, and the secret beside it."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import pytest

from cache.config import CacheConfig
from cache.errors import SecretUnavailable
from cache.keys import ContentHasher, EmbeddingSpace, namespace, storage_key
from cache.open import load_secret, open_cache
from cache.redis_store import KEY_PREFIX, SECRET_KEY
from cache.store import OpenGate
from cache.two_level import EmbeddingCache, Entry, Lookup
from tests.redis_server import RedisServer

DIM = 32
SPACE = EmbeddingSpace("image", "ViT-B-32", "rev-1", "resize-224", "float32", "")
Opener = Callable[[], Awaitable[EmbeddingCache]]


@pytest.fixture
def config(server: RedisServer) -> CacheConfig:
    """A cache without an in-process level, so that every lookup asks Redis."""
    return CacheConfig(url=server.url, l1_bytes=0, lookup_timeout_s=1.0)


@pytest.fixture
async def open_one(config: CacheConfig) -> AsyncIterator[Opener]:
    """Open caches as routers would, and close them after the test."""
    opened: list[EmbeddingCache] = []

    async def open_one() -> EmbeddingCache:
        opened.append(await open_cache(config, OpenGate, secret=await load_secret(config)))
        return opened[-1]

    yield open_one
    for cache in opened:
        await cache.close()


def make_entry(hasher: ContentHasher, image: bytes, space: EmbeddingSpace = SPACE) -> Entry:
    """Return an entry for an image, with a vector made of its bytes."""
    vector = np.frombuffer(image.ljust(DIM, b"\0")[:DIM], dtype=np.uint8).astype(np.float32) / np.float32(255)
    return Entry(storage_key(namespace(space), hasher.image(image)), vector, len(image))


def ask(entry: Entry) -> Lookup:
    """Return the lookup that an entry answers."""
    return Lookup(entry.key, DIM, entry.input_length)


async def test_routers_share_vectors(config: CacheConfig, open_one: Opener) -> None:
    """What one router computed, another one with a hasher of its own finds."""
    ours, theirs = await open_one(), await open_one()
    entry = make_entry(ContentHasher(await load_secret(config)), b"an image")
    ours.put([entry])
    await ours.flush()

    same = make_entry(ContentHasher(await load_secret(config)), b"an image")
    [found] = await theirs.get_many([ask(same)])

    assert found is not None
    assert np.allclose(found.vector, entry.vector, atol=1e-3)


async def test_images_that_differ_in_one_byte_never_share_an_entry(config: CacheConfig, open_one: Opener) -> None:
    """Of 256 images that differ in one byte each finds its own vector only."""
    cache, hasher = await open_one(), ContentHasher(await load_secret(config))
    entries = [make_entry(hasher, bytes([n]) + bytes(5000)) for n in range(256)]
    cache.put(entries[::2])
    await cache.flush()

    found = await cache.get_many([ask(entry) for entry in entries])

    assert [one is not None for one in found] == [True, False] * 128
    assert all(abs(one.vector[0] - n / 255) < 1e-3 for n, one in enumerate(found) if one is not None)


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(SPACE, revision="rev-2"),
        dataclasses.replace(SPACE, preprocessing="resize-256"),
        dataclasses.replace(SPACE, tenant_salt="tenant"),
    ],
)
async def test_same_bytes_in_another_space_never_hit(
    config: CacheConfig, open_one: Opener, other: EmbeddingSpace
) -> None:
    """A new model revision or preprocessing version, or another tenant, begins with no hits."""
    cache, hasher = await open_one(), ContentHasher(await load_secret(config))
    cache.put([make_entry(hasher, b"an image")])
    await cache.flush()

    assert await cache.get_many([ask(make_entry(hasher, b"an image", other))]) == [None]


async def test_any_flipped_byte_in_redis_is_a_miss(server: RedisServer, config: CacheConfig, open_one: Opener) -> None:
    """Whatever byte of a stored value is flipped, the entry is computed again."""
    cache, entry = await open_one(), make_entry(ContentHasher(await load_secret(config)), b"an image")
    cache.put([entry])
    await cache.flush()
    value = server.get(KEY_PREFIX + entry.key)
    assert value is not None

    found = []
    for at in range(len(value)):
        damaged = value[:at] + bytes([value[at] ^ 0x40]) + value[at + 1 :]
        await asyncio.to_thread(server.call, "SET", KEY_PREFIX + entry.key, damaged)
        found += await cache.get_many([ask(entry)])

    assert found == [None] * len(value)
    assert cache.counts().corrupt == len(value)


async def test_value_moved_to_another_key_is_a_miss(server: RedisServer, config: CacheConfig, open_one: Opener) -> None:
    """A restored or mixed-up database never answers with another input's vector."""
    cache, hasher = await open_one(), ContentHasher(await load_secret(config))
    one, other = make_entry(hasher, b"image one"), make_entry(hasher, b"image two")
    cache.put([one])
    await cache.flush()

    server.call("RENAME", KEY_PREFIX + one.key, KEY_PREFIX + other.key)

    assert await cache.get_many([ask(other)]) == [None]


async def test_put_never_waits_for_a_hung_redis(server: RedisServer, config: CacheConfig) -> None:
    """With the server stopped and the queue full, puts return and drop."""
    small = config.model_copy(update={"write_queue_items": 100, "stall_timeout_s": 30.0})
    cache, hasher = await open_cache(small, OpenGate), ContentHasher(await load_secret(config))
    entries = [make_entry(hasher, b"%d" % n) for n in range(1000)]
    server.pause()

    begin = time.process_time()
    for entry in entries:
        cache.put([entry])

    assert time.process_time() - begin < 0.5
    assert cache.counts().dropped_writes == 900
    assert cache.is_alive
    server.resume()
    await cache.close()


async def test_secret_is_one_for_all_who_ask(config: CacheConfig) -> None:
    """Routers and jobs that start together agree on the secret."""
    secrets = await asyncio.gather(*[load_secret(config) for _ in range(8)])

    assert len(set(secrets)) == 1
    assert len(secrets[0]) == 32


async def test_secret_survives_a_redis_that_forgot_it(
    server: RedisServer, config: CacheConfig, open_one: Opener
) -> None:
    """A router which knows the secret sets it again with its next writes, before anyone makes another."""
    cache, secret = await open_one(), await load_secret(config)
    server.call("DEL", SECRET_KEY)

    cache.put([make_entry(ContentHasher(secret), b"an image")])
    await cache.flush()

    assert await load_secret(config) == secret


async def test_secret_survives_a_restart_of_redis(server: RedisServer, config: CacheConfig, open_one: Opener) -> None:
    """The first router to come back brings the secret along."""
    await open_one()
    secret = await load_secret(config)

    await asyncio.to_thread(server.restart)
    async with asyncio.timeout(20):
        while server.get(SECRET_KEY) is None:  # noqa: ASYNC110 - another process changes
            await asyncio.sleep(0.01)

    assert await load_secret(config) == secret


async def test_secret_of_an_unreachable_redis_is_an_error(server: RedisServer) -> None:
    """No secret is made up while Redis cannot be asked: it would part the cache in two."""
    server.kill()

    with pytest.raises(SecretUnavailable):
        await load_secret(CacheConfig(url=server.url, connect_timeout_s=0.2))


async def test_secret_of_a_hung_redis_is_an_error_in_time(server: RedisServer) -> None:
    """A server that answers nothing delays a start by the connect timeout, not for ever."""
    server.pause()

    with pytest.raises(SecretUnavailable):
        await load_secret(CacheConfig(url=server.url, connect_timeout_s=0.2))
