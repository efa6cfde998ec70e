"""A canary: now and then the model is asked what it was asked when it was loaded, and must give the same answer."""

import asyncio
import logging
import time
from collections.abc import Callable

import numpy as np

from tiers.config import HealthConfig
from tiers.encoder_slot import EncoderSlot
from tiers.errors import TierError
from tiers.messages import FloatMatrix

logger = logging.getLogger(__name__)
# Of the same batch, on the same machine, by the same engine. Rounding differs by 1e-6 at most; a bit that flipped in a
# weight that matters does not.
LEAST_COSINE = 0.999


class Canary:
    """Asks the model a known question, ahead of what waits in its queues, and keeps whether the answer was right.

    `ask` encodes the same picture and text each time: float32, shape (2, dimension), unit length. It is called once
    here, for the answer that the others are compared with, and then on the encoder's thread.
    """

    def __init__(self, ask: Callable[[], FloatMatrix], slot: EncoderSlot, config: HealthConfig) -> None:
        self._ask = ask
        self._slot = slot
        self._config = config
        self._known = ask()
        self._asked_at: float | None = None
        self._fault: str | None = None
        self._loop: asyncio.Task[None] | None = None

    def check(self, now: float) -> None:
        """Begin to ask now and then, if that has not begun.

        Raises:
            TierError: The last answer was wrong, or there has been none for too long.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop().create_task(self._run(), name="canary")
        if self._fault is not None:
            raise TierError(self._fault)
        if self._loop.done():
            raise TierError("the canary has ended")
        if self._asked_at is not None and now - self._asked_at > self._config.max_run_s:
            raise TierError("the model has not answered the canary in time")

    def close(self) -> None:
        """Stop asking."""
        if self._loop is not None:
            self._loop.cancel()

    async def _run(self) -> None:
        while True:
            self._asked_at = time.monotonic()
            async with self._slot.permits:
                self._fault = await self._compare()
            self._asked_at = None
            await asyncio.sleep(self._config.canary_period_s)

    async def _compare(self) -> str | None:
        try:
            answer = await self._slot.run(lambda _: self._ask(), ())
        except Exception:  # whatever the model's fault is, the replica is to be replaced
            logger.exception("the canary failed")
            return "the model fails on the canary"
        cosine = float((answer * self._known).sum(axis=1).min())
        if not np.isfinite(cosine) or cosine < LEAST_COSINE:
            return f"the model's answer to the canary has drifted (cosine {cosine:.4f})"
        return None


def check_free_memory(free_share: float | None, least_share: float) -> None:
    """Fail when too little of a device's memory is free; `free_share` is None where it has none of its own.

    Raises:
        TierError: The next batch might not fit.
    """
    if free_share is not None and free_share < least_share:
        raise TierError(f"only {free_share:.1%} of the device's memory is free")
