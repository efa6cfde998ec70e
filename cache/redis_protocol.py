"""A connection that redis-py has made and authenticated, with its bytes read straight into hiredis.

redis-py's own reading goes through a stream: three copies and a task's wake-up for each chunk, which is more than a
lookup's share of everything else.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import hiredis
from redis.asyncio.connection import AbstractConnection

from cache.errors import StoreUnavailable

BUFFER_BYTES = 1 << 18
_NOTHING = object()


class ReplyError(Exception):
    """What Redis answered in place of a value: out of memory, read-only, no permission."""


class RedisProtocol(asyncio.BufferedProtocol):
    """Commands out, replies back in the same order; one exchange at a time."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=ReplyError, notEnoughData=_NOTHING)
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._replies: list[object] = []
        self._missing = 0
        self._answer: asyncio.Future[list[object]] | None = None
        self._is_lost = False

    async def exchange(self, commands: bytes, replies: int) -> list[object]:
        """Send packed commands and return as many replies; an error that Redis answered is a `ReplyError` among them.

        Raises:
            StoreUnavailable: The connection is lost, or the other end does not speak Redis' protocol.
        """
        if self._is_lost or self._answer is not None:
            raise StoreUnavailable("not connected")
        self._replies, self._missing = [], replies
        self._answer = self._loop.create_future()
        try:
            self._transport.write(commands)
            return await self._answer
        finally:
            if not self._answer.done() or self._answer.cancelled():
                # Whoever asked has gone: the replies still to come must not be taken for those of another.
                self._lose()
            self._answer = None

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Return where to put what arrives."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what has arrived."""
        try:
            self._reader.feed(cast("bytes", self._buffer), 0, nbytes)  # any buffer will do
            while (reply := self._reader.gets()) is not _NOTHING:
                self._take(reply)
        except hiredis.HiredisError:
            self._lose()

    def eof_received(self) -> None:
        """Close: there will be no more replies."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tell who waits."""
        self._lose()

    def _take(self, reply: object) -> None:
        if self._answer is None or self._missing == 0:
            # Nobody has asked for it: which reply is whose is no longer certain.
            self._lose()
            return
        self._replies.append(reply)
        self._missing -= 1
        if self._missing == 0 and not self._answer.done():
            self._answer.set_result(self._replies)

    def _lose(self) -> None:
        self._is_lost = True
        self._transport.abort()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(StoreUnavailable("the connection is lost"))


def take_over(connection: AbstractConnection) -> RedisProtocol:
    """Read a connected connection's bytes from now on; redis-py still closes it.

    Raises:
        StoreUnavailable: The connection is lost, or something that nobody has asked for has arrived on it.
    """
    reader, writer = connection._reader, connection._writer  # noqa: SLF001 - redis-py has no other way to them
    if reader is None or writer is None or reader.at_eof():
        raise StoreUnavailable("not connected")
    if getattr(reader, "_buffer", b""):  # asyncio has no other way to see what was read and not asked for
        raise StoreUnavailable("an answer that nobody has asked for")
    transport = cast("asyncio.Transport", writer.transport)
    protocol = RedisProtocol(transport)
    transport.set_protocol(protocol)
    return protocol


def pack(commands: Iterable[Sequence[bytes]]) -> bytes:
    """Return commands as they go over the wire."""
    pack_one = cast("Callable[[tuple[bytes, ...]], bytes]", hiredis.pack_command)
    return b"".join([pack_one(tuple(command)) for command in commands])
