"""Who may ask: what a deployment file, and a keys' file, say about API keys, quotas and browsers."""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Role = Literal["user", "admin"]
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")
TENANT = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QuotaConfig(_Strict):
    """What one key may ask of one router replica."""

    requests_per_s: float | None = Field(
        default=None, gt=0, description="Requests per second of one key, per router replica; none: as many as it likes."
    )
    burst: int | None = Field(
        default=None,
        ge=1,
        description="Requests that a key may send at once after a pause; none: those of a second, one at least.",
    )
    concurrent: int | None = Field(
        default=None, ge=1, description="Requests of one key in progress at the same time, per router replica."
    )


class KeyEntry(_Strict):
    """One API key: what it may do, and the hash by which it is known. The key itself is nowhere."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="Names the key where it is spoken of.")
    hash: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False, description="SHA-256 of the key, in hex.")
    tenant: str = Field(default="default", pattern=TENANT, description="Whose key it is.")
    role: Role = Field(default="user", description="`user`, or `admin`, who may use /admin as well.")
    expires_at: datetime | None = Field(default=None, description="When it ends: ISO 8601, UTC where it says no zone.")
    quota: QuotaConfig = Field(default=QuotaConfig(), description="What differs from `access.quota`.")

    @field_validator("expires_at")
    @classmethod
    def _has_a_zone(cls, time: datetime | None) -> datetime | None:
        return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)


def check_unique(keys: Iterable[KeyEntry]) -> None:
    """See that no two keys have one id or one hash.

    Raises:
        ValueError: Two have; the message names their ids.
    """
    keys = list(keys)
    twice = [name for name, count in Counter(key.id for key in keys).items() if count > 1]
    if twice:
        raise ValueError(f"keys: the id {twice[0]} stands there twice")
    by_hash = Counter(key.hash for key in keys)
    same = [key.id for key in keys if by_hash[key.hash] > 1]
    if same:
        raise ValueError(f"keys: {' and '.join(same[:2])} have one hash")


class KeysDocument(_Strict):
    """A file of API keys, as `secondlook keys` writes it."""

    keys: tuple[KeyEntry, ...] = ()

    @field_validator("keys")
    @classmethod
    def _differ(cls, keys: tuple[KeyEntry, ...]) -> tuple[KeyEntry, ...]:
        check_unique(keys)
        return keys


class AccessConfig(_Strict):
    """Who may ask. Without keys everybody may who can connect."""

    keys_file: str | None = Field(
        default=None,
        description="File of API keys, made by `secondlook keys`; each router reads it again when it changes.",
    )
    keys: tuple[KeyEntry, ...] = Field(
        default=(),
        description="API keys in this file, as `secondlook keys` writes them; a change of them replaces replicas.",
    )
    allow_open: bool = Field(
        default=False,
        description="Serve without keys on an address that others can reach: whoever reaches it may do anything.",
    )
    share_cache: bool = Field(
        default=False,
        description="Tenants share the cache: cheaper, but each can tell by hits and by content keys what others sent.",
    )
    quota: QuotaConfig = Field(
        default=QuotaConfig(), description="What a user's key may ask of each router replica, unless it says otherwise."
    )
    cors_origins: tuple[str, ...] = Field(
        default=(),
        description="Origins whose pages may call the service from a browser, as `https://app.example.com`; by default "
        "none.",
    )

    @field_validator("keys")
    @classmethod
    def _differ(cls, keys: tuple[KeyEntry, ...]) -> tuple[KeyEntry, ...]:
        check_unique(keys)
        return keys

    @field_validator("quota")
    @classmethod
    def _burst_has_a_rate(cls, quota: QuotaConfig) -> QuotaConfig:
        if quota.burst is not None and quota.requests_per_s is None:
            raise ValueError("burst: without requests_per_s there is no bound that it could loosen")
        return quota

    @field_validator("cors_origins")
    @classmethod
    def _are_exact_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [origin for origin in origins if _ORIGIN.fullmatch(origin) is None]
        if wrong:
            raise ValueError(f"{', '.join(map(repr, wrong))}: expected a scheme, a lower-case host and maybe a port")
        return origins

    @property
    def names_keys(self) -> bool:
        """Whether it says that callers need keys, be there any or not."""
        return self.keys_file is not None or bool(self.keys)
