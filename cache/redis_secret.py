"""The hash secret beside the cache: one for all routers, on every shard.

A secret that differs costs hits and nothing else: keys made under it are found by nobody. So it needs no consensus.
Shards are ranked alike by every router. The first in the ranking that holds a secret has the one that counts; where
none holds one, the first that can be reached is given one, by SET NX, so that of several routers at once all read the
same. Whoever loads the secret writes it to the shards that hold none or another, and each connection to a shard sets
it again where it is gone (`RedisLink`), so that the next in the ranking can stand in for a shard that is out. Routers
that begin while disjoint sets of empty shards are out end up with two secrets; the next one to begin decides by the
ranking for all that begin later, whichever shard is out then.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from cache.config import CacheConfig
from cache.errors import SecretUnavailable, StoreUnavailable
from cache.redis_address import shard_name
from cache.redis_store import KEY_PREFIX, SECRET_KEY, RedisLink
from cache.rendezvous import Rendezvous

SECRET_RETRY_S = 0.05


async def share_secret(config: CacheConfig, proposal: bytes, *, password: str | None = None) -> bytes:
    """Return the hash secret that the Redis servers hold, setting the proposal where none holds any.

    Raises:
        SecretUnavailable: No server answered within the connect timeout.
    """
    ranked = [
        config.urls[number] for number in Rendezvous([shard_name(url) for url in config.urls]).ranking(SECRET_KEY)
    ]
    # One that hangs, at whatever point, has part of the time only, so that the others' answer is still in time.
    patience_s = config.connect_timeout_s / 4
    links = [RedisLink(url, password=password, connect_timeout_s=2 * patience_s) for url in ranked]
    give_up_at = time.monotonic() + config.connect_timeout_s
    try:
        async with asyncio.timeout(config.connect_timeout_s):
            while True:
                secret = await _find_or_set(links, proposal, patience_s)
                if secret is not None:
                    return secret
                if time.monotonic() + SECRET_RETRY_S >= give_up_at:
                    raise SecretUnavailable("Redis, which holds the secret, cannot be reached")
                await asyncio.sleep(SECRET_RETRY_S)
    except TimeoutError as error:
        raise SecretUnavailable("Redis, which holds the secret, did not answer in time") from error
    finally:
        await asyncio.gather(*[link.disconnect() for link in links])


async def _find_or_set(links: Sequence[RedisLink], proposal: bytes, patience_s: float) -> bytes | None:
    """Return the ranked servers' secret, or None where not one can be reached."""
    held = await asyncio.gather(*[_read(link, 2 * patience_s) for link in links])
    reached = [(link, one) for link, one in zip(links, held, strict=True) if not isinstance(one, StoreUnavailable)]
    secret = next((one for _, one in reached if one is not None), None)
    if secret is None:
        secret = await _set_first([link for link, _ in reached], proposal, patience_s)
    if secret is not None:
        await asyncio.gather(*[_write(link, secret, patience_s / 2) for link, one in reached if one != secret])
    return secret


async def _set_first(links: Sequence[RedisLink], proposal: bytes, patience_s: float) -> bytes | None:
    """Return the secret of the first server that holds or takes one, or None where none does."""
    for link in links:
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(patience_s):
                return await link.get_or_set_secret(proposal)
    return None


async def _write(link: RedisLink, secret: bytes, patience_s: float) -> None:
    with suppress(StoreUnavailable, TimeoutError):
        async with asyncio.timeout(patience_s):
            await link.put([(SECRET_KEY.removeprefix(KEY_PREFIX), secret)])


async def _read(link: RedisLink, patience_s: float) -> bytes | StoreUnavailable | None:
    """Return a server's secret, None where it holds none, or why it can't be asked."""
    try:
        async with asyncio.timeout(patience_s):
            await link.connect()
            return await link.get_secret()
    except StoreUnavailable as error:
        return error
    except TimeoutError:
        return StoreUnavailable("no answer")
