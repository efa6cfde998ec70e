"""The shared store on a Redis server."""

import asyncio
from collections.abc import Callable, Sequence

from redis.asyncio.connection import AbstractConnection

from cache.coalescer import Coalescer
from cache.config import CacheConfig
from cache.errors import StoreUnavailable
from cache.link import Entries, Timing, Values
from cache.redis_commands import check_pong, count_refused, pack, pack_lookup, pack_writes, read_values
from cache.redis_connection import check_address, resolve
from cache.redis_protocol import Answer, RedisProtocol, take_over
from cache.store import Gate

KEY_PREFIX = b"sl:"
SECRET_KEY = KEY_PREFIX + b"secret"


class RedisLink:
    """One connection to Redis. Every key is stored behind `sl:`, so that an ACL can name the cache's keys.

    With a secret given, each connection and each pipeline of writes sets it again if it is gone (SET NX):
    eviction, which comes with writes, must not part the routers that share it from those that come later.
    """

    def __init__(
        self,
        url: str,
        *,
        password: str | None = None,
        connect_timeout_s: float = 1.0,
        ttl_s: int = 0,
        secret: bytes | None = None,
    ) -> None:
        self._url = url
        self._password = password
        self._connect_timeout_s = connect_timeout_s
        self._ttl_s = ttl_s
        self._secret = secret
        self._connection: AbstractConnection | None = None
        self._protocol: RedisProtocol | None = None

    async def connect(self, lost: Callable[[], object] = lambda: None) -> None:
        """Connect, authenticate and be answered within the connect timeout, or raise StoreUnavailable.

        Args:
            lost: Called if the connection is lost later, by no doing of ours.
        """
        await self.disconnect()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                self._connection = connection = await resolve(self._url, self._password)
                await connection.connect()  # type: ignore[no-untyped-call] # redis-py's own
                self._protocol = protocol = take_over(connection)
                check_pong(await protocol.exchange(pack(b"PING"), 1))
                if self._secret is not None:
                    await protocol.exchange(self._pack_secret(self._secret), 1)
        except Exception as error:  # redis-py's handshake raises whatever a strange reply makes of it
            await self.disconnect()
            raise StoreUnavailable(str(error) or type(error).__name__) from error
        protocol.lost.add_done_callback(lambda _: self._protocol is protocol and lost())

    def look_up(self, keys: Sequence[bytes], answer: Callable[[Values | None], object]) -> None:
        """Ask for the keys' values, or None when Redis answers with an error."""
        count = len(keys)
        self._send(pack_lookup(KEY_PREFIX, keys), 1, lambda replies: answer(read_values(replies, count)))

    def write(self, entries: Entries, answer: Callable[[int], object]) -> None:
        """Write the entries in one pipeline; the answer is how many Redis refused (out of memory, read-only)."""
        count = len(entries)
        commands, replies = pack_writes(KEY_PREFIX, entries, self._ttl_s), count
        if self._secret is not None:
            commands, replies = commands + self._pack_secret(self._secret), count + 1
        self._send(commands, replies, lambda replies: answer(count_refused(replies[:count])))

    def ping(self, answer: Callable[[], object]) -> None:
        """Ask whether Redis is there."""

        def check(replies: Sequence[object]) -> None:
            check_pong(replies)
            answer()

        self._send(pack(b"PING"), 1, check)

    async def put(self, entries: Entries) -> int:
        """Write the entries, wait, and return how many Redis refused."""
        return count_refused(await self.exchange(pack_writes(KEY_PREFIX, entries, self._ttl_s), len(entries)))

    async def exchange(self, commands: bytes, replies: int) -> list[object]:
        """Send packed commands, wait, and return as many replies; an error that Redis answered is a `ReplyError`.

        Raises:
            StoreUnavailable: There is no connection, or it is lost.
        """
        return await self._require().exchange(commands, replies)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._protocol is not None and not self._protocol.lost.done()

    async def get_secret(self) -> bytes | None:
        """Return the secret that Redis holds, or None."""
        secret = await self._command(b"GET", SECRET_KEY)
        if secret is None or isinstance(secret, bytes):
            return secret
        raise StoreUnavailable(f"the secret cannot be read: {secret}")

    async def get_or_set_secret(self, proposal: bytes) -> bytes:
        """Return the secret that Redis holds, after proposing one for the case that it holds none."""
        await self._command(b"SET", SECRET_KEY, proposal, b"NX")
        secret = await self.get_secret()
        if secret is None:
            raise StoreUnavailable("the secret cannot be set")
        return secret

    async def disconnect(self) -> None:
        """Let go of the connection, whatever its state."""
        connection, self._connection = self._connection, None
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.abort()
        if connection is not None:
            await connection.disconnect(nowait=True)

    def _send(self, commands: bytes, replies: int, answer: Answer) -> None:
        if self._protocol is not None:
            self._protocol.send(commands, replies, answer)

    async def _command(self, *words: bytes) -> object:
        (reply,) = await self.exchange(pack(*words), 1)
        return reply

    def _require(self) -> RedisProtocol:
        if self._protocol is None:
            raise StoreUnavailable("not connected")
        return self._protocol

    @staticmethod
    def _pack_secret(secret: bytes) -> bytes:
        return pack(b"SET", SECRET_KEY, secret, b"NX")


class RedisStore(Coalescer):
    """Values in Redis over one shared connection; concurrent calls coalesce."""


def open_redis(
    url: str, config: CacheConfig, gate: Gate, *, password: str | None = None, secret: bytes | None = None
) -> RedisStore:
    """Return a store which connects in the background, and again whenever the connection is lost.

    Raises:
        StoreUnavailable: The URL cannot be understood.
    """
    check_address(url, password)
    link = RedisLink(
        url,
        password=password,
        connect_timeout_s=config.connect_timeout_s,
        ttl_s=config.redis_ttl_s,
        secret=secret,
    )
    return RedisStore(link, gate, Timing(config.lookup_timeout_s, config.stall_timeout_s))
