"""Whether a running service's cache keeps what is embedded: what its routers say they have dropped."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from jobs.errors import CacheFailed, ServiceFailed

LOOKS = 4
"""Over connections of their own, because each may lead to another router."""
SETTLE_S = 10.0
SETTLE_EVERY_S = 0.05
BROKEN_SHARE = 0.5


class KeptWrites:
    """Follows the writes that a service's cache has dropped since the job began."""

    def __init__(
        self, client: httpx.AsyncClient, embedded: Callable[[], int], credentials: Mapping[str, str] | None = None
    ) -> None:
        """`credentials` are the headers of an operator, whom alone the status is for where keys are needed."""
        self._client = client
        self._headers = {"Connection": "close", **(credentials or {})}
        self._embedded = embedded
        self._before = self._seen = 0
        self._embedded_seen = 0

    async def begin(self) -> None:
        """Learn what was dropped before; raises ServiceFailed."""
        self._before = self._seen = await self._dropped()

    async def check(self) -> None:
        """Stop a job most of whose work is lost.

        Raises:
            CacheFailed: Of what was embedded since the last check, half was not kept.
        """
        dropped, embedded = await self._dropped(), self._embedded()
        lost, made = dropped - self._seen, embedded - self._embedded_seen
        self._seen, self._embedded_seen = dropped, embedded
        if made and lost >= BROKEN_SHARE * made:
            raise self._failure()

    async def end(self) -> None:
        """Wait until everything is written.

        Raises:
            CacheFailed: Something was dropped, or is not written in time.
        """
        give_up_at = time.monotonic() + SETTLE_S
        while max([cache["queued_writes"] for cache in await self._caches()]):
            if time.monotonic() > give_up_at:
                raise CacheFailed("the service's cache still has embeddings to write; see `secondlook status`")
            await asyncio.sleep(SETTLE_EVERY_S)
        self._seen = await self._dropped()
        if self._seen > self._before:
            raise self._failure()

    async def _dropped(self) -> int:
        caches = await self._caches()
        return max(int(cache["dropped_writes"] + cache["shared"]["dropped_writes"]) for cache in caches)

    async def _caches(self) -> list[Mapping[str, Any]]:
        return [await self._look() for _ in range(LOOKS)]

    async def _look(self) -> Mapping[str, Any]:
        try:
            response = await self._client.get("/admin/status", headers=self._headers)
            cache: Mapping[str, Any] = response.raise_for_status().json()["cache"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise ServiceFailed(f"the status can't be read from {self._client.base_url}") from error
        return cache

    def _failure(self) -> CacheFailed:
        count = self._seen - self._before
        return CacheFailed(
            f"the service's cache could not keep {count} embedding(s); see `secondlook status`, and run the same "
            "command again when it can"
        )
