"""Send misses to one tier: admitted by count, gathered into calls, behind a breaker. Callers get a future an item.

Calls are owned here and not by the requests that wait for them: a request that gives up cancels nobody else's work.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from router.admission import Admission, Submission
from router.breaker import CircuitBreaker
from router.config import RouterConfig
from router.deadline import Deadline
from router.errors import ApiError, DeadlineExceeded, InternalError, Overloaded, RouterError, Unavailable
from router.items import Item
from router.lane import Lane
from router.tier_queue import Pending, TierQueue
from router.tier_reply import Encoded, call_for, read_reply
from tiers.messages import EncodeCall, EncodeReply, ModelDescription, TrafficClass

logger = logging.getLogger(__name__)
REPLICA_SEEN_S = 10.0
WARM_UP_CALLS = 2


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


@dataclass(slots=True)
class TierCounts:
    """What went to a tier since the router began: items, and calls by how they ended."""

    items: int = 0
    calls: int = 0
    shed: int = 0
    timed_out: int = 0
    unreachable: int = 0
    abandoned: int = 0
    refused: int = 0


class TierCalls:
    """The misses of one router on their way to one tier."""

    def __init__(
        self,
        handle: TierHandle,
        breaker: CircuitBreaker,
        admission: Admission,
        config: RouterConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handle = handle
        self._breaker = breaker
        self._admission = admission
        self._patience_s = config.patience_s
        self._clock = clock

        def lane(traffic: TrafficClass, at_once: int, most: int) -> Lane:
            return Lane(traffic, TierQueue(config.items_per_call, config.bytes_per_call), at_once, most)

        most = max(config.calls_in_flight, config.max_calls_in_flight)
        self._single = lane("live", config.calls_in_flight, most)
        # A call is answered as a whole: who asks for little does not wait for the rest of somebody's long list.
        self._lists = lane("live", max(1, config.calls_in_flight // 2), most)
        # Two, so that the encoder's next run is there when one ends; they yield to live items at the replica.
        self._warm_up = lane("warm_up", WARM_UP_CALLS, WARM_UP_CALLS)
        self._pump_is_due = self._is_timed = False
        self._seen: dict[str, float] = {}
        self._counts = TierCounts()
        self._image_ms: float | None = None

    @property
    def image_ms(self) -> float | None:
        """The encoder's time that an image has lately taken, in milliseconds; None before one has been embedded."""
        return self._image_ms

    @property
    def counts(self) -> TierCounts:
        """A copy of the counters."""
        return replace(self._counts)

    @property
    def admission(self) -> Admission:
        """What is held for the tier, and how much may be."""
        return self._admission

    @property
    def breaker(self) -> CircuitBreaker:
        """The breaker before this tier."""
        return self._breaker

    def submit(
        self, items: Sequence[Item], deadline: Deadline, traffic: TrafficClass = "live"
    ) -> list[asyncio.Future[Encoded]]:
        """Queue items that have content; each future ends with an embedding or an `ApiError`.

        A future that is cancelled gives its item up: if it waits it is not sent, and a call of which all items were
        given up is cancelled.

        Raises:
            Overloaded: More is held than the limits allow.
            Unavailable: The breaker is open.
        """
        now = self._clock()
        if not items:
            return []
        try:
            submission = self._admission.admit([item.modality for item in items], traffic, deadline.left_s(now))
        except Overloaded:
            self._counts.refused += len(items)
            raise
        if not self._breaker.allow(now):
            for item in items:
                self._admission.finished(submission, item.modality)
            raise Unavailable("the tier is not answering", retry_after_s=1)
        loop = asyncio.get_running_loop()
        seen: set[str] = set()
        pending: list[Pending] = []
        for item in items:
            is_first = item.modality not in seen
            seen.add(item.modality)
            pending.append(Pending(item, deadline, now, submission, loop.create_future(), is_first))
        self._lane_for(submission).queue.put(pending)
        self._pump_soon()
        return [one.answer for one in pending]

    async def describe(self, timeout_s: float) -> ModelDescription:
        """Describe the tier's model; raises as the handle does."""
        return await self._handle.describe(timeout_s)

    async def probe(self, call: EncodeCall, timeout_s: float) -> EncodeReply:
        """Send one call past queue and breaker: the readiness check's real inference."""
        return await self._handle.encode(call, timeout_s)

    async def close(self) -> None:
        """Cancel what is in flight and fail what waits."""
        for lane in self._lanes:  # queues first, so that a call which ends makes no new one of them
            self._fail_all(lane.queue.drain(), Unavailable("the service is stopping"))
        await asyncio.sleep(0)  # those that were just made take their first step, and can account for their end
        calls = [call for lane in self._lanes for call in lane.calls]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    @property
    def _lanes(self) -> tuple[Lane, ...]:
        return (self._single, self._lists, self._warm_up)

    def _lane_for(self, submission: Submission) -> Lane:
        if submission.traffic == "warm_up":
            return self._warm_up
        return self._lists if submission.is_list else self._single

    def _pump_soon(self) -> None:
        """One turn later, so that requests of the same turn share a call."""
        if not self._pump_is_due:
            self._pump_is_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump_later(self, wait_s: float) -> None:
        if not self._is_timed:
            self._is_timed = True
            asyncio.get_running_loop().call_later(wait_s, self._pump_in_time)

    def _pump_in_time(self) -> None:
        self._is_timed = False
        self._pump()

    def _pump(self) -> None:
        self._pump_is_due = False
        for lane in self._lanes:
            while lane.queue and (wait_s := lane.wait_s(self._replicas(), self._clock())) is not None:
                if wait_s:
                    self._pump_later(wait_s)
                    break
                group = lane.queue.take(self._is_wanted)
                if group:
                    self._begin(lane, group)

    def _replicas(self) -> int:
        """How many replicas have answered lately: as many times more calls can be under way."""
        seen_since = self._clock() - REPLICA_SEEN_S
        return max(1, sum(seen_at >= seen_since for seen_at in self._seen.values()))

    def _begin(self, lane: Lane, group: list[Pending]) -> None:
        # Images first, then texts: the order of a call's items and of its reply's rows.
        group.sort(key=lambda pending: pending.item.modality != "image")
        task = asyncio.create_task(self._send(group, lane.traffic))
        lane.calls.add(task)
        lane.sent_at = self._clock()
        waited_for = len(group)

        def given_up(answer: asyncio.Future[Encoded]) -> None:
            nonlocal waited_for
            if answer.cancelled():
                waited_for -= 1
                if not waited_for:
                    # A turn later: a task that is cancelled before its first step would account for nothing.
                    task.get_loop().call_soon(task.cancel)

        def ended(_: asyncio.Task[None]) -> None:
            lane.calls.discard(task)
            self._pump()

        for pending in group:
            pending.answer.add_done_callback(given_up)
        task.add_done_callback(ended)

    def _is_wanted(self, pending: Pending) -> bool:
        """Whether to send an item that has waited; one that is late, or that nobody waits for, ends here."""
        now = self._clock()
        if pending.answer.cancelled():
            self._counts.abandoned += 1
        elif not pending.deadline.is_past(now):
            return True
        self._breaker.abandoned(now)  # if it was the probe, another may go
        self._fail(pending, DeadlineExceeded("the deadline passed while waiting for the tier"))
        return False

    async def _send(self, group: list[Pending], traffic: TrafficClass) -> None:
        sent_at = self._clock()
        try:
            reply = await self._encode_with_one_retry(group, traffic)
            waited_ms = [(sent_at - pending.submitted_at) * 1e3 for pending in group]
            results = read_reply([pending.item for pending in group], waited_ms, reply)
        except asyncio.CancelledError:
            self._breaker.abandoned(self._clock())
            self._counts.abandoned += sum(pending.answer.cancelled() for pending in group)
            self._fail_all(group, Unavailable("the service is stopping"))
            raise
        except Exception as error:  # noqa: BLE001 - supervisor of the call: its waiters must hear of any fault
            self._fail_all(group, self._account_for(error, group, traffic, sent_at))
        else:
            self._breaker.succeeded(self._clock(), took_s=self._clock() - sent_at)
            self._learn(group, reply, sent_at)
            self._deliver(group, results)

    def _account_for(self, error: Exception, group: list[Pending], traffic: TrafficClass, sent_at: float) -> ApiError:
        """Report a failed call to breaker, limits and counters; what its callers are told."""
        now = self._clock()
        modalities = [pending.item.modality for pending in group]
        match error:
            case TierShed():
                self._counts.shed += 1
                self._breaker.abandoned(now)
                if traffic == "warm_up":  # it has bounds of its own: that says nothing of what live traffic may do
                    self._warm_up.shed(now)
                else:
                    self._admission.refused_by_tier(modalities)
                return Overloaded("the tier is shedding load", retry_after_s=self._admission.retry_after_s())
            case TimeoutError():
                self._counts.timed_out += 1
                self._report_timeout(max(pending.deadline.left_s(sent_at) for pending in group), now)
                self._admission.refused_by_tier(modalities)
                return DeadlineExceeded("the tier did not answer before the deadline")
            case TierUnreachable():
                self._counts.unreachable += 1
                self._breaker.failed(now)
                return Unavailable("the tier is not answering", retry_after_s=1)
            case _:
                logger.error("a call to a tier failed", exc_info=error)
                self._breaker.failed(now)
                return InternalError()

    async def _encode_with_one_retry(self, group: list[Pending], traffic: TrafficClass) -> EncodeReply:
        try:
            return await self._encode(group, traffic)
        except TierUnreachable:
            # Encoding is idempotent, and a replica that died takes what was in flight on it along.
            return await self._encode(group, traffic)

    async def _encode(self, group: list[Pending], traffic: TrafficClass) -> EncodeReply:
        self._counts.calls += 1
        self._counts.items += len(group)
        budget_s = max(pending.deadline.left_s(self._clock()) for pending in group)
        if budget_s <= 0:
            raise TimeoutError
        return await self._handle.encode(call_for([one.item for one in group], budget_s, traffic), budget_s)

    def _learn(self, group: list[Pending], reply: EncodeReply, sent_at: float) -> None:
        now = self._clock()
        self._image_ms = reply.image_ms or self._image_ms
        if reply.replica not in self._seen:  # a new one has come, and old ones may have gone
            self._seen = {name: at for name, at in self._seen.items() if at >= now - REPLICA_SEEN_S}
        self._seen[reply.replica] = now
        under_way = sum(len(lane.calls) for lane in self._lanes)
        self._admission.learn_pace((now - sent_at) / len(group) / max(1, under_way))
        for pending in group:
            if pending.is_first:
                self._admission.answered(
                    pending.submission,
                    pending.item.modality,
                    latency_s=now - pending.submitted_at,
                    service_s=reply.service_ms / 1e3,
                    now=now,
                )

    def _deliver(self, group: list[Pending], results: list[Encoded | ApiError]) -> None:
        for pending, result in zip(group, results, strict=True):
            if isinstance(result, ApiError):
                self._fail(pending, result)
                continue
            self._admission.finished(pending.submission, pending.item.modality)
            if not pending.answer.done():
                pending.answer.set_result(result)

    def _fail_all(self, group: Iterable[Pending], error: ApiError) -> None:
        for pending in group:
            self._fail(pending, error)

    def _fail(self, pending: Pending, error: ApiError) -> None:
        self._admission.finished(pending.submission, pending.item.modality)
        if not pending.answer.done():
            pending.answer.set_exception(error)
            pending.answer.exception()  # its waiters may be gone; that is no lost error

    def _report_timeout(self, budget_s: float, now: float) -> None:
        """A tier is ill if it kept a patient caller waiting; an impatient one proves nothing."""
        if budget_s >= self._patience_s:
            self._breaker.failed(now)
        else:
            self._breaker.abandoned(now)
