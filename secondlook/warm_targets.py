"""What a warm-up warms: the tiers of a running service, or the models of the one that is to follow it."""

import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from cache.config import NONE
from cache.errors import CacheError
from cache.keys import ContentHasher, tenant_secret
from cache.open import load_secret, open_cache
from cache.store import OpenGate
from jobs.errors import CacheFailed
from jobs.estimate import entry_bytes
from jobs.kept_writes import KeptWrites
from jobs.model_tier import ModelTier
from jobs.service_tier import Refusal, ServiceTier
from jobs.warmup import WINDOW_ROWS, Tally, Warmer
from router.api_keys import environment_keys
from router.config import AppArgs
from router.items import ItemReader
from router.redis_password import REDIS_PASSWORD_VARIABLE
from router.space import full_name
from secondlook.client.connection import http_settings
from secondlook.client.retries import Refusal as RefusedCall
from secondlook.client.retries import RetryPolicy
from secondlook.credentials import authorization
from secondlook.errors import WarmupFailed
from secondlook.similarity import connect, fetch
from tiers.errors import ModelUnavailable

TIMEOUT_S = 120.0
RETRIES = RetryPolicy(attempts=60, first_pause_s=0.2, longest_pause_s=5.0)
PATIENT_LOOKUP_S = 1.0
QUEUED_WRITES = 4 * WINDOW_ROWS


@dataclass(frozen=True, slots=True)
class Target:
    """Where the embeddings are to go: a service, or the cache of the deployment that is to follow it, if any, there."""

    tiers: tuple[str, ...]
    url: str | None
    next_args: AppArgs | None = None
    tenant: str = ""
    """Whose part of the next deployment's cache; a service knows it by the API key."""


@dataclass(frozen=True, slots=True)
class OpenedTiers:
    """Tiers that are ready to be warmed, and what an embedding of each takes of Redis' memory."""

    warmers: Sequence[Warmer]
    entry_bytes: dict[str, int]
    kept: KeptWrites | None = None

    async def check_kept(self) -> None:
        """See that the service's cache keeps what is embedded; raises CacheFailed."""
        if self.kept is not None:
            await self.kept.check()

    async def check_all_kept(self) -> None:
        """See that nothing at all was lost; raises CacheFailed."""
        if self.kept is not None:
            await self.kept.end()


@asynccontextmanager
async def opened(target: Target, tally: Tally) -> AsyncIterator[OpenedTiers]:
    """Open what a target names.

    Raises:
        QueryFailed: There is no service at the URL.
        WarmupFailed: A tier has not come up, a model can't be loaded, or there is nothing to warm.
        CacheFailed: The next deployment's cache can't be had.
    """
    if target.next_args is not None:
        async with _next_models(target, target.next_args) as tiers:
            yield tiers
    else:
        async with _service(target, tally) as tiers:
            yield tiers


@asynccontextmanager
async def _service(target: Target, tally: Tally) -> AsyncIterator[OpenedTiers]:
    url = target.url or ""
    names = _present_models(url)
    if any(names[tier] is None for tier in target.tiers):
        raise WarmupFailed("a tier of the service has not come up")
    with connect(url) as probe:
        cards: list[dict[str, Any]] = fetch(probe, "GET", "/v1/models", expects="data")["data"]
    dimensions = {card["tier"]: int(card["dimension"]) for card in cards}
    settings = http_settings(url, {"traffic_class": "warm-up"})
    settings["headers"] = {**settings["headers"], **authorization(is_admin=False)}
    async with httpx.AsyncClient(**settings, timeout=TIMEOUT_S) as client:
        credentials = authorization(is_admin=True)
        kept = KeptWrites(client, lambda: sum(tier.embedded for tier in tally.tiers.values()), credentials)
        await kept.begin()
        yield OpenedTiers(
            [ServiceTier(client, tier, _pause) for tier in target.tiers],
            {tier: entry_bytes(dimensions[tier], _dtype_of(str(names[tier]))) for tier in target.tiers},
            kept,
        )


@asynccontextmanager
async def _next_models(target: Target, args: AppArgs) -> AsyncIterator[OpenedTiers]:
    from tiers.encoder import Encoder  # noqa: PLC0415 - whoever warms a service does not wait for torch

    if args.cache.url == NONE:
        raise WarmupFailed("the next deployment has no shared cache: there is nothing to warm")
    present = _present_models(target.url) if target.url else {}
    password = os.environ.get(REDIS_PASSWORD_VARIABLE)
    patient = args.cache.model_copy(
        update={"lookup_timeout_s": PATIENT_LOOKUP_S, "l1_bytes": 0, "write_queue_items": QUEUED_WRITES}
    )
    try:
        secret = await load_secret(args.cache, redis_password=password)
        cache = await open_cache(patient, OpenGate, redis_password=password, secret=secret)
    except CacheError as error:
        raise CacheFailed(f"the next deployment's cache: {error}") from error
    reader = _next_reader(args, secret, target.tenant)
    warmers: list[ModelTier[Any]] = []
    try:
        for tier in target.tiers:
            config = args.tiers.fast if tier == "fast" else args.tiers.accurate
            try:
                encoder = Encoder(config.model, config.images, config.batch)
            except ModelUnavailable as error:
                raise WarmupFailed(f"the {tier} tier's next model: {error}") from error
            if full_name(encoder.description, args.cache.dtype) != present.get(tier):
                batch = config.batch.max_texts
                warmers.append(ModelTier(tier, encoder, cache, reader, dtype=args.cache.dtype, batch=batch))
        if not warmers:
            raise WarmupFailed("no tier's next model is another than the one that the service has")
        yield OpenedTiers(warmers, {one.tier: entry_bytes(one.dimension, args.cache.dtype) for one in warmers})
    finally:
        await cache.close()


def _next_reader(args: AppArgs, secret: bytes, tenant: str) -> ItemReader:
    """Who gives texts the names that the next deployment's routers will look them up by."""
    has_keys = args.access.names_keys or bool(environment_keys(os.environ))
    is_shared = not has_keys or args.access.share_cache
    if is_shared == bool(tenant):
        problem = "tenants share the cache: leave --tenant out" if is_shared else "each tenant has its own: name one"
        raise WarmupFailed(f"in the next deployment {problem}")
    # Texts have the same digest whatever images have.
    hasher = ContentHasher(tenant_secret(secret, tenant) if tenant else secret, "blake2b")
    return ItemReader(hasher, args.limits.text_chars, tenant)


def _present_models(url: str) -> dict[str, str | None]:
    """The full names of a service's models."""
    with connect(url, is_admin=True) as client:
        models: dict[str, str | None] = fetch(client, "GET", "/admin/policy", expects="models")["models"]
    return models


def _dtype_of(name: str) -> str:
    """The stored number format in a model's full name (`router.space.full_name`)."""
    return name.rsplit(" ", 2)[1].partition("/")[2]


def _pause(refusal: Refusal) -> float | None:
    refused = RefusedCall(refusal.status, refusal.retry_after)
    return RETRIES.pause_s(refusal.attempt, refused, float("inf"), random.random())  # noqa: S311 - jitter
