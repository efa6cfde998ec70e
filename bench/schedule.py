"""When requests are meant to be sent: at a rate that the service has no part in."""

import bisect
import math
import random
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol


class Arrivals(Protocol):
    """When request `number`, counted from 0, is meant to be sent, and how many are by now."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def intended(self, number: int) -> float:
        """When request `number` is meant to be sent."""
        ...

    def due(self, now: float) -> int:
        """How many requests are meant to have been sent by now."""
        ...


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


class RandomArrivals:
    """Arrivals of many independent callers: a Poisson process, equal for equal seeds."""

    def __init__(self, begins_at: float, rate: float, seconds: float, seed: int = 0) -> None:
        generator = random.Random(seed)
        count = max(1, round(rate * seconds))
        self._times = [begins_at + at for at in accumulate(generator.expovariate(rate) for _ in range(count))]

    @property
    def count(self) -> int:
        """How many there are: what the rate makes of the seconds, which may take a little less or more."""
        return len(self._times)

    def intended(self, number: int) -> float:
        """When request `number` is meant to be sent."""
        return self._times[number]

    def due(self, now: float) -> int:
        """How many requests are meant to have been sent by now."""
        return bisect.bisect_right(self._times, now)
