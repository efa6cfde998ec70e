"""Ask a running service the same questions of both tiers, as warm-up traffic, which yields to callers."""

import asyncio
import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from jobs.errors import ServiceFailed
from jobs.questions import FileQuestion

AT_ONCE = 8
ATTEMPTS = 6
RETRY_S = 0.5
HEADERS = {"X-Traffic-Class": "warm-up"}
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Pair:
    """How both tiers answered one question. The margin and the confidence are the fast tier's."""

    candidates: int
    margin: float
    confidence: float
    agrees: bool


async def ask_both(client: httpx.AsyncClient, questions: Sequence[FileQuestion], progress: Progress) -> list[Pair]:
    """Ask all questions, several at once; those of which one tier gives no answer are missing from the result.

    Raises:
        ServiceFailed: The service can't be reached, or refuses everything.
    """
    slots = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def one(question: FileQuestion) -> Pair | None:
        nonlocal done
        async with slots:
            pair = await _ask(client, question)
        done += 1
        progress(done)
        return pair

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(one(question)) for question in questions]
    pairs = [pair for task in asked if (pair := task.result()) is not None]
    if not pairs:
        raise ServiceFailed("not one question was answered by both tiers")
    return pairs


async def _ask(client: httpx.AsyncClient, question: FileQuestion) -> Pair | None:
    try:
        data = await asyncio.to_thread(question.image.read_bytes)
    except OSError:
        return None
    images = [{"image": base64.b64encode(data).decode("ascii")}]
    answers = []
    for tier in ("fast", "accurate"):
        body = {"images": images, "texts": list(question.texts), "tier": tier}
        answer = await _post(client, body)
        if answer is None:
            return None
        answers.append(answer)
    fast, accurate = answers
    return Pair(
        candidates=len(question.texts),
        margin=fast["tiering"]["margin"],
        confidence=fast["tiering"]["confidence"],
        agrees=fast["best"] == accurate["best"],
    )


async def _post(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the answer's one item, or None where the question can't be answered; shed, it is asked again."""
    for attempt in range(ATTEMPTS):
        try:
            response = await client.post("/v1/similarity", json=body, headers=HEADERS)
        except httpx.TransportError as error:
            raise ServiceFailed(f"no answer from {client.base_url}") from error
        if response.status_code == httpx.codes.OK:
            item: dict[str, Any] = response.json()["data"][0]
            return None if "error" in item else item
        if response.status_code not in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
            return None
        await asyncio.sleep(RETRY_S * 2**attempt)
    return None
