"""Readiness: the data plane has just answered a real inference, not merely a ping."""

import asyncio
import struct
import time
import zlib
from collections.abc import Callable

from router.embedder import Embedder
from router.errors import Unavailable
from router.tier_calls import TierShed, TierUnreachable
from tiers.messages import EncodeCall

PROBE_TIMEOUT_S = 5.0
# A probe's success stands for this long, so that a flood of readiness checks costs nothing.
FRESH_S = 1.0


class Readiness:
    """Probes the tiers past the cache.

    At first both have to answer; afterwards a lost accurate tier degrades answers but does not stop them, so
    only the fast one is asked.
    """

    def __init__(self, fast: Embedder, accurate: Embedder, clock: Callable[[], float] = time.monotonic) -> None:
        self._fast = fast
        self._accurate = accurate
        self._clock = clock
        self._was_complete = False
        self._good_until = float("-inf")
        self._probing: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Return when the data plane answers.

        Raises:
            Unavailable: It does not.
        """
        if self._clock() < self._good_until:
            return
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe_tiers(), name="readiness")
        await asyncio.shield(self._probing)  # all who ask meanwhile share one probe, and none of them cancels it

    async def _probe_tiers(self) -> None:
        tiers = [self._fast] if self._was_complete else [self._fast, self._accurate]
        await asyncio.gather(*(_probe(tier) for tier in tiers))
        self._was_complete = True
        self._good_until = self._clock() + FRESH_S


async def _probe(tier: Embedder) -> None:
    model = tier.description
    if model is None:
        raise Unavailable("a tier has not come up yet", retry_after_s=1)
    call = EncodeCall((_grey_png(32),), ("a grey picture",), PROBE_TIMEOUT_S)
    try:
        reply = await tier.calls.probe(call, PROBE_TIMEOUT_S)
    except TierShed:
        return  # a tier that sheds is busy answering
    except (TierUnreachable, TimeoutError) as error:
        raise Unavailable("a tier does not answer", retry_after_s=1) from error
    if reply.failures:
        raise Unavailable("a tier can't embed the probe", retry_after_s=1)


def _grey_png(side_px: int) -> bytes:
    rows = b"".join(b"\x00" + b"\x80" * side_px for _ in range(side_px))
    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
