"""What an operator may say about the cache."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cache import redis_address

MIB = 1024 * 1024
EMBEDDED = "embedded:"
EMBEDDED_AUTO = "embedded:auto"
NONE = "none:"
WITH_CACHE = "cache"
FORMS = f"expected {redis_address.FORMS}, a list of these, embedded:auto, embedded:DIRECTORY or none:"
JOURNAL_FORMS = f"expected cache, {redis_address.FORMS}, embedded:DIRECTORY or none:"


class JournalConfig(BaseModel):
    """Where the audit log, the policy's history and the monitor's state are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        default=WITH_CACHE,
        description="`cache`: where the cache is (of several Redis servers the first; beside an embedded store); or a "
        "Redis server's URL, `embedded:` and a directory, or `none:` for the process's memory. A Redis that evicts by "
        "`allkeys-*` may evict it: give it one that does not.",
    )
    bytes: int = Field(
        default=256 * MIB,
        ge=16 * MIB,
        description="Largest size of an embedded journal on disk, in bytes; a Redis server has its own limit.",
    )

    @model_validator(mode="after")
    def _check_url(self) -> Self:
        if self.url in (WITH_CACHE, NONE) or (self.url.startswith(EMBEDDED) and self.url != EMBEDDED):
            return self
        try:
            redis_address.check(self.url)
        except ValueError as error:
            raise ValueError(f"url: {JOURNAL_FORMS}") from error
        redis_address.check_options(self.url)
        return self


class CacheConfig(BaseModel):
    """Where embeddings are kept, for how long, and what a lookup may cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default=EMBEDDED_AUTO,
        description="The shared store: `redis://`, `rediss://`, `unix://` or `redis+sentinel://` for a Redis server, "
        "a list of these for shards; `embedded:` and a directory (`embedded:auto`: the user's cache directory) for one "
        "machine without a server; `none:` for none.",
    )
    secret_file: str | None = Field(
        default=None,
        description="File that holds the deployment's hash secret (at least 16 bytes), created when absent. "
        "Unset: kept in Redis beside the cache, or in a file next to the embedded store.",
    )
    dtype: Literal["float16", "float32", "int8"] = Field(
        default="float16",
        description="Number format of stored vectors. float16 halves float32's memory; int8 halves it again, but "
        "changes the best text in 2-10 % of rankings, so it is not the default; each is an embedding space of its own.",
    )
    image_digest: Literal["auto", "xxh3_128", "blake2b"] = Field(
        default="auto",
        description="Digest of image bytes: seeded `xxh3_128` among trusted callers, keyed `blake2b` otherwise; "
        "`auto`: the latter where there are API keys, and these admit no other.",
    )
    lookup_timeout_s: float = Field(
        default=0.01, gt=0, le=1, description="Longest that a lookup in Redis may delay a miss, in seconds."
    )
    connect_timeout_s: float = Field(
        default=1.0, gt=0, le=30, description="Longest that one attempt to reach Redis may take, in seconds."
    )
    stall_timeout_s: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="A Redis command unanswered for so many seconds gives the connection up for a new one.",
    )
    redis_ttl_s: int = Field(
        default=0, ge=0, description="Lifetime of an entry in Redis, in seconds; 0: until Redis evicts it."
    )
    l1_bytes: int = Field(
        default=64 * MIB,
        ge=0,
        description="Memory of the in-process level, in bytes per process; 0: no such level.",
    )
    l1_ttl_s: float = Field(
        default=3600.0, gt=0, description="Lifetime of an entry in the in-process level, in seconds."
    )
    l1_ttl_jitter: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Largest share by which one entry's in-process lifetime is shortened.",
    )
    write_queue_items: int = Field(
        default=8192,
        ge=1,
        description="Vectors that may wait to be written behind the answers; more are dropped.",
    )
    embedded_bytes: int = Field(
        default=1024 * MIB, ge=16 * MIB, description="Largest size of the embedded store on disk, in bytes."
    )
    journal: JournalConfig = Field(
        default=JournalConfig(),
        description="Where the audit log, the policy's history and the monitor's state are kept.",
    )

    @model_validator(mode="after")
    def _check_url(self) -> Self:
        if self.is_embedded and self.journal.url == self.url != EMBEDDED_AUTO:
            raise ValueError("journal.url: the embedded store's own directory; `cache` is beside it")
        if self.url == NONE or (self.is_embedded and self.url != EMBEDDED):
            return self
        try:
            for url in self.urls:
                redis_address.check(url)
        except ValueError as error:
            raise ValueError(f"url: {FORMS}") from error
        for url in self.urls:
            redis_address.check_options(url)
        if len({redis_address.shard_name(url) for url in self.urls}) != len(self.urls):
            raise ValueError("url: a list of shards names each server once")
        return self

    @property
    def urls(self) -> tuple[str, ...]:
        """The Redis servers' URLs, one or several."""
        return (self.url,) if isinstance(self.url, str) else self.url

    @property
    def is_embedded(self) -> bool:
        """Whether the shared store is a directory of this machine."""
        return isinstance(self.url, str) and self.url.startswith(EMBEDDED)

    @property
    def is_redis(self) -> bool:
        """Whether the shared store is a Redis server, or several."""
        return all(redis_address.is_redis(url) for url in self.urls)

    def embedded_path(self) -> Path:
        """Return the embedded store's directory; `embedded:auto` is in the user's cache directory."""
        return _embedded_path(self.urls[0])

    @property
    def journal_url(self) -> str:
        """The journal's own URL, or that of the cache, of several the first."""
        return self.urls[0] if self.journal.url == WITH_CACHE else self.journal.url

    def journal_path(self) -> Path:
        """Return an embedded journal's directory: beside the embedded store's where none is named."""
        path = _embedded_path(self.journal_url)
        is_beside = self.journal.url in (WITH_CACHE, EMBEDDED_AUTO)
        return path.with_name(path.name + ".journal") if is_beside else path


def _embedded_path(url: str) -> Path:
    name = url.removeprefix(EMBEDDED)
    if url != EMBEDDED_AUTO:
        return Path(name).expanduser()
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if root else Path.home() / ".cache") / "secondlook" / "embeddings"
