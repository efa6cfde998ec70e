"""A connection to a Redis server by URL, as redis-py makes it."""

from collections.abc import Mapping
from typing import cast

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cache.errors import StoreUnavailable


async def resolve(url: str, password: str | None) -> AbstractConnection:
    """Return an unconnected connection to the server that the URL means.

    It never retries by itself: our timeouts and backoff are ours.

    Raises:
        StoreUnavailable: The URL cannot be understood.
    """
    return make_connection(url, password)


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
