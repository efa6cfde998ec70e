"""The audit: of items drawn by lot the other tier's answer too, in the background, at warm-up's priority.

Lots are drawn whatever was decided, and before anybody looks whether the other tier has time. One that is not answered
is recorded as lost and not drawn again, so that a report can say what it does not know. Lost are only items that one
tier has answered, and those that both have are another kind: they took a second look. So of these as many are left
out, by lot, or what is left would show too few errors whenever the other tier is busy.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from router.agreement import agree
from router.audit_record import AuditRecord, Loss
from router.comparison import Comparison
from router.completion import complete
from router.deadline import Deadline
from router.embedder import Embedder
from router.errors import ApiError, DeadlineExceeded, Overloaded, Unavailable, UnknownKey
from router.lot import Lot
from router.outcome import Decision, Question
from router.policy_in_force import Bar

logger = logging.getLogger(__name__)
MAX_WAITING = 256
MAX_WAITING_BYTES = 32 * 2**20
AT_ONCE = 4
PATIENCE_S = 30.0
LOSS_WEIGHT = 0.02
"""Of one audit in the share that is lost: the last hundred or so count."""
_LOSSES: dict[type[ApiError], Loss] = {
    Overloaded: "shed",
    DeadlineExceeded: "timeout",
    Unavailable: "unavailable",
    UnknownKey: "unknown_key",
}


class Seen(NamedTuple):
    """A drawn item as it was served. `first` is the fast tier's decision, where it was asked."""

    question: Question
    image: int
    policy: str
    models: tuple[str | None, str | None]
    bar: Bar
    share: float
    served: Decision
    first: Decision | None

    @property
    def bytes(self) -> int:
        """What it keeps in memory while it waits: its own image and texts."""
        items = (self.question.images[self.image], *self.question.texts)
        return sum(len(item.content or "") for item in items)


class Recorder(Protocol):
    """Where records go."""

    def add(self, record: AuditRecord) -> None:
        """Take one; never waits."""
        ...


class Auditor:
    """Audits for one router."""

    def __init__(
        self,
        fast: Embedder,
        accurate: Embedder,
        log: Recorder,
        *,
        lot: Lot | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._fast = fast
        self._accurate = accurate
        self._log = log
        self._lot = lot or Lot()
        self._clock = clock
        self._wall_clock = wall_clock
        self._waiting: deque[Seen] = deque()
        self._waiting_bytes = 0
        self._lost_share = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    def draw(self, count: int, share: float) -> Sequence[int]:
        """Return which of `count` decided items are audited."""
        return self._lot.draw(count, share)

    def add(self, seen: Seen) -> None:
        """Take a drawn item: recorded at once where both tiers have answered, else when the other has."""
        if seen.first is not None and seen.served.tier == "accurate":
            if self._lot.falls(self._lost_share):
                self._record_loss(seen, "balance")
            else:
                self._record(seen, seen.first, seen.served)
        elif len(self._waiting) >= MAX_WAITING or self._waiting_bytes + seen.bytes > MAX_WAITING_BYTES:
            self._lose(seen, "busy")
        else:
            self._waiting.append(_alone(seen))
            self._waiting_bytes += seen.bytes
            self._begin()

    async def close(self) -> None:
        """Stop; what waits or is under way is recorded as lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for seen in self._waiting:
            self._record_loss(seen, "busy")
        self._waiting.clear()

    def _begin(self) -> None:
        if len(self._tasks) < AT_ONCE:
            task = asyncio.create_task(self._work(), name="audit")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        while self._waiting:
            seen = self._waiting.popleft()
            self._waiting_bytes -= seen.bytes
            try:
                await self._audit(seen)
            except asyncio.CancelledError:
                self._record_loss(seen, "busy")
                raise
            except Exception:  # supervisor of the audit: a fault in one must not end all others
                logger.exception("an audit failed")
                self._lose(seen, "failed")

    async def _audit(self, seen: Seen) -> None:
        asked = [
            (self._fast, seen.models[0], seen.first),
            (self._accurate, seen.models[1], seen.served if seen.served.tier == "accurate" else None),
        ]
        decisions: list[Decision] = []
        for embedder, model, known in asked:
            decision = known or await self._ask(embedder, model, seen)
            if not isinstance(decision, Decision):
                self._lose(seen, decision)
                return
            decisions.append(decision)
        self._lost_share -= LOSS_WEIGHT * self._lost_share
        self._record(seen, *decisions)

    async def _ask(self, embedder: Embedder, model: str | None, seen: Seen) -> Decision | Loss:
        if embedder.full_name != model:
            return "model_changed"
        question = seen.question
        comparison = Comparison(question.images, question.texts)
        await complete(embedder, comparison, (0,), Deadline(self._clock() + PATIENCE_S), "warm_up")
        error = comparison.error_for(0, seen.served.columns)
        if error is not None:
            return _LOSSES.get(type(error), "failed")
        verdict = comparison.judge(0, question.threshold)
        return seen.served._replace(verdict=verdict, columns=comparison.columns)

    def _record(self, seen: Seen, fast: Decision, accurate: Decision) -> None:
        agrees = agree(fast, accurate, seen.question.threshold)
        if agrees is None:
            self._record_loss(seen, "failed")
            return
        verdict = fast.verdict
        record = self._begin_record(seen)
        self._log.add(record._replace(margin=verdict.margin, confidence=verdict.confidence, agrees=agrees))

    def _lose(self, seen: Seen, loss: Loss) -> None:
        self._lost_share += LOSS_WEIGHT * (1.0 - self._lost_share)
        self._record_loss(seen, loss)

    def _record_loss(self, seen: Seen, loss: Loss) -> None:
        self._log.add(self._begin_record(seen)._replace(lost=loss))

    def _begin_record(self, seen: Seen) -> AuditRecord:
        fast_model, accurate_model = seen.models
        return AuditRecord(
            at=self._wall_clock(),
            group=seen.question.group,
            policy=seen.policy,
            certificate=seen.bar.certificate,
            target=seen.bar.target,
            fast_model=fast_model or "",
            accurate_model=accurate_model or "",
            threshold=seen.bar.threshold,
            share=seen.share,
            served=seen.served.tier,
            escalated=seen.served.escalated,
            degraded=seen.served.degraded,
        )


def _alone(seen: Seen) -> Seen:
    """The item without the other images of its request, which need not wait in memory with it."""
    question = seen.question
    return seen._replace(question=question._replace(images=(question.images[seen.image],)), image=0)
