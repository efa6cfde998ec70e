"""What one key may ask of one router: requests per second, and requests at the same time. The clock is an argument."""

import math
from dataclasses import dataclass

from router.access_config import QuotaConfig
from router.errors import RateLimited

# When a place gets free nobody knows; a second is what most requests take at most.
BUSY_RETRY_S = 1
MAX_RETRY_S = 3600


@dataclass(frozen=True, slots=True)
class Quota:
    """A key's bounds; infinite where it has none."""

    requests_per_s: float = math.inf
    burst: float = math.inf
    concurrent: float = math.inf


def quota_of(key: QuotaConfig, default: QuotaConfig) -> Quota:
    """Return a key's own bounds, and the default's where it has none; a rate of its own brings its burst along."""
    rate = key.requests_per_s or default.requests_per_s
    burst = key.burst or (default.burst if key.requests_per_s is None else None)
    concurrent = key.concurrent or default.concurrent
    if rate is None:
        return Quota(concurrent=concurrent or math.inf)
    return Quota(rate, burst or max(1.0, rate), concurrent or math.inf)


class Use:
    """What a key has asked for lately: a token bucket, and a count."""

    __slots__ = ("_filled_at", "_tokens", "in_progress")

    def __init__(self) -> None:
        self._tokens = math.inf
        self._filled_at = -math.inf
        self.in_progress = 0

    def begin(self, quota: Quota, now: float) -> None:
        """Count a request that begins.

        Raises:
            RateLimited: It is over a bound; it says in how many seconds one may be let in.
        """
        if self.in_progress >= quota.concurrent:
            raise RateLimited("the key has as many requests in progress as it may", retry_after_s=BUSY_RETRY_S)
        if quota.requests_per_s != math.inf:
            self._take(quota, now)
        self.in_progress += 1

    def end(self) -> None:
        """Count a request that has ended."""
        self.in_progress -= 1

    def _take(self, quota: Quota, now: float) -> None:
        gained = max(0.0, now - self._filled_at) * quota.requests_per_s
        self._tokens = min(quota.burst, self._tokens + gained)
        self._filled_at = max(self._filled_at, now)
        if self._tokens < 1.0:
            wait_s = math.ceil((1.0 - self._tokens) / quota.requests_per_s)
            raise RateLimited("the key has used up its requests per second", retry_after_s=min(wait_s, MAX_RETRY_S))
        self._tokens -= 1.0
