"""A connection that redis-py has made and authenticated, with its bytes read straight into hiredis.

redis-py's own reading goes through a stream: three copies and a task's wake-up for each chunk, which is more than a
lookup's share of everything else.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

import hiredis
from redis.asyncio.connection import AbstractConnection

from cache.errors import StoreUnavailable
from cache.redis_commands import ReplyError

BUFFER_BYTES = 1 << 18
KEPT_BYTES = 1 << 20
_NOTHING = object()

Answer = Callable[[list[object]], object]
"""Takes the replies to what was sent; raises StoreUnavailable where they can be no replies to that."""


class RedisProtocol(asyncio.BufferedProtocol):
    """Commands out, replies back in the same order. When in doubt which reply is whose, the connection is lost."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=ReplyError, notEnoughData=_NOTHING)
        self._reader.setmaxbuf(KEPT_BYTES)  # by default it frees its buffer after each reply of more than 16 KiB
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._expected: deque[tuple[int, Answer]] = deque()
        self._replies: list[object] = []
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is lost: nothing is answered any more."""

    def send(self, commands: bytes, replies: int, answer: Answer) -> None:
        """Send packed commands; `answer` gets all their replies, an error that Redis answered being a `ReplyError`."""
        if not self.lost.done():
            self._expected.append((replies, answer))
            self._transport.write(commands)

    async def exchange(self, commands: bytes, replies: int) -> list[object]:
        """Send packed commands and return as many replies. Whoever stops waiting disturbs nobody.

        Raises:
            StoreUnavailable: The connection is lost.
        """
        answered: asyncio.Future[list[object]] = self._loop.create_future()
        self.send(commands, replies, lambda given: None if answered.cancelled() else answered.set_result(given))
        waited: list[asyncio.Future[list[object]] | asyncio.Future[None]] = [answered, self.lost]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise StoreUnavailable("the connection is lost")
        return answered.result()

    def abort(self) -> None:
        """Let go of the connection at once."""
        self._expected.clear()
        self._transport.abort()
        if not self.lost.done():
            self.lost.set_result(None)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Return where to put what arrives."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what has arrived."""
        gets = self._reader.gets
        try:
            self._reader.feed(cast("bytes", self._buffer), 0, nbytes)  # any buffer will do
            while (reply := gets()) is not _NOTHING:
                self._take(reply)
        except (hiredis.HiredisError, StoreUnavailable):
            self.abort()

    def eof_received(self) -> None:
        """Close: there will be no more replies."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tell who waits."""
        self.abort()

    def _take(self, reply: object) -> None:
        if not self._expected:
            raise StoreUnavailable("a reply that nobody has asked for")
        self._replies.append(reply)
        count, answer = self._expected[0]
        if len(self._replies) == count:
            self._expected.popleft()
            replies, self._replies = self._replies, []
            answer(replies)


def take_over(connection: AbstractConnection) -> RedisProtocol:
    """Read a connected connection's bytes from now on; redis-py still closes it.

    Raises:
        StoreUnavailable: The connection is lost, or something that nobody has asked for has arrived on it.
    """
    try:
        reader, writer = connection._reader, connection._writer  # noqa: SLF001 - redis-py has no other way to them
    except AttributeError as error:
        raise StoreUnavailable("this version of redis-py does not show its transport") from error
    if reader is None or writer is None or reader.at_eof():
        raise StoreUnavailable("not connected")
    parsed = getattr(getattr(connection, "_parser", None), "_reader", None)
    # Neither asyncio nor redis-py has another way to see what was read and not asked for.
    if getattr(reader, "_buffer", b"") or (parsed is not None and parsed.has_data()):
        raise StoreUnavailable("an answer that nobody has asked for")
    transport = cast("asyncio.Transport", writer.transport)
    protocol = RedisProtocol(transport)
    transport.set_protocol(protocol)
    return protocol
