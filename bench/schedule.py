"""When requests are meant to be sent: at a fixed rate, whatever the service does."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Arrivals at a fixed rate. Times are seconds of one monotonic clock.

    A latency counts from the intended time: what a request waited because the ones before it were slow is
    part of it, so a stall of the service is seen by every request that it delayed (no coordinated omission).
    """

    begins_at: float
    rate: float
    count: int

    def intended(self, number: int) -> float:
        """When request `number`, counted from 0, is meant to be sent."""
        return self.begins_at + number / self.rate

    def due(self, now: float) -> int:
        """How many requests are meant to have been sent by now."""
        if now < self.begins_at:
            return 0
        # A hair of tolerance: intended(n) itself shall find request n due, whatever the rounding.
        return min(self.count, math.floor((now - self.begins_at) * self.rate + 1e-6) + 1)

    @property
    def ends_at(self) -> float:
        """When the last request has been due for one interval."""
        return self.begins_at + self.count / self.rate


def for_duration(begins_at: float, rate: float, seconds: float) -> Schedule:
    """Return the schedule of a rate that is held for some seconds; it has at least one request."""
    if rate <= 0:
        raise ValueError(f"rate: expected above zero, got {rate}")
    return Schedule(begins_at, rate, max(1, round(rate * seconds)))
