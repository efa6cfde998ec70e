"""Every way to reach Redis: TLS, an ACL user, a unix socket, and the master that sentinels name."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from cache.config import CacheConfig
from cache.errors import SecretUnavailable, StoreUnavailable
from cache.redis_secret import share_secret
from cache.redis_store import RedisStore, open_redis
from cache.store import OpenGate
from tests.certificates import write_certificate
from tests.redis_server import RedisServer, Sentinel, find_free_port

ENTRY = (b"key", b"value")
SECRET = b"a secret of the tests"
ACL_RULES = ("~sl:*", "-@all", "+get", "+mget", "+set", "+ping")
FAILOVER_S = 15.0


async def open_at(url: str, password: str | None = None) -> RedisStore:
    """Open a store and wait until it is connected."""
    config = CacheConfig(url=url, lookup_timeout_s=1.0)
    store = open_redis(url, config, OpenGate(), password=password, secret=SECRET)
    assert await store.wait_connected(5.0)
    return store


async def assert_keeps(store: RedisStore) -> None:
    """What is put is found again."""
    try:
        await store.put_many([ENTRY])
        assert await store.get_many([ENTRY[0], b"other"]) == [ENTRY[1], None]
        assert store.counts().dropped_writes == 0
    finally:
        await store.close()


async def assert_is_out(url: str) -> None:
    """Nothing is connected, and lookups are misses."""
    store = open_redis(url, CacheConfig(url=url), OpenGate())
    assert not await store.wait_connected(0.3)
    assert await store.get_many([ENTRY[0]]) == [None]
    await store.close()


async def test_redis_is_reached_over_tls(tmp_path: Path) -> None:
    """The server's certificate is checked against the authority that the URL names."""
    certificate, key = write_certificate(tmp_path)
    port = find_free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    with RedisServer(*options, "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"):
        await assert_keeps(await open_at(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}"))

        for stranger in (f"127.0.0.1:{port}/0", f"localhost:{port}/0?ssl_ca_certs={certificate}"):
            await assert_is_out(f"rediss://{stranger}")  # of an unknown authority, and of another name


async def test_redis_that_asks_for_a_certificate_is_given_one(tmp_path: Path) -> None:
    """And without one there is no connection."""
    certificate, key = write_certificate(tmp_path)
    port = find_free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    with RedisServer(*options, "--tls-ca-cert-file", str(certificate)):
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}"

        await assert_keeps(await open_at(f"{url}&ssl_certfile={certificate}&ssl_keyfile={key}"))

        await assert_is_out(url)


async def test_redis_is_reached_over_a_unix_socket(tmp_path: Path) -> None:
    """A path in place of a host."""
    path = tmp_path / "redis.sock"
    with RedisServer("--unixsocket", str(path)):
        await assert_keeps(await open_at(f"unix://{path}?db=0"))


@pytest.mark.parametrize("is_in_url", [True, False])
async def test_user_with_few_rights_is_enough(*, is_in_url: bool) -> None:
    """These commands, on the cache's own keys: the documented rules."""
    with RedisServer() as server:
        server.call("ACL", "SETUSER", "cache", "on", ">word", *ACL_RULES)
        server.call("ACL", "SETUSER", "default", "off")
        user = "cache:word" if is_in_url else "cache"
        url = f"redis://{user}@127.0.0.1:{server.port}/0"
        password = None if is_in_url else "word"

        assert await share_secret(CacheConfig(url=url), SECRET, password=password) == SECRET
        await assert_keeps(await open_at(url, password))


@pytest.mark.parametrize("missing", ACL_RULES[2:])
async def test_user_with_fewer_rights_is_not(missing: str) -> None:
    """None of the documented commands is one too many."""
    with RedisServer() as server:
        server.call("ACL", "SETUSER", "cache", "on", ">word", *[rule for rule in ACL_RULES if rule != missing])
        config = CacheConfig(url=f"redis://cache:word@127.0.0.1:{server.port}/0", connect_timeout_s=0.3)

        with suppress(SecretUnavailable):
            assert await share_secret(config, SECRET) == SECRET
            store = open_redis(config.urls[0], config, OpenGate())
            assert await store.wait_connected(5.0)
            await store.put_many([ENTRY])
            assert await store.get_many([ENTRY[0]]) == [None]
            await store.close()


@pytest.mark.parametrize("rules", [ACL_RULES, (*ACL_RULES, "+select")])
async def test_user_selects_another_database_with_one_more_right(rules: tuple[str, ...]) -> None:
    """Database 0 needs none."""
    with RedisServer() as server:
        server.call("ACL", "SETUSER", "cache", "on", ">word", *rules)
        url = f"redis://cache:word@127.0.0.1:{server.port}/1"

        if "+select" in rules:
            await assert_keeps(await open_at(url))
        else:
            await assert_is_out(url)


async def test_wrong_password_is_an_outage() -> None:
    """Misses, and no connection; the service goes on without the cache."""
    with RedisServer() as server:
        server.call("CONFIG", "SET", "requirepass", "word")
        store = open_redis(server.url, CacheConfig(url=server.url), OpenGate(), password="other")

        assert not await store.wait_connected(0.3)
        assert await store.get_many([b"key"]) == [None]
        await store.close()


async def test_sentinels_name_the_master_and_its_successor() -> None:
    """When the master dies, hits come back from the replica that took its place."""
    with (
        RedisServer() as master,
        RedisServer("--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay", "0") as replica,
        Sentinel("cache", master) as sentinel,
    ):
        await wait_for_replica(sentinel)
        url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/cache/0"
        store = await open_at(url)
        await store.put_many([ENTRY])
        assert master.get(b"sl:key") == ENTRY[1]
        await until(lambda: replica.get(b"sl:key") == ENTRY[1])

        master.kill()

        async def is_found() -> bool:
            return await store.get_many([ENTRY[0]]) == [ENTRY[1]]

        deadline = time.monotonic() + FAILOVER_S
        while not await is_found():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        await store.put_many([(b"later", b"value")])
        assert replica.get(b"sl:later") == b"value"
        await store.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that answers no attempt to connect, as behind a firewall: its queue is full."""
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            caller = sockets.enter_context(socket.socket())
            caller.setblocking(False)
            with suppress(BlockingIOError):
                caller.connect(listener.getsockname())
        yield listener.getsockname()[1]


async def test_sentinels_that_are_out_delay_no_more_than_the_first_connection(silent_port: int) -> None:
    """One is unreachable, one hangs, the third is asked, all within one attempt to connect."""
    with RedisServer() as master, Sentinel("cache", master) as hung, Sentinel("cache", master) as sentinel:
        hung.pause()
        hosts = ",".join(f"127.0.0.1:{port}" for port in (silent_port, hung.port, sentinel.port))

        await assert_keeps(await open_at(f"redis+sentinel://{hosts}/cache"))


async def test_service_that_no_sentinel_knows_is_an_outage() -> None:
    """As an unreachable server is."""
    with RedisServer() as master, Sentinel("cache", master) as sentinel:
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/other"
        store = open_redis(url, CacheConfig(url=url), OpenGate())

        assert not await store.wait_connected(0.5)
        await store.close()


@pytest.mark.parametrize("url", ["redis+sentinel://127.0.0.1:1/", "unix+sentinel:///path", "redis://127.0.0.1?db=x"])
async def test_url_that_means_nothing_is_refused_when_opened(url: str) -> None:
    """Before anything is connected."""
    with pytest.raises(StoreUnavailable):
        open_redis(url, CacheConfig(), OpenGate())


async def wait_for_replica(sentinel: Sentinel) -> None:
    """Wait until the sentinel has heard of the replica: before, it has nobody to promote."""
    await until(lambda: sentinel.call("SENTINEL", "REPLICAS", "cache")[:2] == b"*1")


async def until(condition: object) -> None:
    """Wait for a condition for at most `FAILOVER_S` seconds."""
    assert callable(condition)
    deadline = time.monotonic() + FAILOVER_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
