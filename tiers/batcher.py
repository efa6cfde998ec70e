"""Group items of many callers into runs of one encoder.

An item waits only while the encoder is busy: what arrives meanwhile becomes the next run. So the wait is zero when
idle, and the batch size follows the load, up to what gives nearly all of the encoder's throughput (`BatchSize`).
Warm-up traffic yields to live traffic (`ClassShares`).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from tiers.batch_queue import Batch, BatchQueue
from tiers.class_shares import ClassShares
from tiers.errors import BadItem, TierError
from tiers.messages import FloatMatrix, TrafficClass
from tiers.moving_mean import MovingMean

logger = logging.getLogger(__name__)
Payload = TypeVar("Payload")
DEFAULT_WARM_UP_SHARE = 0.1
Row = np.ndarray[tuple[int], np.dtype[np.float32]]


@dataclass(slots=True)
class _Item(Generic[Payload]):
    payload: Payload
    deadline: float
    vector: asyncio.Future[Row]


@dataclass(slots=True)
class EncoderSlot:
    """The one encoder of a replica: its thread, the lock that lets one modality at a time run on it, its shares."""

    thread: Executor
    shares: ClassShares = field(default_factory=lambda: ClassShares(DEFAULT_WARM_UP_SHARE))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    running_since: float | None = None

    async def run(self, encode: Callable[[Sequence[Payload]], FloatMatrix], payloads: Sequence[Payload]) -> FloatMatrix:
        """Encode on the thread, noting when it began. Hold `lock` before."""
        self.running_since = time.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(self.thread, encode, payloads)
        finally:
            self.running_since = None


class Batcher(Generic[Payload]):
    """Queue of one modality's items before the encoder."""

    def __init__(
        self,
        encode: Callable[[Sequence[Payload]], FloatMatrix],
        slot: EncoderSlot,
        *,
        max_items: int,
    ) -> None:
        self._encode = encode
        self._slot = slot
        self._waiting: BatchQueue[_Item[Payload]] = BatchQueue(max_items, slot.shares)
        self._moved_at = time.monotonic()
        self._run_s = MovingMean()
        self._arrived = asyncio.Event()
        self._loop = asyncio.create_task(self._run())
        self._loop.add_done_callback(self._fail_all)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def run_s(self) -> float:
        """What a batch has lately taken on the encoder, in seconds."""
        return self._run_s.value

    @property
    def is_alive(self) -> bool:
        """Whether the loop that serves this queue still runs."""
        return not self._loop.done()

    def is_stuck(self, now: float, limit_s: float) -> bool:
        """Whether items have waited for longer than `limit_s` seconds without a batch being taken."""
        return len(self._waiting) > 0 and now - self._moved_at > limit_s

    def submit(
        self, payload: Payload, deadline: float, traffic: TrafficClass = "live", source: Hashable = None
    ) -> asyncio.Future[Row]:
        """Queue one item; its vector comes later, or `BadItem`. Sources, which are calls, take turns.

        `deadline` is on the monotonic clock.
        """
        vector: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        if self._loop.done():
            vector.set_exception(TierError("the batching loop has ended"))
            return vector
        if not self._waiting:
            self._moved_at = time.monotonic()
        self._waiting.put(_Item(payload, deadline, vector), traffic, source)
        self._arrived.set()
        return vector

    def close(self) -> None:
        """Stop the loop and fail what still waits."""
        self._loop.cancel()

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            async with self._slot.lock:
                batch = self._take(time.monotonic())
                if batch.items:
                    began = time.monotonic()
                    await self._encode_or_split(batch.items)
                    ended = time.monotonic()
                    self._run_s.add(ended - began)
                    self._waiting.ran(batch, ended - began, ended)
            await asyncio.sleep(0)  # where nothing was due here, it is another queue's turn

    def _take(self, now: float) -> Batch[_Item[Payload]]:
        self._moved_at = now
        batch = self._waiting.take(now, lambda item: _is_wanted(item, now))
        if not self._waiting:
            self._arrived.clear()
        return batch

    async def _encode_or_split(self, batch: list[_Item[Payload]]) -> None:
        """Encode a batch; a batch that fails is halved until the items that make it fail stand alone."""
        parts = [batch]
        while parts:
            part = parts.pop()
            try:
                _deliver(part, await self._slot.run(self._encode, [item.payload for item in part]))
            except Exception as error:  # noqa: BLE001 - the encoder's faults are any; the items' owners are told
                parts += _halve_or_fail(part, error)
            except BaseException:
                for unfinished in (part, *parts):  # the loop ends here, and `_fail_all` tells who waits
                    for item in unfinished:
                        self._waiting.put(item, "live", None)
                raise

    def _fail_all(self, loop: asyncio.Task[None]) -> None:
        if not loop.cancelled():
            logger.error("batching loop ended", exc_info=loop.exception())
        for item in self._waiting.drain():
            _fail(item, TierError("the batching loop has ended"))


def _is_wanted(item: _Item[Payload], now: float) -> bool:
    """Whether somebody still waits for the item; one whose time is up is told so."""
    if item.vector.done():
        return False
    if item.deadline <= now:
        item.vector.set_exception(BadItem("expired", "deadline passed before encoding"))
        return False
    return True


def _halve_or_fail(part: list[_Item[Payload]], error: Exception) -> list[list[_Item[Payload]]]:
    """What to try next, the last one first."""
    if len(part) == 1:
        logger.warning("encoder refused an item: %s", type(error).__name__)
        _fail(part[0], BadItem("internal", "the encoder failed on this item"))
        return []
    middle = len(part) // 2
    return [part[middle:], part[:middle]]


def _deliver(batch: list[_Item[Payload]], rows: FloatMatrix) -> None:
    if len(rows) != len(batch):
        raise ValueError(f"{len(rows)} rows for {len(batch)} items")
    finite: list[bool] = np.isfinite(rows).all(axis=1).tolist()  # type: ignore[assignment]
    for item, row, is_finite in zip(batch, rows, finite, strict=True):
        if not is_finite:
            _fail(item, BadItem("bad_image", "the model gives no finite embedding for this item"))
        elif not item.vector.done():
            item.vector.set_result(row)


def _fail(item: _Item[Payload], error: Exception) -> None:
    if not item.vector.done():
        item.vector.set_exception(error)
