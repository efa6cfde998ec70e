"""The shared store on a Redis server."""

import asyncio
from collections.abc import Sequence
from typing import cast

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from cache.coalescer import Coalescer
from cache.config import CacheConfig
from cache.errors import StoreUnavailable
from cache.link import Entries, Timing, Values
from cache.redis_connection import check_address, resolve
from cache.redis_protocol import RedisProtocol, ReplyError, pack, take_over
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
        self._expiry: tuple[bytes, ...] = (b"EX", str(ttl_s).encode()) if ttl_s else ()
        self._secret = secret
        self._connection: AbstractConnection | None = None
        self._protocol: RedisProtocol | None = None

    async def connect(self) -> None:
        """Connect, authenticate and be answered within the connect timeout, or raise StoreUnavailable."""
        await self.disconnect()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                self._connection = connection = await resolve(self._url, self._password)
                await connection.connect()  # type: ignore[no-untyped-call] # redis-py's own
                self._protocol = take_over(connection)
                await self.ping()
                if self._secret is not None:
                    await self._command(b"SET", SECRET_KEY, self._secret, b"NX")
        except (RedisError, OSError, TimeoutError, StoreUnavailable) as error:
            await self.disconnect()
            raise StoreUnavailable(type(error).__name__) from error

    async def ping(self) -> None:
        """Make sure that Redis answers this connection, or raise StoreUnavailable."""
        reply = await self._command(b"PING")
        if isinstance(reply, ReplyError):
            raise StoreUnavailable(str(reply))

    async def get(self, keys: Sequence[bytes]) -> Values | None:
        """Return the keys' values; None when Redis answered with an error."""
        reply = await self._command(b"MGET", *[KEY_PREFIX + key for key in keys])
        return cast("Values", reply) if isinstance(reply, list) and len(reply) == len(keys) else None

    async def put(self, entries: Entries) -> int:
        """Write the entries in one pipeline and return how many Redis refused (out of memory, read-only)."""
        commands: list[tuple[bytes, ...]] = [(b"SET", KEY_PREFIX + key, value, *self._expiry) for key, value in entries]
        if self._secret is not None:
            commands.append((b"SET", SECRET_KEY, self._secret, b"NX"))
        replies = await self._require().exchange(pack(commands), len(commands))
        return sum(isinstance(reply, ReplyError) for reply in replies[: len(entries)])

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
        connection, self._connection, self._protocol = self._connection, None, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _command(self, *words: bytes) -> object:
        (reply,) = await self._require().exchange(pack([words]), 1)
        return reply

    def _require(self) -> RedisProtocol:
        if self._protocol is None:
            raise StoreUnavailable("not connected")
        return self._protocol


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
