"""Items that may share calls to a tier, and when their next call goes. The clock is an argument."""

import asyncio
from dataclasses import dataclass, field

from router.tier_queue import TierQueue
from tiers.messages import TrafficClass

# Beyond those that go at once, calls are this far apart: a call costs the router 1.5 ms, whatever it carries.
PACE_S = 0.01
# For so long after a replica had no room for a call of this lane, the lane has one under way at a time.
ALONE_S = 30.0


@dataclass(slots=True)
class Lane:
    """What waits, and the calls under way.

    For each replica `at_once` calls go as soon as there is something to send, and up to `most` at a pace; but only one
    for a while after a call was shed.
    """

    traffic: TrafficClass
    queue: TierQueue
    at_once: int
    most: int
    calls: set[asyncio.Task[None]] = field(default_factory=set)
    sent_at: float = float("-inf")
    alone_until: float = float("-inf")

    def shed(self, now: float) -> None:
        """Learn that a replica had no room: several routers share it."""
        self.alone_until = now + ALONE_S

    def wait_s(self, replicas: int, now: float) -> float | None:
        """Seconds until a call may go, 0 for now; None: not before one of those under way has ended."""
        under_way = len(self.calls)
        at_once, most = (1, 1) if now < self.alone_until else (self.at_once, self.most)
        if under_way < at_once * replicas:
            return 0.0
        if under_way >= most * replicas:
            return None
        return max(0.0, self.sent_at + PACE_S - now)
