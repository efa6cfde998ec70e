"""Items that may share calls to a tier, and when their next call goes. The clock is an argument."""

import asyncio
from dataclasses import dataclass, field

from router.tier_queue import TierQueue
from tiers.messages import TrafficClass

# Beyond those that go at once, calls are this far apart: a call costs the router 1.5 ms, whatever it carries.
PACE_S = 0.01


@dataclass(slots=True)
class Lane:
    """What waits, and the calls under way.

    For each replica `at_once` calls go as soon as there is something to send, and up to `most` at a pace.
    """

    traffic: TrafficClass
    queue: TierQueue
    at_once: int
    most: int
    calls: set[asyncio.Task[None]] = field(default_factory=set)
    sent_at: float = float("-inf")

    def wait_s(self, replicas: int, now: float) -> float | None:
        """Seconds until a call may go, 0 for now; None: not before one of those under way has ended."""
        under_way = len(self.calls)
        if under_way < self.at_once * replicas:
            return 0.0
        if under_way >= self.most * replicas:
            return None
        return max(0.0, self.sent_at + PACE_S - now)
