"""Notice that the wall clock was set back.

Serve counts the time between its health checks by the wall clock: set back by an hour, it makes none for an hour, and
what dies meanwhile is not replaced. Nothing of ours reads it.
"""

import time
from collections.abc import Callable

TOLERATED_S = 5.0
"""A smaller step delays Serve's checks by no more than this, and is not worth anything."""


class WallClock:
    """The wall clock beside the monotonic one, which is never set."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lead_s = wall() - monotonic()

    def was_set_back(self) -> bool:
        """Whether it was set back since this was asked last."""
        before, self._lead_s = self._lead_s, self._wall() - self._monotonic()
        return self._lead_s < before - TOLERATED_S
