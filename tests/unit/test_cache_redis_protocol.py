"""Which reply is whose: over a transport that the test plays, without a server."""

import asyncio

import pytest
from redis.asyncio.connection import Connection

from cache.errors import StoreUnavailable
from cache.redis_commands import ReplyError
from cache.redis_protocol import RedisProtocol, take_over
from cache.redis_store import RedisLink


class PlayedTransport(asyncio.Transport):
    """Writes down what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_aborted = self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write down."""
        self.written += bytes(data)

    def abort(self) -> None:
        """Write down."""
        self.is_aborted = True

    def close(self) -> None:
        """Write down."""
        self.is_closed = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.is_aborted or self.is_closed


@pytest.fixture
async def transport() -> PlayedTransport:
    """A transport."""
    return PlayedTransport()


@pytest.fixture
async def protocol(transport: PlayedTransport) -> RedisProtocol:
    """The protocol on that transport."""
    return RedisProtocol(transport)


def receive(protocol: RedisProtocol, data: bytes) -> None:
    """Let bytes arrive as an event loop does."""
    protocol.get_buffer(-1)[: len(data)] = data
    protocol.buffer_updated(len(data))


async def test_replies_are_given_in_the_order_of_the_commands(
    protocol: RedisProtocol, transport: PlayedTransport
) -> None:
    """However they are cut up, one or many to a question, errors among them."""
    answers: list[list[object]] = []
    protocol.send(b"one", 1, answers.append)
    protocol.send(b"two", 2, answers.append)

    for byte in b"+1\r\n-OOM full\r\n$2\r\n\r\n\r\n":
        receive(protocol, bytes([byte]))

    assert transport.written == b"onetwo"
    [one], [error, two] = answers
    assert (one, two) == (b"1", b"\r\n")
    assert isinstance(error, ReplyError)
    assert not protocol.lost.done()


async def test_whoever_stops_waiting_leaves_the_order(protocol: RedisProtocol) -> None:
    """The reply to an exchange that was cancelled is not the next one's."""
    quitter = asyncio.ensure_future(protocol.exchange(b"one", 1))
    other = asyncio.ensure_future(protocol.exchange(b"two", 1))
    await asyncio.sleep(0)
    quitter.cancel()
    await asyncio.wait([quitter])

    receive(protocol, b"+1\r\n+2\r\n")

    assert await other == [b"2"]


async def test_lost_connection_ends_an_exchange(protocol: RedisProtocol) -> None:
    """One that waits, and one that begins later."""
    exchange = asyncio.ensure_future(protocol.exchange(b"one", 1))
    await asyncio.sleep(0)

    protocol.connection_lost(None)

    for late in (exchange, protocol.exchange(b"two", 1)):
        with pytest.raises(StoreUnavailable):
            await late


@pytest.mark.parametrize("reply", [b"+1\r\n+2\r\n", b"?\r\n", b"+refused\r\n"])
async def test_doubtful_reply_ends_the_connection(
    protocol: RedisProtocol, transport: PlayedTransport, reply: bytes
) -> None:
    """One too many, one in no known form, or one that the question says is no answer to it."""

    def answer(replies: list[object]) -> None:
        if replies == [b"refused"]:
            raise StoreUnavailable("an answer to something else")

    protocol.send(b"one", 1, answer)

    receive(protocol, reply)

    assert transport.is_aborted
    assert protocol.lost.done()


class _Older:
    """A redis-py whose connection keeps its transport elsewhere."""


async def test_connection_that_cannot_be_taken_over_is_an_outage() -> None:
    """Not connected, with unread bytes, or of a redis-py that hides its transport."""
    connection = Connection()
    with pytest.raises(StoreUnavailable, match="not connected"):
        take_over(connection)

    connection._reader = asyncio.StreamReader()
    streams = asyncio.StreamReaderProtocol(connection._reader)
    connection._writer = asyncio.StreamWriter(PlayedTransport(), streams, None, asyncio.get_running_loop())
    connection._reader.feed_data(b"+hello\r\n")
    with pytest.raises(StoreUnavailable, match="nobody has asked"):
        take_over(connection)
    connection._writer.close()
    connection._reader = connection._writer = None

    with pytest.raises(StoreUnavailable, match="does not show its transport"):
        take_over(_Older())  # type: ignore[arg-type]


async def test_link_without_a_connection_answers_nothing() -> None:
    """What waits for an answer is told so, what calls back is not called."""
    link = RedisLink("redis://127.0.0.1:1/0")

    link.look_up([b"key"], lambda _: pytest.fail("answered"))

    with pytest.raises(StoreUnavailable):
        await link.put([(b"key", b"value")])
    await link.disconnect()
