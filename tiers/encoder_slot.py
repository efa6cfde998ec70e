"""The encoder of a replica as its queues see it: how many runs it takes at once, and on how many threads each."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from tiers.class_shares import ClassShares
from tiers.messages import FloatMatrix

Payload = TypeVar("Payload")
DEFAULT_WARM_UP_SHARE = 0.1


class EncoderSlot:
    """Runs batches of all modalities, `streams` at the same time, each on its part of the threads.

    Two runs on half of the threads each lose less than one on all of them when something else needs a core: threads of
    one run wait for each other at every operation, those of two runs don't. A single item with nothing beside it gets
    all threads.

    Args:
        executor: With a thread for each stream.
        shares: What each class of traffic gets; queues share them.
        streams: Runs at the same time.
        threads: Of all streams together.
        use_threads: Called on the run's thread with the number it may use; None where the engine knows.
    """

    def __init__(
        self,
        executor: Executor,
        shares: ClassShares | None = None,
        *,
        streams: int = 1,
        threads: int = 1,
        use_threads: Callable[[int], None] | None = None,
    ) -> None:
        self.shares = shares or ClassShares(DEFAULT_WARM_UP_SHARE)
        self.permits = asyncio.Semaphore(streams)
        """One for each run; to hold all of them keeps the encoder idle."""
        self._executor = executor
        self._streams = streams
        self._threads = threads
        self._use_threads = use_threads
        self._numbers = itertools.count()
        self._since: dict[int, float] = {}

    @property
    def running_since(self) -> float | None:
        """When the oldest of the present runs began, on the monotonic clock."""
        return min(self._since.values(), default=None)

    @property
    def free_streams(self) -> int:
        """How many more runs could begin."""
        return max(1, self._streams - len(self._since))

    def share_of_threads(self, *, is_alone: bool) -> float:
        """Part of all threads that a run gets which begins now; `is_alone`: one item, and nothing waits behind it."""
        return 1.0 if self._streams == 1 or (is_alone and not self._since) else 1 / self._streams

    async def run(
        self, encode: Callable[[Sequence[Payload]], FloatMatrix], payloads: Sequence[Payload], share: float = 1.0
    ) -> FloatMatrix:
        """Encode on a thread of the executor, noting when it began. Hold a permit before."""
        number = next(self._numbers)
        self._since[number] = time.monotonic()
        threads = max(1, int(self._threads * share))

        def encode_on_threads() -> FloatMatrix:
            if self._use_threads is not None:
                self._use_threads(threads)
            return encode(payloads)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, encode_on_threads)
        finally:
            del self._since[number]
