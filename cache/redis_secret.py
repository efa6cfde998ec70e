"""The hash secret beside the cache: one for all routers, on every shard.

A secret that differs costs hits and nothing else: keys made under it are found by nobody. So it needs no consensus.
Shards are ranked alike by every router. The first in the ranking that holds a secret has the one that counts; where
none holds one, the first that can be reached is given one, by SET NX, so that of several routers at once all read the
same. Each connection to a shard sets it again where it is gone (`RedisLink`), so that the next in the ranking can
stand in for a shard that is out. Routers that begin while disjoint sets of empty shards are out end up with two
secrets until one of them is restarted; then the ranking decides again.
"""

import asyncio
import time
from collections.abc import Sequence

from cache.config import CacheConfig
from cache.errors import SecretUnavailable, StoreUnavailable
from cache.redis_address import shard_name
from cache.redis_store import SECRET_KEY, RedisLink
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
    links = [RedisLink(url, password=password, connect_timeout_s=config.connect_timeout_s) for url in ranked]
    give_up_at = time.monotonic() + config.connect_timeout_s
    try:
        async with asyncio.timeout(config.connect_timeout_s):
            while True:
                secret = await _find_or_set(links, proposal)
                if secret is not None:
                    return secret
                if time.monotonic() + SECRET_RETRY_S >= give_up_at:
                    raise SecretUnavailable("Redis, which holds the secret, cannot be reached")
                await asyncio.sleep(SECRET_RETRY_S)
    except TimeoutError as error:
        raise SecretUnavailable("Redis, which holds the secret, did not answer in time") from error
    finally:
        await asyncio.gather(*[link.disconnect() for link in links])


async def _find_or_set(links: Sequence[RedisLink], proposal: bytes) -> bytes | None:
    """Return the ranked servers' secret, or None where not one can be reached."""
    held = await asyncio.gather(*[_read(link) for link in links])
    for secret in held:
        if isinstance(secret, bytes):
            return secret
    for link, secret in zip(links, held, strict=True):
        if secret is None:
            try:
                return await link.get_or_set_secret(proposal)
            except StoreUnavailable:
                continue
    return None


async def _read(link: RedisLink) -> bytes | StoreUnavailable | None:
    """Return a server's secret, None where it holds none, or why it can't be asked."""
    try:
        await link.connect()
        return await link.get_secret()
    except StoreUnavailable as error:
        return error
