"""A connection to a Redis server by URL, as redis-py makes it."""

from collections.abc import Mapping
from typing import cast

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from cache.errors import StoreUnavailable
from cache.redis_address import SentinelAddress, is_sentinel, parse_sentinel

SENTINEL_TIMEOUT_S = 0.25


async def resolve(url: str, password: str | None) -> AbstractConnection:
    """Return an unconnected connection to the server that the URL means; sentinels are asked anew each time.

    It never retries by itself: our timeouts and backoff are ours.

    Raises:
        StoreUnavailable: The URL cannot be understood, or no sentinel knows the master.
    """
    if not is_sentinel(url):
        return make_connection(url, password)
    address = _parse(url)
    return make_connection(address.master_url(*await _find_master(address)), password)


def check_address(url: str, password: str | None) -> None:
    """Make sure that the URL can be understood.

    Raises:
        StoreUnavailable: It can't.
    """
    make_connection(_parse(url).master_url("localhost", 1) if is_sentinel(url) else url, password)


def _parse(url: str) -> SentinelAddress:
    try:
        return parse_sentinel(url)
    except ValueError as error:
        raise StoreUnavailable(str(error)) from error


async def _find_master(address: SentinelAddress) -> tuple[str, int]:
    options = {
        **address.sentinel_options,
        "socket_timeout": SENTINEL_TIMEOUT_S,
        "socket_connect_timeout": SENTINEL_TIMEOUT_S,  # else one that swallows packets keeps us from the next
        "retry": Retry(NoBackoff(), 0),
    }
    sentinel = Sentinel(list(address.sentinels), sentinel_kwargs=options)  # type: ignore[no-untyped-call] # redis-py's own
    try:
        host, port = await sentinel.discover_master(address.service)
    except RedisError as error:
        raise StoreUnavailable("no sentinel knows the master") from error
    finally:
        for client in sentinel.sentinels:
            await client.aclose()
    return str(host), int(port)


def make_connection(url: str, password: str | None) -> AbstractConnection:
    """Return an unconnected connection to the server whose address the URL holds.

    Raises:
        StoreUnavailable: The URL cannot be understood.
    """
    try:
        options: dict[str, object] = dict(cast("Mapping[str, object]", parse_url(url)))
    except ValueError as error:
        raise StoreUnavailable("the URL of Redis has an option with an impossible value") from error
    kind = cast("type[AbstractConnection]", options.pop("connection_class", Connection))
    if password is not None:
        options["password"] = password
    if issubclass(kind, SSLConnection):
        options.setdefault("ssl_check_hostname", True)  # redis-py's default only since its version 6
    options |= {
        "socket_timeout": None,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "socket_read_size": 1 << 18,
    }
    try:
        return kind(**options)  # type: ignore[arg-type] # the URL's options are redis-py's own
    except TypeError as error:
        raise StoreUnavailable("the URL of Redis has an option that redis-py does not know") from error
