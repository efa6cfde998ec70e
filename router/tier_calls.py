"""Send misses to one tier: gathered into calls, bounded, behind a breaker. Callers get a future an item.

Calls are owned here and not by the requests that wait for them: a request that gives up cancels nobody's work.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from router.breaker import CircuitBreaker
from router.config import RouterConfig
from router.deadline import Deadline
from router.errors import (
    ApiError,
    BadImage,
    DeadlineExceeded,
    InternalError,
    Overloaded,
    RouterError,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)
from router.items import Item
from tiers.errors import ItemCode
from tiers.messages import EncodeCall, EncodeReply, ModelDescription

logger = logging.getLogger(__name__)

_ITEM_ERRORS: dict[ItemCode, type[ApiError]] = {
    "too_large": TooLarge,
    "unsupported_media": UnsupportedMedia,
    "bad_image": BadImage,
    "expired": DeadlineExceeded,
    "internal": InternalError,
}


class TierShed(RouterError):
    """Raised when a tier refuses a call because its queues are full."""


class TierUnreachable(RouterError):
    """Raised when a call was lost: its replica died, or none is up."""


class TierHandle(Protocol):
    """The one way to a tier's replicas."""

    async def encode(self, call: EncodeCall, timeout_s: float) -> EncodeReply:
        """Embed a call's items.

        Raises:
            TierShed, TierUnreachable, TimeoutError: As they say.
        """
        ...

    async def describe(self, timeout_s: float) -> ModelDescription:
        """Describe the tier's model; raises as `encode` does."""
        ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """One embedding as a tier made it: float32, shape (dimension,), unit length."""

    vector: NDArray[np.float32]
    token_count: int
    revision: str
    queue_ms: float


@dataclass(slots=True)
class TierCounts:
    """What went to a tier since the router began: items, and calls by how they ended."""

    items: int = 0
    calls: int = 0
    shed: int = 0
    timed_out: int = 0
    unreachable: int = 0


@dataclass(slots=True)
class _Pending:
    item: Item
    deadline: Deadline
    submitted_at: float
    answer: asyncio.Future[Encoded]


class TierCalls:
    """The misses of one router on their way to one tier."""

    def __init__(
        self,
        handle: TierHandle,
        breaker: CircuitBreaker,
        config: RouterConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handle = handle
        self._breaker = breaker
        self._config = config
        self._clock = clock
        self._waiting: deque[deque[_Pending]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._held = 0
        self._seconds_per_item = 0.0
        self._pump_is_due = False
        self._counts = TierCounts()

    @property
    def counts(self) -> TierCounts:
        """A copy of the counters."""
        return replace(self._counts)

    @property
    def held_items(self) -> int:
        """Items waiting for the tier or at it."""
        return self._held

    @property
    def breaker(self) -> CircuitBreaker:
        """The breaker before this tier."""
        return self._breaker

    def submit(self, items: Sequence[Item], deadline: Deadline) -> list[asyncio.Future[Encoded]]:
        """Queue items that have content; each future ends with an embedding or an `ApiError`.

        Raises:
            Overloaded: More items would be held than the bound allows.
            Unavailable: The breaker is open.
        """
        now = self._clock()
        if self._held + len(items) > self._config.max_pending_items:
            raise Overloaded("too many items are waiting for this tier", retry_after_s=self._retry_after_s())
        if not self._breaker.allow(now):
            raise Unavailable("the tier is not answering", retry_after_s=1)
        loop = asyncio.get_running_loop()
        pending = [_Pending(item, deadline, now, loop.create_future()) for item in items]
        if pending:
            self._waiting.append(deque(pending))
        self._held += len(pending)
        if not self._pump_is_due:
            self._pump_is_due = True
            loop.call_soon(self._pump)  # one turn later, so that requests of the same turn share a call
        return [one.answer for one in pending]

    async def describe(self, timeout_s: float) -> ModelDescription:
        """Describe the tier's model; raises as the handle does."""
        return await self._handle.describe(timeout_s)

    async def probe(self, call: EncodeCall, timeout_s: float) -> EncodeReply:
        """Send one call past queue and breaker: the readiness check's real inference."""
        return await self._handle.encode(call, timeout_s)

    async def close(self) -> None:
        """Cancel what is in flight and fail what waits."""
        while self._waiting:  # first, so that a call which ends makes no new one of them
            self._fail_all(self._waiting.popleft(), Unavailable("the service is stopping"))
        for call in list(self._calls):
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def _pump(self) -> None:
        self._pump_is_due = False
        while self._waiting and len(self._calls) < self._config.calls_in_flight:
            group = self._take()
            if group:
                task = asyncio.create_task(self._send(group))
                self._calls.add(task)
                task.add_done_callback(self._call_done)

    def _call_done(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._pump()

    def _take(self) -> list[_Pending]:
        """Items of the next call: one of each submission in turn, so that a long list keeps no short one waiting."""
        group: list[_Pending] = []
        size = 0
        now = self._clock()
        while self._waiting and len(group) < self._config.items_per_call:
            submission = self._waiting[0]
            size += _image_bytes(submission[0].item)
            if group and size > self._config.bytes_per_call:
                break
            self._waiting.rotate(-1)
            pending = submission.popleft()
            if not submission:
                self._waiting.pop()
            if pending.deadline.is_past(now):
                size -= _image_bytes(pending.item)
                self._breaker.abandoned(now)  # if it was the probe, another may go
                self._fail(pending, DeadlineExceeded("the deadline passed while waiting for the tier"))
                continue
            group.append(pending)
        return group

    async def _send(self, group: list[_Pending]) -> None:
        # Images first, then texts: the order of a call's items and of its reply's rows.
        group.sort(key=lambda pending: pending.item.modality != "image")
        sent_at = self._clock()
        try:
            reply = await self._encode_with_one_retry(group)
            results = _results(group, reply, sent_at)
        except TierShed:
            self._counts.shed += 1
            self._breaker.abandoned(self._clock())
            self._fail_all(group, Overloaded("the tier is shedding load", retry_after_s=self._retry_after_s()))
        except TimeoutError:
            self._counts.timed_out += 1
            self._report_timeout(max(pending.deadline.left_s(sent_at) for pending in group))
            self._fail_all(group, DeadlineExceeded("the tier did not answer before the deadline"))
        except TierUnreachable:
            self._counts.unreachable += 1
            self._breaker.failed(self._clock())
            self._fail_all(group, Unavailable("the tier is not answering", retry_after_s=1))
        except asyncio.CancelledError:
            self._fail_all(group, Unavailable("the service is stopping"))
            raise
        except Exception:  # supervisor of the call: its waiters must hear of any fault
            logger.exception("a call to a tier failed")
            self._breaker.failed(self._clock())
            self._fail_all(group, InternalError())
        else:
            now = self._clock()
            self._breaker.succeeded(now)
            self._learn_pace(now - sent_at, len(group))
            self._deliver(group, results)

    async def _encode_with_one_retry(self, group: list[_Pending]) -> EncodeReply:
        try:
            return await self._encode(group)
        except TierUnreachable:
            # Encoding is idempotent, and a replica that died takes what was in flight on it along.
            return await self._encode(group)

    async def _encode(self, group: list[_Pending]) -> EncodeReply:
        self._counts.calls += 1
        self._counts.items += len(group)
        budget_s = max(pending.deadline.left_s(self._clock()) for pending in group)
        if budget_s <= 0:
            raise TimeoutError
        return await self._handle.encode(_call(group, budget_s), budget_s)

    def _deliver(self, group: list[_Pending], results: list[Encoded | ApiError]) -> None:
        for pending, result in zip(group, results, strict=True):
            if isinstance(result, ApiError):
                self._fail(pending, result)
                continue
            self._held -= 1
            if not pending.answer.done():
                pending.answer.set_result(result)

    def _fail_all(self, group: Iterable[_Pending], error: ApiError) -> None:
        for pending in group:
            self._fail(pending, error)

    def _fail(self, pending: _Pending, error: ApiError) -> None:
        self._held -= 1
        if not pending.answer.done():
            pending.answer.set_exception(error)
            pending.answer.exception()  # its waiters may be gone; that is no lost error

    def _report_timeout(self, budget_s: float) -> None:
        """A tier is ill if it kept a patient caller waiting; an impatient one proves nothing."""
        if budget_s >= self._config.patience_s:
            self._breaker.failed(self._clock())
        else:
            self._breaker.abandoned(self._clock())

    def _learn_pace(self, seconds: float, items: int) -> None:
        pace = seconds / items / max(1, len(self._calls))
        self._seconds_per_item += 0.1 * (pace - self._seconds_per_item)

    def _retry_after_s(self) -> int:
        return min(30, max(1, math.ceil(self._held * self._seconds_per_item)))


def _image_bytes(item: Item) -> int:
    return len(item.content or b"") if item.modality == "image" else 0


def _call(group: list[_Pending], budget_s: float) -> EncodeCall:
    images: list[bytes] = []
    texts: list[str] = []
    for pending in group:
        content = pending.item.content
        if isinstance(content, bytes):
            images.append(content)
        elif isinstance(content, str):
            texts.append(content)
    return EncodeCall(tuple(images), tuple(texts), budget_s)


def _results(group: list[_Pending], reply: EncodeReply, sent_at: float) -> list[Encoded | ApiError]:
    """What the reply says of each item; raises when it is no reply to this group."""
    failures = {failure.index: failure for failure in reply.failures}
    rows = reply.matrix()
    images = sum(pending.item.modality == "image" for pending in group)
    results: list[Encoded | ApiError] = []
    for index, (pending, row) in enumerate(zip(group, rows, strict=True)):
        if index in failures:
            failure = failures[index]
            results.append(_ITEM_ERRORS[failure.code](failure.message))
        else:
            tokens = reply.token_counts[index - images] if index >= images else 0
            queue_ms = (sent_at - pending.submitted_at) * 1e3
            results.append(Encoded(row, tokens, reply.revision, queue_ms))
    return results
