"""The limit of what is held for a tier: down as latency exceeds the service time, up while it does not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from router.adaptive_limit import AdaptiveLimit, AdaptiveLimitConfig

CONFIG = AdaptiveLimitConfig(floor=4, initial=64, ceiling=512, tolerance=2.0, slack_s=0.0)


def observe(limit: AdaptiveLimit, latency_s: float, *, load: float | None = None, seconds: float = 20.0) -> None:
    """Ten answers a second of a service time of 0.1 s, under a load that uses the limit unless told otherwise."""
    for tick in range(int(seconds * 10)):
        limit.observe(latency_s, 0.1, limit.value if load is None else load, tick / 10)


class Tier:
    """A tier that works off so many items a second, in batches of 0.1 s, whose queue is always as long as allowed."""

    def __init__(self, items_per_s: float) -> None:
        self.items_per_s = items_per_s
        self.now = 0.0

    def run(self, limit: AdaptiveLimit, seconds: float) -> float:
        """Answer for so long; the last latency in seconds."""
        ends_at, latency_s = self.now + seconds, 0.0
        while self.now < ends_at:
            self.now += 0.05
            latency_s = max(0.1, limit.value / self.items_per_s)
            limit.observe(latency_s, 0.1, limit.value, self.now)
        return latency_s


def test_limit_shrinks_to_its_floor_while_answers_queue_for_long() -> None:
    """And no further: a probe must always be possible."""
    limit = AdaptiveLimit(CONFIG)

    observe(limit, latency_s=5.0)

    assert limit.value == 4


def test_limit_grows_to_its_ceiling_while_nothing_queues() -> None:
    """And no further."""
    limit = AdaptiveLimit(CONFIG)

    observe(limit, latency_s=0.1, seconds=200)

    assert limit.value == 512


def test_limit_that_is_not_used_does_not_grow() -> None:
    """Light traffic says nothing of what the tier could take."""
    limit = AdaptiveLimit(CONFIG)

    observe(limit, latency_s=0.1, load=3)

    assert limit.value == 64


def test_latency_within_the_tolerance_does_not_shrink_an_unused_limit() -> None:
    """Twice the service time is a full batch before it."""
    limit = AdaptiveLimit(CONFIG)

    observe(limit, latency_s=0.2, load=3)

    assert limit.value == 64


@settings(deadline=None)
@given(items_per_s=st.floats(30, 2000))
def test_limit_settles_where_latency_is_a_few_service_times(items_per_s: float) -> None:
    """However fast the tier: about tolerance times the service time, a floor's worth or a ceiling's."""
    limit = AdaptiveLimit(CONFIG)

    latency_s = Tier(items_per_s).run(limit, seconds=120)

    assert latency_s <= 0.45 or limit.value <= 8
    assert limit.value / items_per_s >= 0.15 or limit.value >= 500


def test_limit_follows_a_tier_that_gets_slower_and_recovers() -> None:
    """A replica fewer halves it, within seconds."""
    limit = AdaptiveLimit(CONFIG)
    tier = Tier(items_per_s=400)
    tier.run(limit, seconds=60)
    before = limit.value

    tier.items_per_s = 200
    slower_latency_s = tier.run(limit, seconds=5)
    tier.items_per_s = 400
    tier.run(limit, seconds=30)

    assert slower_latency_s < 0.4
    assert limit.value == pytest.approx(before, rel=0.2)


def test_tier_that_refuses_lowers_the_limit_at_once() -> None:
    """By a fifth each time."""
    limit = AdaptiveLimit(CONFIG)

    limit.drop()

    assert limit.value == 51


def test_answers_that_took_no_time_change_nothing() -> None:
    """Clocks have a resolution."""
    limit = AdaptiveLimit(CONFIG)

    for tick in range(10):
        limit.observe(0.0, 0.0, 1, float(tick))

    assert limit.value == 64


@settings(deadline=None)
@given(
    samples=st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e9)), max_size=200),
)
def test_limit_stays_within_its_bounds_whatever_is_measured(samples: list[tuple[float, float, float]]) -> None:
    """Never below the floor or above the ceiling."""
    limit = AdaptiveLimit(CONFIG)

    for tick, (latency_s, service_s, load) in enumerate(samples):
        limit.observe(latency_s, service_s, load, float(tick))
        assert 4 <= limit.value <= 512


def test_bounds_out_of_order_are_refused() -> None:
    """The message names what must be in order."""
    with pytest.raises(ValidationError, match="must be in this order"):
        AdaptiveLimitConfig(floor=10, initial=5, ceiling=20)


def test_latency_within_the_slack_is_no_queue() -> None:
    """A model of two milliseconds behind a router of twenty refuses nobody for the router's sake."""
    limit = AdaptiveLimit(CONFIG.model_copy(update={"slack_s": 0.1}))

    for tick in range(100):
        limit.observe(0.022, 0.002, limit.value, tick / 10)

    assert limit.value > 64
