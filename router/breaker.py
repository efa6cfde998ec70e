"""A circuit breaker as a pure state machine: the clock is an argument, in seconds of any monotonic clock."""

from collections import deque
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

WINDOW_SLICES = 10


class BreakerConfig(BaseModel):
    """When a dependency counts as ill, and when it is tried again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    consecutive_failures: int = Field(default=5, ge=1, description="Failures in a row which open the breaker.")
    failure_rate: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of failed calls within the window which opens the breaker.",
    )
    window_s: float = Field(default=10.0, gt=0, description="Length of the sliding window, in seconds.")
    window_min_calls: int = Field(
        default=20, ge=1, description="Calls which the window must hold before the failure rate counts."
    )
    open_s: float = Field(
        default=1.0,
        gt=0,
        description="Time which the breaker stays open before it lets a probe through, in seconds.",
    )
    slow_call_s: float = Field(
        default=20.0, gt=0, description="Seconds after which an answer, however good, counts as a failure."
    )
    probe_timeout_s: float = Field(
        default=5.0, gt=0, description="Time after which a probe without a report counts as lost, in seconds."
    )


class BreakerState(StrEnum):
    """Closed lets every call through, open none, half-open one probe at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class _Window:
    """Calls and failures of the last `window_s`, in slices: bounded memory, whatever the rate."""

    __slots__ = ("_calls", "_failures", "_slice_s", "_slices")

    def __init__(self, window_s: float) -> None:
        self._slice_s = window_s / WINDOW_SLICES
        self._slices: deque[tuple[int, int, int]] = deque()
        self._calls = 0
        self._failures = 0

    def add(self, now: float, *, failed: bool) -> None:
        """Count one call."""
        number = int(now // self._slice_s)
        self._expire(number)
        calls, failures = 0, 0
        if self._slices and self._slices[-1][0] >= number:
            number, calls, failures = self._slices.pop()
        self._slices.append((number, calls + 1, failures + failed))
        self._calls += 1
        self._failures += failed

    def exceeds(self, rate: float, min_calls: int) -> bool:
        """Whether enough calls were counted and at least this share of them failed."""
        return self._calls >= min_calls and self._failures >= rate * self._calls

    def clear(self) -> None:
        """Forget everything."""
        self._slices.clear()
        self._calls = self._failures = 0

    def _expire(self, number: int) -> None:
        while self._slices and self._slices[0][0] <= number - WINDOW_SLICES:
            _, calls, failures = self._slices.popleft()
            self._calls -= calls
            self._failures -= failures


class CircuitBreaker:
    """Opens on failures in a row or on their rate, and closes again when one probe has succeeded.

    Every call that `allow` let through is reported once, as succeeded, failed or abandoned. Reports carry
    no name: one that comes in while the breaker is open belongs to an earlier call and changes nothing.
    """

    def __init__(self, config: BreakerConfig | None = None) -> None:
        self._config = config or BreakerConfig()
        self._window = _Window(self._config.window_s)
        self._failures_in_a_row = 0
        self._opened_at: float | None = None
        self._probe_since: float | None = None
        self._opened_times = 0

    def allow(self, now: float) -> bool:
        """Whether a call may be made now; while half-open the one call that gets True is the probe."""
        if self._opened_at is None:
            return True
        if now < self._opened_at + self._config.open_s or self._is_probing(now):
            return False
        self._probe_since = now
        return True

    def succeeded(self, now: float, took_s: float = 0.0) -> None:
        """Report that a call was answered well; closes a half-open breaker. One that took too long has failed."""
        if took_s > self._config.slow_call_s:
            self.failed(now)
        elif self._opened_at is None:
            self._failures_in_a_row = 0
            self._window.add(now, failed=False)
        elif self._probe_since is not None:
            self._close()

    def failed(self, now: float) -> None:
        """Report that a call failed or was too slow; opens a half-open breaker again."""
        if self._opened_at is None:
            self._failures_in_a_row += 1
            self._window.add(now, failed=True)
            if self._has_reason_to_open():
                self._open(now)
        elif self._probe_since is not None:
            self._open(now)

    def abandoned(self, now: float) -> None:  # noqa: ARG002 - reports share one signature
        """Report that the caller gave up before there was an outcome: the next call may probe instead."""
        self._probe_since = None

    def state(self, now: float) -> BreakerState:
        """Return the state at this time."""
        if self._opened_at is None:
            return BreakerState.CLOSED
        if now < self._opened_at + self._config.open_s:
            return BreakerState.OPEN
        return BreakerState.HALF_OPEN

    @property
    def opened_times(self) -> int:
        """How often the breaker has opened."""
        return self._opened_times

    def _is_probing(self, now: float) -> bool:
        return self._probe_since is not None and now < self._probe_since + self._config.probe_timeout_s

    def _has_reason_to_open(self) -> bool:
        return self._failures_in_a_row >= self._config.consecutive_failures or self._window.exceeds(
            self._config.failure_rate, self._config.window_min_calls
        )

    def _open(self, now: float) -> None:
        self._opened_at = now
        self._probe_since = None
        self._opened_times += 1

    def _close(self) -> None:
        self._opened_at = self._probe_since = None
        self._failures_in_a_row = 0
        self._window.clear()
