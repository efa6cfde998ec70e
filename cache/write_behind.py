"""The queue between answers and the shared store: vectors are written behind, in batches, or dropped."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache.codec import Codec
from cache.store import Store

_log = logging.getLogger(__name__)

FLUSH_ITEMS = 256
FLUSH_EVERY_S = 0.002


class Entry(NamedTuple):
    """An answer: the storage key, a float32[dim] vector, its input's length in bytes, and its token count."""

    key: bytes
    vector: NDArray[np.float32]
    input_length: int
    token_count: int = 0


class WriteBehind:
    """Writes entries to a store in a background task. Belongs to the event loop it is made in."""

    def __init__(self, shared: Store, codec: Codec, max_items: int) -> None:
        self.written = self.dropped = 0
        self._shared = shared
        self._codec = codec
        self._max_items = max_items
        self._queue: deque[Entry] = deque()
        self._has_work = asyncio.Event()
        self._is_flushed = asyncio.Event()
        self._is_flushed.set()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="cache-writer")
        self._task.add_done_callback(_log_end)

    def put(self, entries: Sequence[Entry]) -> None:
        """Queue entries; what there is no room for is dropped. Never waits."""
        room = 0 if self._task.done() else self._max_items - len(self._queue)
        self._queue.extend(entries[:room])
        self.dropped += max(0, len(entries) - room)
        if self._queue:
            self._is_flushed.clear()
            self._has_work.set()

    @property
    def is_alive(self) -> bool:
        """Whether the background task still runs."""
        return not self._task.done()

    @property
    def queued(self) -> int:
        """Entries that wait to be written."""
        return len(self._queue)

    async def flush(self, timeout_s: float) -> bool:
        """Wait until the store was given what was put; False when that took too long."""
        flushed = asyncio.ensure_future(self._is_flushed.wait())
        await asyncio.wait([flushed, self._task], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        flushed.cancel()
        return self._is_flushed.is_set()

    async def close(self, timeout_s: float) -> None:
        """Flush for at most `timeout_s` seconds, then stop the background task and drop what is left."""
        await self.flush(timeout_s)
        self._task.cancel()
        await asyncio.wait([self._task])
        self.dropped += len(self._queue)
        self._queue.clear()

    async def _run(self) -> None:
        while True:
            if not self._queue:
                self._is_flushed.set()
                self._has_work.clear()
                await self._has_work.wait()
            if len(self._queue) < FLUSH_ITEMS:
                await asyncio.sleep(FLUSH_EVERY_S)
            batch = [self._queue.popleft() for _ in range(min(FLUSH_ITEMS, len(self._queue)))]
            await self._shared.put_many(self._encode(batch))
            self.written += len(batch)

    def _encode(self, batch: Sequence[Entry]) -> list[tuple[bytes, bytes]]:
        keys, vectors, lengths, counts = zip(*batch, strict=True)
        values = self._codec.encode_many(keys, vectors, lengths, counts)
        encoded = [(key, value) for key, value in zip(keys, values, strict=True) if value is not None]
        self.dropped += len(batch) - len(encoded)
        return encoded


def _log_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("cache: the write-behind task died; vectors are no longer shared", exc_info=task.exception())
