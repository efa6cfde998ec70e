"""The router as a Ray Serve deployment: it wires cache, tiers and cascade together and serves the API."""

import asyncio
import gc
import logging
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from ray import serve
from ray.serve.handle import DeploymentHandle

from cache.errors import JournalUnavailable, SecretUnavailable
from cache.open import load_secret, open_cache, open_journal
from cache.scoped_journal import ScopedJournal
from cache.two_level import EmbeddingCache
from router.access import Access
from router.admission import Admission
from router.api import Api
from router.api_keys import environment_keys
from router.audits import Audits
from router.breaker import CircuitBreaker
from router.cascade import Cascade
from router.config import AppArgs
from router.embedder import Embedder
from router.errors import RouterError
from router.image_urls import ImageUrls
from router.keys_file import KeysFile
from router.policy import Policy
from router.policy_admin import PolicyAdmin
from router.policy_in_force import PolicyInForce
from router.readiness import Readiness
from router.redis_password import REDIS_PASSWORD_VARIABLE
from router.service import Service
from router.tenants import Readers, readers_for
from router.tier_calls import TierCalls
from router.tier_handle import ServeTierHandle

logger = logging.getLogger(__name__)
DESCRIBE_TIMEOUT_S = 5.0
SETTLE_PERIOD_S = 0.25
GARBAGE_THRESHOLDS = (10_000, 20, 50)


@serve.ingress()
class RouterReplica:
    """One router. It holds no model; losing it loses only what was in flight."""

    def __init__(self, args: AppArgs, fast: DeploymentHandle, accurate: DeploymentHandle) -> None:
        # One line per malformed body would let strangers fill the log; each is answered with 400.
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        self._args = args
        self._environment_keys = environment_keys(os.environ)
        self._handles = {"fast": fast, "accurate": accurate}
        self._policy = PolicyInForce(args.policy)
        self._image_urls = ImageUrls(args.image_urls) if args.image_urls.allowed_hosts else None
        self._service: Service | None = None
        self._cache: EmbeddingCache | None = None
        self._audits: Audits | None = None
        self._has_shared_secret = False
        self._settling: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None

    async def __serve_build_asgi_app__(self) -> Api:
        """Open the cache and build the API inside the event loop that will serve it."""
        args = self._args
        password = os.environ.get(REDIS_PASSWORD_VARIABLE)
        secret = await self._load_secret(password)
        cache_breakers: list[CircuitBreaker] = []

        def new_breaker() -> CircuitBreaker:
            cache_breakers.append(CircuitBreaker(args.router.cache_breaker))
            return cache_breakers[-1]

        self._cache = await open_cache(
            args.cache,
            new_breaker,
            redis_password=password,
            secret=secret if self._has_shared_secret else None,
        )
        fast, accurate = (self._embedder(name, self._cache) for name in ("fast", "accurate"))
        journal = ScopedJournal(await open_journal(args.cache, redis_password=password), args.name)
        self._audits = audits = Audits(journal, fast, accurate, self._tighten, keep=args.router.audit_records)
        # Before the first answer: what other routers have given up is not trusted here either.
        with suppress(JournalUnavailable):
            await audits.watch.step()
        self._service = Service(
            cascade=Cascade(fast, accurate, self._cache, audits.auditor),
            cache=self._cache,
            fast=fast,
            accurate=accurate,
            readers=self._readers(secret),
            limits=args.limits,
            readiness=Readiness(fast, accurate),
            policy=self._policy,
            deadline_s=args.router.deadline_s,
            max_in_flight=args.router.max_in_flight,
            cache_breakers=cache_breakers,
            policy_admin=PolicyAdmin(fast, accurate, journal, audits.log, audits.watch),
            access=await self._access(),
        )
        self._settling = asyncio.create_task(self._settle(self._service, password), name="settle")
        _relax_garbage_collection()
        # Serve appends X-Request-Id to every answer itself.
        return Api(self._service, names_requests=False)

    def reconfigure(self, policy: dict[str, object]) -> None:
        """Swap the policy: one reference, between two requests. Serve passes the document it was given."""
        self._put_in_force(PolicyInForce(Policy.model_validate(policy), self._policy.alarms))

    def _tighten(self, alarms: frozenset[str]) -> None:
        """Give up the certificates that the monitor has raised the alarm for."""
        self._put_in_force(PolicyInForce(self._policy.policy, alarms))

    def _put_in_force(self, policy: PolicyInForce) -> None:
        self._policy = policy
        if self._service is not None:
            self._service.policy = policy

    async def check_health(self) -> None:
        """Fail when a background task has ended.

        Raises:
            RouterError: The replica should be replaced.
        """
        if self._settling is not None and self._settling.done():
            raise RouterError("the task that follows the tiers has ended")
        if self._following is not None and self._following.done():
            raise RouterError("the task that follows the API keys has ended")
        if self._cache is not None and not self._cache.is_alive:
            raise RouterError("the cache's background work has ended")
        if self._audits is not None and not self._audits.is_alive:
            raise RouterError("the audit's background work has ended")

    async def __del__(self) -> None:
        """Write what is still to be written; Serve awaits this before the replica ends."""
        for task in (self._settling, self._following):
            if task is not None:
                task.cancel()
        if self._audits is not None:
            await self._audits.close()
        if self._cache is not None:
            await self._cache.close()

    def _embedder(self, name: str, cache: EmbeddingCache) -> Embedder:
        config = self._args.router
        handle = ServeTierHandle(self._handles[name])
        bounds = config.admission.fast if name == "fast" else config.admission.accurate
        calls = TierCalls(handle, CircuitBreaker(config.breaker), Admission(bounds), config, time.monotonic)
        return Embedder(calls, cache, self._args.cache.dtype)

    @property
    def _needs_keys(self) -> bool:
        return self._args.access.names_keys or bool(self._environment_keys)

    async def _access(self) -> Access | None:
        """Who may ask. Where a keys' file is named but can't be read, nobody whose key is not elsewhere."""
        config = self._args.access
        if not self._needs_keys:
            return Access(config, None) if config.cors_origins else None
        others = (*config.keys, *self._environment_keys)
        access = Access(config, others)
        if config.keys_file is not None:
            file = KeysFile(Path(config.keys_file), others)
            await file.refresh(access)
            self._following = asyncio.create_task(file.follow(access), name="keys-file")
        return access

    def _readers(self, secret: bytes) -> Readers:
        return readers_for(self._args, secret, has_keys=self._needs_keys, fetcher=self._image_urls)

    async def _load_secret(self, password: str | None) -> bytes:
        """The deployment's hash secret; one of our own while the place where it is kept can't be reached."""
        try:
            secret = await load_secret(self._args.cache, redis_password=password)
        except SecretUnavailable:
            logger.warning("the shared hash secret can't be had; hits begin when it can")
            return secrets.token_bytes(32)
        self._has_shared_secret = True
        return secret

    async def _settle(self, service: Service, password: str | None) -> None:
        """Learn what is not known yet: tiers' models after start or roll, the secret after an outage."""
        while True:
            for embedder in (service.fast, service.accurate):
                if embedder.description is None:
                    with suppress(RouterError, TimeoutError):
                        await embedder.refresh(DESCRIBE_TIMEOUT_S)
            if not self._has_shared_secret:
                secret = await self._load_secret(password)
                if self._has_shared_secret:
                    service.readers = self._readers(secret)
            await asyncio.sleep(SETTLE_PERIOD_S)


def _relax_garbage_collection() -> None:
    """Walk what start-up has made no more, and what requests make less often: 5 % of a router's time under load.

    A request makes some hundred tuples and dicts and hardly ever a cycle, so that the default of a pass per 700
    objects is a pass in vain for every few requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
