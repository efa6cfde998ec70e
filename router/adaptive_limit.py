"""How much may be held for a tier at once, learned from how long its answers take. Pure: the clock is an argument.

After Netflix's concurrency-limits (Gradient2): the limit shrinks in proportion as latency exceeds what it would be
without queueing, and grows by its square root while it is used and latency allows. What latency would be without
queueing, Gradient2 guesses from the past; here the replica says it, because it changes with the size of batches.
"""

import math

from pydantic import BaseModel, ConfigDict, Field, model_validator

WINDOW_S = 0.25
LEAST_SAMPLES = 3
LEAST_GRADIENT = 0.5
WEIGHT_UP, WEIGHT_DOWN = 0.2, 0.5
DROP = 0.8


class AdaptiveLimitConfig(BaseModel):
    """Bounds of a limit that follows latency."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    floor: int = Field(default=24, ge=1, description="Images, or handfuls of eight texts, that may always be held.")
    ceiling: int = Field(default=1024, ge=1, description="The same, at most, however fast the tier answers.")
    initial: int = Field(default=64, ge=1, description="The same, before anything was measured.")
    tolerance: float = Field(
        default=1.25,
        gt=1,
        le=100,
        description="Latency at which the limit stops growing, as a multiple of an item's latency without queueing. "
        "Less keeps queues short, more keeps batches full.",
    )
    slack_s: float = Field(
        default=0.1,
        ge=0,
        description="Seconds on top of that multiple: what is faster is no queue worth refusing anybody for.",
    )

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> "AdaptiveLimitConfig":
        if not self.floor <= self.initial <= self.ceiling:
            raise ValueError("floor, initial, ceiling: must be in this order")
        return self


class AdaptiveLimit:
    """A limit that follows measured latency between its floor and its ceiling."""

    def __init__(self, config: AdaptiveLimitConfig) -> None:
        self._config = config
        self._value = float(config.initial)
        self._window_ends_at = 0.0
        self._samples = 0
        self._latency_s = self._service_s = self._most_load = 0.0

    @property
    def value(self) -> int:
        """The limit."""
        return int(self._value)

    def observe(self, latency_s: float, service_s: float, load: float, now: float) -> None:
        """Learn from one answer.

        Args:
            latency_s: What it took.
            service_s: What it would have taken without queueing.
            load: What was held when it was asked for, itself included.
            now: The time.
        """
        self._samples += 1
        self._latency_s += latency_s
        self._service_s += service_s
        self._most_load = max(self._most_load, load)
        if now >= self._window_ends_at and self._samples >= LEAST_SAMPLES:
            self._follow()
            self._window_ends_at = now + WINDOW_S

    def drop(self) -> None:
        """Learn that the tier itself refused or timed out: less may be held, at once."""
        self._set(self._value * DROP)

    def _follow(self) -> None:
        tolerated_s = self._config.tolerance * self._service_s + self._samples * self._config.slack_s
        gradient = tolerated_s / self._latency_s if self._latency_s > 0 else 1.0
        gradient = min(1.0, max(LEAST_GRADIENT, gradient))
        is_used = self._most_load >= self._value / 2
        target = self._value * gradient + (math.sqrt(self._value) if is_used else 0.0)
        weight = WEIGHT_UP if target > self._value else WEIGHT_DOWN
        self._set(self._value + weight * (target - self._value))
        self._clear()

    def _set(self, value: float) -> None:
        self._value = min(float(self._config.ceiling), max(float(self._config.floor), value))

    def _clear(self) -> None:
        self._samples = 0
        self._latency_s = self._service_s = self._most_load = 0.0
