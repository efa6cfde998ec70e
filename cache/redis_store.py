"""The shared store on a Redis server."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import TypeVar, cast

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from cache.coalescer import Coalescer
from cache.config import CacheConfig
from cache.errors import SecretUnavailable, StoreUnavailable
from cache.link import Entries, Timing, Values
from cache.redis_connection import make_connection, resolve
from cache.store import Gate, StoreCounts

T = TypeVar("T")

KEY_PREFIX = b"sl:"
SECRET_KEY = KEY_PREFIX + b"secret"
SECRET_RETRY_S = 0.05


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

    async def connect(self) -> None:
        """Connect, authenticate and be answered within the connect timeout, or raise StoreUnavailable."""
        await self.disconnect()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                self._connection = connection = await resolve(self._url, self._password)
                await connection.connect()  # type: ignore[no-untyped-call] # redis-py's own
                await self.ping()
                if self._secret is not None:
                    await self._command(b"SET", SECRET_KEY, self._secret, b"NX")
        except (RedisError, OSError, TimeoutError, StoreUnavailable) as error:
            await self.disconnect()
            raise StoreUnavailable(type(error).__name__) from error

    async def ping(self) -> None:
        """Make sure that Redis answers this connection, or raise StoreUnavailable."""
        try:
            await self._command(b"PING")
        except ResponseError as error:
            raise StoreUnavailable(str(error)) from error

    async def get(self, keys: Sequence[bytes]) -> Values | None:
        """Return the keys' values; None when Redis answered with an error."""
        try:
            reply = await self._command(b"MGET", *[KEY_PREFIX + key for key in keys])
        except ResponseError:
            return None
        return cast("Values", reply) if isinstance(reply, list) and len(reply) == len(keys) else None

    async def put(self, entries: Entries) -> int:
        """Write the entries in one pipeline and return how many Redis refused (out of memory, read-only)."""
        commands: list[tuple[bytes, ...]] = [(b"SET", KEY_PREFIX + key, value, *self._expiry) for key, value in entries]
        if self._secret is not None:
            commands.append((b"SET", SECRET_KEY, self._secret, b"NX"))
        connection = self._require()
        await _guard(connection.send_packed_command(connection.pack_commands(commands), check_health=False))
        refused = 0
        for place in range(len(commands)):
            try:
                await self._read()
            except ResponseError:
                refused += place < len(entries)
        return refused

    async def get_or_set_secret(self, proposal: bytes) -> bytes:
        """Return the secret that Redis holds, after proposing one for the case that it holds none."""
        try:
            await self._command(b"SET", SECRET_KEY, proposal, b"NX")
            secret = await self._command(b"GET", SECRET_KEY)
        except ResponseError as error:
            raise StoreUnavailable(str(error)) from error
        if not isinstance(secret, bytes):
            raise StoreUnavailable("the secret's key does not hold a string")
        return secret

    async def disconnect(self) -> None:
        """Let go of the connection, whatever its state."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _command(self, *words: bytes) -> object:
        connection = self._require()
        await _guard(connection.send_packed_command(connection.pack_command(*words), check_health=False))
        return await self._read()

    async def _read(self) -> object:
        return await _guard(self._require().read_response(disable_decoding=True))

    def _require(self) -> AbstractConnection:
        if self._connection is None or not self._connection.is_connected:
            raise StoreUnavailable("not connected")
        return self._connection


async def _guard(call: Awaitable[T]) -> T:
    """Turn a lost connection into StoreUnavailable; an error that Redis answered stays what it is."""
    try:
        return await call
    except ResponseError:
        raise
    except (RedisError, OSError) as error:
        raise StoreUnavailable(type(error).__name__) from error


class RedisStore:
    """Values in Redis over one shared connection; concurrent calls coalesce."""

    def __init__(self, link: RedisLink, gate: Gate, timing: Timing) -> None:
        self._coalescer = Coalescer(link, gate, timing)

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return each key's value within the lookup's deadline; None for a miss or an outage."""
        return await self._coalescer.get_many(keys)

    async def put_many(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write (key, value) pairs; an outage or a full Redis drops and counts them."""
        await self._coalescer.put_many(entries)

    async def wait_connected(self, timeout_s: float) -> bool:
        """Wait for Redis for at most `timeout_s` seconds; return whether it is there."""
        return await self._coalescer.wait_connected(timeout_s)

    def counts(self) -> StoreCounts:
        """Return a snapshot of the store's counters."""
        return self._coalescer.counts()

    @property
    def unanswered(self) -> int:
        """Keys that were asked for and not answered, whyever."""
        return self._coalescer.unanswered

    @property
    def exchanges(self) -> int:
        """Lookup commands that were answered."""
        return self._coalescer.exchanges

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._coalescer.is_connected

    @property
    def is_alive(self) -> bool:
        """Whether the task that owns the connection still runs."""
        return self._coalescer.is_alive

    async def close(self) -> None:
        """Answer who still waits and close the connection."""
        await self._coalescer.close()


def open_redis(
    config: CacheConfig, gate: Gate, *, password: str | None = None, secret: bytes | None = None
) -> RedisStore:
    """Return a store which connects in the background, and again whenever the connection is lost.

    Raises:
        StoreUnavailable: The URL cannot be understood.
    """
    make_connection(config.url, password)
    link = RedisLink(
        config.url,
        password=password,
        connect_timeout_s=config.connect_timeout_s,
        ttl_s=config.redis_ttl_s,
        secret=secret,
    )
    return RedisStore(link, gate, Timing(config.lookup_timeout_s, config.stall_timeout_s))


async def share_secret(config: CacheConfig, proposal: bytes, *, password: str | None = None) -> bytes:
    """Return the hash secret kept in Redis, setting the proposal where there is none.

    Raises:
        SecretUnavailable: Redis did not answer within the connect timeout.
    """
    link = RedisLink(config.url, password=password, connect_timeout_s=config.connect_timeout_s)
    give_up_at = time.monotonic() + config.connect_timeout_s
    try:
        async with asyncio.timeout(config.connect_timeout_s):
            while True:
                try:
                    await link.connect()
                    return await link.get_or_set_secret(proposal)
                except StoreUnavailable as error:
                    if time.monotonic() + SECRET_RETRY_S >= give_up_at:
                        raise SecretUnavailable("Redis, which holds the secret, cannot be reached") from error
                await asyncio.sleep(SECRET_RETRY_S)
    except TimeoutError as error:
        raise SecretUnavailable("Redis, which holds the secret, did not answer in time") from error
    finally:
        await link.disconnect()
