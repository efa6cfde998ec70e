"""Group items of many callers into runs of one encoder.

An item waits only while the encoder is busy: what arrives meanwhile becomes the next run. So the wait is zero when
idle, and the batch size follows the load, up to what gives nearly all of the encoder's throughput (`BatchSize`).
Warm-up traffic yields to live traffic (`ClassShares`).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from tiers.batch_queue import Batch, BatchQueue
from tiers.encoder_slot import EncoderSlot
from tiers.errors import BadItem, TierError
from tiers.messages import FloatMatrix, TrafficClass
from tiers.moving_mean import MovingMean

logger = logging.getLogger(__name__)
Payload = TypeVar("Payload")
Row = np.ndarray[tuple[int], np.dtype[np.float32]]


@dataclass(slots=True)
class _Item(Generic[Payload]):
    payload: Payload
    deadline: float
    vector: asyncio.Future[Row]


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
        self._item_s = MovingMean()
        self._is_dying = False
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
    def item_s(self) -> float:
        """What an item has lately taken of the encoder, in seconds of all its threads."""
        return self._item_s.value

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
        async with asyncio.TaskGroup() as runs:
            while True:
                await self._arrived.wait()
                await self._slot.permits.acquire()
                if self._is_dying:
                    return
                batch = self._take(time.monotonic())
                if batch.items:
                    runs.create_task(self._run_batch(batch))
                else:
                    self._slot.permits.release()
                await asyncio.sleep(0)  # the run takes its place; where nothing was due it is another queue's turn

    async def _run_batch(self, batch: Batch[_Item[Payload]]) -> None:
        """Encode a batch on the permit that was acquired for it."""
        is_alone = len(batch.items) == 1 and not self._slot.shares.anything_waits
        share = self._slot.share_of_threads(is_alone=is_alone)
        began = time.monotonic()
        try:
            await self._encode_or_split(batch.items, share)
        except BaseException:
            self._is_dying = True  # so that the loop takes no more before it ends
            raise
        finally:
            self._slot.permits.release()
        ended = time.monotonic()
        self._run_s.add(ended - began)
        self._item_s.add((ended - began) * share / len(batch.items))
        # By what a run takes of all threads, so that runs on some and on all of them can be compared.
        self._waiting.ran(batch, (ended - began) * share, ended)

    def _take(self, now: float) -> Batch[_Item[Payload]]:
        self._moved_at = now
        batch = self._waiting.take(now, lambda item: _is_wanted(item, now), parts=self._slot.free_streams)
        if not self._waiting:
            self._arrived.clear()
        return batch

    async def _encode_or_split(self, batch: list[_Item[Payload]], share: float) -> None:
        """Encode a batch; a batch that fails is halved until the items that make it fail stand alone."""
        parts = [batch]
        while parts:
            part = parts.pop()
            try:
                _deliver(part, await self._slot.run(self._encode, [item.payload for item in part], share))
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
