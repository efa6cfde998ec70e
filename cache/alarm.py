"""A timer that tells a slow peer from a slow event loop."""

import asyncio
import math
import time
from collections.abc import Callable

GRACE_S = 0.001


class Alarm:
    """Rings once when its time has come, and again only if it is set again. Belongs to one event loop.

    If the loop itself was late, what the alarm is about may lie in a socket, unread: the alarm then lets the loop
    read its sockets once before it rings.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[float], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None
        self.at = math.inf
        """When it will ring, on the monotonic clock; infinity while it is not set."""

    def set(self, at: float) -> None:
        """Ring at this time, and not at another that it was set to."""
        self.cancel()
        self.at = at
        self._plan(at, at + GRACE_S)

    def cancel(self) -> None:
        """Do not ring."""
        self.at = math.inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _plan(self, at: float, latest: float) -> None:
        # Loops round to a millisecond: with less than that to go they would turn idly until it is time.
        self._handle = self._loop.call_later(max(GRACE_S, at - time.monotonic()), self._wake, latest)

    def _wake(self, latest: float) -> None:
        now = time.monotonic()
        if now < self.at:
            self._plan(self.at, latest)
        elif now > latest:
            self._plan(now + GRACE_S, math.inf)
        else:
            self._handle = None
            self.at = math.inf
            self._ring(now)
