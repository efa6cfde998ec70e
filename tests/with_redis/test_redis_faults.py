"""A Redis that lies, breaks off or is cut off: misses, a new connection, and never another key's value."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import hiredis
import pytest
import uvloop

from cache.config import CacheConfig
from cache.redis_store import KEY_PREFIX, RedisStore, open_redis
from cache.store import OpenGate
from tests.certificates import write_certificate
from tests.redis_server import RedisServer, find_free_port

# The hook that takes its place is younger than the oldest pytest-asyncio that we support.
pytestmark = pytest.mark.filterwarnings('ignore:Overriding the "event_loop_policy" fixture')

PATIENCE_S = 20.0
KEYS = [b"key %d" % number for number in range(2000)]


def value_of(key: bytes) -> bytes:
    """Return the one value that a key ever has."""
    return b"value of %b " % key + bytes(len(key) * 37 % 900)


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Every test on both event loops: connections are taken over differently."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


class Liar:
    """A server that answers lookups by whatever the test says; None is the truth."""

    def __init__(self) -> None:
        self.lie: bytes | None = None
        self.hangs_up = False
        self.connections = 0
        self.port = 0

    async def start(self) -> asyncio.Server:
        """Listen on a free port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        parser = hiredis.Reader()
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                parser.feed(data)
                while (command := parser.gets()) is not False:
                    writer.write(self._answer(command))
                    if command[0] == b"MGET" and self.hangs_up:
                        writer.close()
                        return
        writer.close()

    def _answer(self, command: Sequence[bytes]) -> bytes:
        if command[0] == b"PING":
            return b"+PONG\r\n"
        if command[0] != b"MGET":
            return b"+OK\r\n"
        if self.lie is not None:
            return self.lie
        values = [value_of(key.removeprefix(KEY_PREFIX)) for key in command[1:]]
        return b"*%d\r\n" % len(values) + b"".join(b"$%d\r\n%b\r\n" % (len(value), value) for value in values)


Opener = Callable[..., Awaitable[RedisStore]]


@pytest.fixture
async def open_store() -> AsyncIterator[Opener]:
    """Open connected stores, and close them after the test."""
    async with AsyncExitStack() as stack:

        async def open_at(url: str, lookup_timeout_s: float = 1.0, stall_timeout_s: float = 5.0) -> RedisStore:
            config = CacheConfig(url=url, lookup_timeout_s=lookup_timeout_s, stall_timeout_s=stall_timeout_s)
            store = open_redis(url, config, OpenGate())
            stack.push_async_callback(store.close)
            assert await store.wait_connected(PATIENCE_S)
            return store

        yield open_at


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    """A server that tells the truth until the test makes it lie."""
    liar = Liar()
    async with await liar.start():
        yield liar


async def fill(store: RedisStore) -> None:
    """Write every key's value."""
    await store.put_many([(key, value_of(key)) for key in KEYS])


async def find_again(store: RedisStore, keys: Sequence[bytes]) -> None:
    """Wait until the keys' values are found."""
    async with asyncio.timeout(PATIENCE_S):
        while await store.get_many(keys) != [value_of(key) for key in keys]:  # noqa: ASYNC110 - another process changes
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("hangs_up", [False, True])
@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="another protocol"),
        pytest.param(b"*1\r\n$10\r\nhalf", id="half"),
        pytest.param(b"*1\r\n$99999999999\r\nvalue\r\n", id="endless value"),
        pytest.param(b"*1\r\n$-7\r\n", id="impossible length"),
        pytest.param(b"*2\r\n$3\r\none\r\n$3\r\ntwo\r\n", id="too many values"),
        pytest.param(b"*0\r\n", id="too few values"),
        pytest.param(b"*1\r\n:7\r\n", id="a number"),
        pytest.param(b"+OK\r\n", id="another answer"),
        pytest.param(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n", id="a message of a channel"),
    ],
)
async def test_false_answer_is_a_miss_and_ends_the_connection(
    liar: Liar, open_store: Opener, lie: bytes, *, hangs_up: bool
) -> None:
    """What is no answer to the question is given to nobody, and the next connection begins anew."""
    store = await open_store(f"redis://127.0.0.1:{liar.port}/0", stall_timeout_s=0.1)
    liar.lie, liar.hangs_up = lie, hangs_up

    found = await asyncio.gather(*[store.get_many([key]) for key in KEYS[:1]])

    assert found == [[None]]
    assert store.unanswered == 1
    liar.lie, liar.hangs_up = None, False
    await find_again(store, KEYS[:300])
    assert liar.connections >= 2


async def test_reply_too_many_ends_the_connection(liar: Liar, open_store: Opener) -> None:
    """It is taken for nobody's answer: neither for that of this question nor for that of the next."""
    store = await open_store(f"redis://127.0.0.1:{liar.port}/0")
    first = value_of(KEYS[0])
    liar.lie = 2 * (b"*1\r\n$%d\r\n%b\r\n" % (len(first), first))

    assert await store.get_many(KEYS[:1]) == [first]
    liar.lie = None

    await find_again(store, KEYS[1:2])
    assert liar.connections == 2


async def test_reply_larger_than_any_buffer_is_whole(server: RedisServer, open_store: Opener) -> None:
    """256 values of 64 KiB: 16 MiB in one reply."""
    store = await open_store(server.url, stall_timeout_s=20.0)
    entries = [(key, bytes([number % 256]) * 65_536) for number, key in enumerate(KEYS[:256])]
    await store.put_many(entries)

    async with asyncio.timeout(PATIENCE_S):  # a lookup's second is short for that much where the machine is busy
        while None in (found := await store.get_many([key for key, _ in entries])):
            pass

    assert found == [value for _, value in entries]
    assert store.is_connected


async def test_no_value_is_ever_anothers(server: RedisServer, open_store: Opener) -> None:
    """Callers that ask, give up and come late, while the server kills connections and hangs now and then."""
    store = await open_store(server.url, lookup_timeout_s=0.01, stall_timeout_s=0.05)
    await fill(store)
    chance = random.Random(0)
    until = time.monotonic() + 2.0
    hits = 0

    async def call() -> None:
        nonlocal hits
        while time.monotonic() < until:
            keys = chance.choices(KEYS, k=chance.choice([1, 1, 1, 2, 64, 300]))
            lookup = asyncio.ensure_future(store.get_many(keys))
            if chance.random() < 0.3:
                await asyncio.wait([lookup], timeout=chance.random() * 0.002)
                lookup.cancel()
            with suppress(asyncio.CancelledError):
                for key, value in zip(keys, await lookup, strict=True):
                    assert value in (None, value_of(key))
                    hits += value is not None
            await asyncio.sleep(0)

    async def disturb() -> None:
        while time.monotonic() < until:
            await asyncio.sleep(0.05)
            await asyncio.to_thread(server.call, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(0.1)
            server.pause()
            await asyncio.sleep(chance.choice([0.005, 0.02, 0.2]))
            server.resume()

    await asyncio.gather(disturb(), *[call() for _ in range(30)])

    assert hits > 0
    await find_again(store, KEYS)


async def test_lookups_and_writes_do_not_starve_each_other(server: RedisServer, open_store: Opener) -> None:
    """With more of both than the connection takes, both go on."""
    store = await open_store(server.url)
    await fill(store)
    until = time.monotonic() + 0.5

    async def look_up() -> int:
        rounds = 0
        while time.monotonic() < until:
            assert None not in await store.get_many(KEYS[:512])
            rounds += 1
        return rounds

    async def write() -> int:
        rounds = 0
        while time.monotonic() < until:
            await store.put_many([(key, value_of(key)) for key in KEYS[:512]])
            rounds += 1
        return rounds

    assert min(await asyncio.gather(*[call() for call in (look_up, write) for _ in range(8)])) >= 3


async def test_closing_in_flight_answers_everyone(server: RedisServer, open_store: Opener) -> None:
    """Lookups and writes that a hung server holds are over at once, and closing again is nothing."""
    store = await open_store(server.url)
    server.pause()
    lookups = [asyncio.ensure_future(store.get_many(KEYS[:size])) for size in (1, 300, 2000)]
    writes = [asyncio.ensure_future(fill(store)) for _ in range(2)]
    await asyncio.sleep(0.01)

    async with asyncio.timeout(1.0):
        await store.close()
        found = await asyncio.gather(*lookups)
        await asyncio.gather(*writes)

    assert found == [[None] * size for size in (1, 300, 2000)]
    await store.close()
    server.resume()


async def test_encrypted_connection_is_taken_over_too(tmp_path: Path, open_store: Opener) -> None:
    """Small and large answers over TLS."""
    certificate, key = write_certificate(tmp_path)
    port = find_free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    with RedisServer(*options, "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no") as server:
        store = await open_store(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}")
        await fill(store)

        for size in (1, 2, 256, 2000):
            assert await store.get_many(KEYS[:size]) == [value_of(key) for key in KEYS[:size]]

        server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await find_again(store, KEYS)


@pytest.mark.parametrize(
    "reply", [b"-MOVED 1 x\r\n", b"-ASK\r\n", b">0\r\n", b">1\r\n$1\r\n\xff\r\n", b"%1\r\n*0\r\n:1\r\n"]
)
async def test_strange_handshake_is_an_outage(reply: bytes) -> None:
    """Whatever redis-py makes of it: the link lives on and tries again."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(1 << 16):
                writer.write(reply)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = open_redis(f"redis://:word@127.0.0.1:{port}/1", CacheConfig(connect_timeout_s=0.2), OpenGate())

    assert not await store.wait_connected(0.3)
    assert store.is_alive
    assert await store.get_many([b"key"]) == [None]
    await store.close()
    await asyncio.sleep(0.05)  # the server's own end closes
    server.close()
