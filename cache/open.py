"""Opens the cache and the journal that a configuration describes."""

import asyncio
import logging
import os
import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cache.codec import Codec
from cache.config import EMBEDDED, CacheConfig
from cache.embedded_journal import EmbeddedJournal
from cache.embedded_store import EmbeddedStore
from cache.errors import JournalUnavailable, SecretUnavailable
from cache.journal import Journal
from cache.keys import MIN_SECRET_BYTES
from cache.local_lru import LocalStore
from cache.memory_journal import MemoryJournal
from cache.redis_address import is_redis, shard_name
from cache.redis_journal import RedisJournal
from cache.redis_secret import share_secret
from cache.redis_store import open_redis
from cache.sharded_store import ShardedStore
from cache.store import Gate, Store
from cache.two_level import EmbeddingCache, Stored, stored_bytes

_log = logging.getLogger(__name__)

SECRET_BYTES = 32


async def open_cache(
    config: CacheConfig, new_gate: Callable[[], Gate], *, redis_password: str | None = None, secret: bytes | None = None
) -> EmbeddingCache:
    """Open both levels, within the running event loop.

    A Redis that cannot be reached is no error: the cache starts without it and finds it later.

    Args:
        config: Where embeddings are kept.
        new_gate: Makes the circuit breaker in front of a Redis server; each of several has its own.
        redis_password: Password of Redis, where it needs one that the URL does not hold.
        secret: The deployment's hash secret, which is then kept alive in Redis beside the cache.
    """
    local: LocalStore[Stored] = LocalStore(
        config.l1_bytes, size_of=stored_bytes, ttl_s=config.l1_ttl_s, ttl_jitter=config.l1_ttl_jitter
    )
    shared: Store | None = None
    if config.is_redis:
        kept = secret if config.secret_file is None else None
        stores = [open_redis(url, config, new_gate(), password=redis_password, secret=kept) for url in config.urls]
        await asyncio.gather(*[store.wait_connected(config.connect_timeout_s) for store in stores])
        shared = stores[0] if len(stores) == 1 else ShardedStore([shard_name(url) for url in config.urls], stores)
    elif config.is_embedded:
        shared = await EmbeddedStore.open(config.embedded_path(), config.embedded_bytes)
    return EmbeddingCache(local, shared, Codec(config.dtype), write_queue_items=config.write_queue_items)


async def open_journal(config: CacheConfig, *, redis_password: str | None = None) -> Journal:
    """Open the journal, within the running event loop.

    One that cannot be reached is no error: its calls raise JournalUnavailable until it can.

    Args:
        config: Where embeddings are kept, and the journal.
        redis_password: Password of Redis, where it needs one that the URL does not hold.
    """
    url, timeout_s = config.journal_url, config.connect_timeout_s
    journal: RedisJournal | EmbeddedJournal
    if is_redis(url):
        journal = RedisJournal(url, password=redis_password, connect_timeout_s=timeout_s)
    elif url.startswith(EMBEDDED):
        journal = EmbeddedJournal(config.journal_path(), config.journal.bytes)
    else:
        return MemoryJournal(config.journal.bytes)
    try:
        async with asyncio.timeout(timeout_s):
            await journal.open()
    except (JournalUnavailable, TimeoutError) as error:
        _log.warning("journal: cannot be reached yet (%s)", str(error) or "no answer")
    return journal


async def load_secret(config: CacheConfig, *, redis_password: str | None = None) -> bytes:
    """Return the deployment's hash secret, creating it where it has none yet.

    It is read from `secret_file` if that is set, else from Redis beside the cache, else from a file next to
    the embedded store. Without a shared store it lives as long as the process.

    Raises:
        SecretUnavailable: It can be neither read nor created.
    """
    proposal = secrets.token_bytes(SECRET_BYTES)
    if config.secret_file is not None:
        secret = await asyncio.to_thread(_read_or_create, Path(config.secret_file), proposal)
    elif config.is_redis:
        secret = await share_secret(config, proposal, password=redis_password)
    elif config.is_embedded:
        path = config.embedded_path()
        secret = await asyncio.to_thread(_read_or_create, path.with_name(path.name + ".secret"), proposal)
    else:
        secret = proposal
    if len(secret) < MIN_SECRET_BYTES:
        raise SecretUnavailable(f"the secret is shorter than {MIN_SECRET_BYTES} bytes")
    return secret


def _read_or_create(path: Path, proposal: bytes) -> bytes:
    """Return a file's bytes; of several processes that create it at once, all return the same."""
    try:
        path = path.expanduser()
        with suppress(FileNotFoundError):
            return path.read_bytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(proposal)
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            Path(draft).unlink()
        return path.read_bytes()
    except OSError as error:
        raise SecretUnavailable(f"cannot read or create {path}") from error
