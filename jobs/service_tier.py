"""A tier of a running service, warmed over HTTP: the service's own cache knows what is done already."""

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple

import httpx
import orjson

from jobs.errors import ServiceFailed
from jobs.list_size import ListSize
from jobs.together import together
from jobs.warmup import Report

HEADERS = {"X-Traffic-Class": "warm-up", "Content-Type": "application/json", "Accept-Encoding": "identity"}
CACHED = "x-cached"
LISTS_AT_ONCE = 2
"""One is computed while the other waits its turn, so that the tier is never without."""
INTERNAL_ATTEMPTS = 3
BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_PLACE = re.compile(r"input\[(\d+)\]")


class Refusal(NamedTuple):
    """How an attempt ended that may be repeated, and which one it was, counted from 1."""

    attempt: int
    status: int
    retry_after: str | None


Pause = Callable[[Refusal], float | None]
"""Seconds to wait after a refusal; None to give up."""


@dataclass(slots=True)
class _Pass:
    """The texts of one call, and what has come of them."""

    texts: Sequence[str]
    report: Report
    todo: deque[int]
    failed: dict[int, str] = field(default_factory=dict)

    def take(self, count: int) -> list[int]:
        """Remove the places of the next texts."""
        return [self.todo.popleft() for _ in range(min(count, len(self.todo)))]

    def fail(self, place: int, reason: str) -> None:
        """Count a text that can't be embedded."""
        self.failed[place] = reason
        self.report(rejected=1)


class ServiceTier:
    """Asks for a tier's embeddings of texts as warm-up traffic, in lists, and asks again where they are refused."""

    def __init__(self, client: httpx.AsyncClient, tier: str, pause: Pause) -> None:
        self.tier = tier
        self._client = client
        self._pause = pause
        self._size = ListSize()

    async def warm(self, texts: Sequence[str], report: Report) -> Mapping[int, str]:
        """Have what the cache has not embedded; return what can't be embedded, with the reasons.

        Raises:
            ServiceFailed: No service there, it refuses for too long, or it answers with an error.
        """
        progress = _Pass(texts, report, deque(range(len(texts))))
        await together([self._work_off(progress) for _ in range(LISTS_AT_ONCE)])
        return progress.failed

    async def _work_off(self, progress: _Pass) -> None:
        while places := progress.take(self._size.value):
            await self._embed(progress, places)

    async def _embed(self, progress: _Pass, places: list[int]) -> None:
        """Embed the texts at these places; one that is refused for itself fails alone."""
        attempt = 0
        while places:
            attempt += 1
            began = time.monotonic()
            response = await self._post([progress.texts[place] for place in places])
            if response is not None and response.status_code == HTTPStatus.OK:
                self._size.answered(len(places), time.monotonic() - began)
                cached = int(response.headers.get(CACHED, 0))
                progress.report(cached=cached, embedded=len(places) - cached)
                return
            blamed = _blamed(response, places, attempt)
            if blamed is not None:
                progress.fail(places.pop(blamed), _message_of(response))
                attempt = 0
            elif _is_too_long(response) and len(places) > 1:
                self._size.refused(len(places))
                middle = len(places) // 2
                progress.todo.extendleft(reversed(places[middle:]))
                del places[middle:]
            else:
                await self._wait(response, attempt)

    async def _post(self, texts: Sequence[str]) -> httpx.Response | None:
        """Ask once; None where the connection fails."""
        body = orjson.dumps({"model": self.tier, "input": texts, "encoding_format": "base64"})
        try:
            return await self._client.post("/v1/embeddings", content=body, headers=HEADERS)
        except httpx.TransportError:
            return None

    async def _wait(self, response: httpx.Response | None, attempt: int) -> None:
        status = HTTPStatus.SERVICE_UNAVAILABLE if response is None else response.status_code
        if status not in BUSY | {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.INTERNAL_SERVER_ERROR}:
            raise ServiceFailed(f"the {self.tier} tier: {status}: {_message_of(response)}")
        retry_after = None if response is None else response.headers.get("retry-after")
        pause_s = self._pause(Refusal(attempt, HTTPStatus.SERVICE_UNAVAILABLE, retry_after))
        if pause_s is None:
            why = "no answer" if response is None else f"{status}: {_message_of(response)}"
            raise ServiceFailed(
                f"the {self.tier} tier of {self._client.base_url}, asked {attempt} times: {why}; "
                "what was embedded is kept, run the same command again later"
            )
        await asyncio.sleep(pause_s)


def _blamed(response: httpx.Response | None, places: Sequence[int], attempt: int) -> int | None:
    """Which of the list's texts a refusal is about, if it is about one and asking again would not help."""
    if response is None or response.status_code in BUSY | {HTTPStatus.REQUEST_TIMEOUT}:
        return None
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR and attempt < INTERNAL_ATTEMPTS:
        return None
    if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(places) == 1:
        return 0
    match = _PLACE.fullmatch(str(_error_of(response).get("param")))
    place = int(match[1]) if match else len(places)
    return place if place < len(places) else None


def _is_too_long(response: httpx.Response | None) -> bool:
    """Whether a shorter list may be answered."""
    too_long = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_TIMEOUT)
    return response is not None and response.status_code in too_long


def _message_of(response: httpx.Response | None) -> str:
    return str((_error_of(response) if response is not None else {}).get("message") or "no message")


def _error_of(response: httpx.Response) -> Mapping[str, Any]:
    try:
        error = response.json()["error"]
    except (ValueError, TypeError, KeyError):
        return {}
    return error if isinstance(error, dict) else {}
