"""The journal on a Redis server: a log is a stream, a document a key, and compare-and-set a script of three lines."""

import asyncio
from collections.abc import Sequence
from typing import cast

from cache.errors import JournalUnavailable, StoreUnavailable
from cache.journal import DEADLINE_S, Entry, check_keep, check_name, parse_position
from cache.redis_commands import ReplyError, pack
from cache.redis_store import KEY_PREFIX, RedisLink

LOG_PREFIX = KEY_PREFIX + b"journal:log:"
DOCUMENT_PREFIX = KEY_PREFIX + b"journal:doc:"
FIELD = b"r"
DEMOTED = ("READONLY", "MASTERDOWN")
PART_BITS = 64
POSITION_DIGITS = 32

# WATCH would need a connection for each caller, since it watches on behalf of a connection, and this one is shared.
COMPARE_AND_SET = b"""
local held = redis.call('GET', KEYS[1])
if #ARGV == 2 and held ~= ARGV[2] or #ARGV == 1 and held then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""


class RedisJournal:
    """Logs and documents on a Redis server, over one connection that all calls share.

    The connection is made by the first call that finds none, and given up when an answer does not come in time or the
    server may no longer be written to: the next call makes a new one, behind Sentinel to whoever is master then.
    """

    def __init__(
        self, url: str, *, password: str | None = None, connect_timeout_s: float = 1.0, timeout_s: float = DEADLINE_S
    ) -> None:
        self._link = RedisLink(url, password=password, connect_timeout_s=connect_timeout_s)
        self._timeout_s = timeout_s
        self._connecting: asyncio.Task[StoreUnavailable | None] | None = None
        self._is_closed = False

    async def open(self) -> None:
        """Connect before the first call does."""
        await self._call([pack(b"PING")])

    async def append(self, log: str, records: Sequence[bytes], *, keep: int) -> None:
        """Append the records, in order; Redis drops the oldest beyond `keep` by the hundred."""
        key = LOG_PREFIX + check_name(log)
        check_keep(keep)
        if records:
            most = b"%d" % keep
            await self._call([pack(b"XADD", key, b"MAXLEN", b"~", most, b"*", FIELD, record) for record in records])

    async def read(self, log: str, *, after: str = "", limit: int = 1000) -> list[Entry]:
        """Return the oldest records of a log, oldest first, of those after a position."""
        key, start = LOG_PREFIX + check_name(log), _id_after(after)
        return await self._range(b"XRANGE", key, start, b"+", limit)

    async def read_last(self, log: str, limit: int) -> list[Entry]:
        """Return the newest records of a log, newest first."""
        return await self._range(b"XREVRANGE", LOG_PREFIX + check_name(log), b"+", b"-", limit)

    async def get(self, name: str) -> bytes | None:
        """Return a document, or None where there is none."""
        (held,) = await self._call([pack(b"GET", DOCUMENT_PREFIX + check_name(name))])
        if held is None or isinstance(held, bytes):
            return held
        raise JournalUnavailable("an answer to something else")

    async def replace(self, name: str, value: bytes, *, expected: bytes | None) -> bool:
        """Put a document in the place of the expected one, and return whether it was the expected one."""
        key = DOCUMENT_PREFIX + check_name(name)
        wanted = () if expected is None else (expected,)
        (done,) = await self._call([pack(b"EVAL", COMPARE_AND_SET, b"1", key, value, *wanted)])
        return done == 1

    async def close(self) -> None:
        """Let go of the connection."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        await self._link.disconnect()

    async def _range(self, command: bytes, key: bytes, start: bytes, end: bytes, limit: int) -> list[Entry]:
        if limit < 1:
            return []
        (reply,) = await self._call([pack(command, key, start, end, b"COUNT", b"%d" % limit)])
        try:
            return [_entry(*item) for item in cast("list[tuple[bytes, list[bytes]]]", reply)]
        except (TypeError, ValueError) as error:
            raise JournalUnavailable("an answer to something else") from error

    async def _call(self, commands: Sequence[bytes]) -> list[object]:
        """Send packed commands at one go, wait, and return their replies, none of which is an error."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connect()
                replies = await self._link.exchange(b"".join(commands), len(commands))
        except StoreUnavailable as error:
            raise JournalUnavailable(str(error)) from error
        except TimeoutError as error:
            await self._give_up()
            raise JournalUnavailable("Redis did not answer in time") from error
        refusal = next((reply for reply in replies if isinstance(reply, ReplyError)), None)
        if refusal is None:
            return replies
        if any(word in str(refusal) for word in DEMOTED):
            await self._give_up()  # the sentinels know the next master
        raise JournalUnavailable(str(refusal))

    async def _connect(self) -> None:
        """Have a connection; callers that find none wait for one attempt, which no caller's end ends."""
        if self._is_closed:
            raise StoreUnavailable("the journal is closed")
        if self._connecting is None or self._connecting.done():
            if self._link.is_connected:
                return
            self._connecting = asyncio.create_task(self._try_to_connect())
        connecting = self._connecting
        await asyncio.wait([connecting])
        error = StoreUnavailable("the journal is closed") if connecting.cancelled() else connecting.result()
        if error is not None:
            raise StoreUnavailable(str(error)) from error

    async def _try_to_connect(self) -> StoreUnavailable | None:
        """Connect, and return why not: an error that is raised would be nobody's if every caller has left."""
        try:
            await self._link.connect()
        except StoreUnavailable as error:
            return error
        return None

    async def _give_up(self) -> None:
        """Let go of a connection, but not of an attempt to make one, which has a time limit of its own."""
        if self._connecting is None or self._connecting.done():
            await self._link.disconnect()


def _entry(identifier: bytes, fields: list[bytes]) -> Entry:
    time_ms, number = identifier.split(b"-")
    _, record = fields
    return Entry(f"{int(time_ms) << PART_BITS | int(number):0{POSITION_DIGITS}x}", record)


def _id_after(position: str) -> bytes:
    number = parse_position(position, POSITION_DIGITS) + 1
    return b"%d-%d" % (number >> PART_BITS, number & (1 << PART_BITS) - 1)
