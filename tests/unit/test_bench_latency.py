"""The arithmetic behind the benchmarks' latencies: percentiles, and when a request was due."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.latency import Latency, percentile
from bench.schedule import Schedule, for_duration


def test_percentile_is_the_value_of_the_nearest_rank() -> None:
    """Of 1 to 100, the n-th percentile is n."""
    ordered = [float(number) for number in range(1, 101)]

    assert [percentile(ordered, q) for q in (0.0, 0.5, 0.99, 0.999, 1.0)] == [1, 50, 99, 100, 100]


def test_percentile_of_one_value_is_that_value() -> None:
    """Whatever the quantile."""
    assert {percentile([7.0], q) for q in (0.0, 0.5, 0.999, 1.0)} == {7.0}


def test_percentile_of_nothing_is_not_a_number() -> None:
    """A run without answers has no latency to report."""
    assert math.isnan(percentile([], 0.5))


def test_percentile_refuses_a_quantile_outside_of_0_to_1() -> None:
    """99 is not 0.99."""
    with pytest.raises(ValueError, match="quantile"):
        percentile([1.0], 99)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_percentile_is_a_measured_value_that_its_share_does_not_exceed(values: list[float], quantile: float) -> None:
    """It never lies between two measurements."""
    ordered = sorted(values)

    found = percentile(ordered, quantile)

    assert found in ordered
    assert sum(value <= found for value in ordered) >= quantile * len(ordered) - 1e-6 * len(ordered)


def test_latency_is_in_milliseconds_whatever_the_order() -> None:
    """Seconds go in as they were measured."""
    latency = Latency.of([0.003, 0.001, 0.002])

    assert (latency.p50, latency.p999, latency.largest) == pytest.approx((2, 3, 3))


def test_schedule_spaces_requests_by_the_rate() -> None:
    """At 100 requests/s, the third is due 20 ms after the first."""
    schedule = Schedule(begins_at=5.0, rate=100.0, count=10)

    assert (schedule.intended(0), schedule.intended(2), schedule.ends_at) == pytest.approx((5.0, 5.02, 5.1))


def test_schedule_owes_every_request_that_a_stall_held_up() -> None:
    """Whoever looks late finds all that were due meanwhile, and never more than there are."""
    schedule = Schedule(begins_at=5.0, rate=100.0, count=10)

    assert [schedule.due(now) for now in (4.9, 5.0, 5.005, 5.055, 60.0)] == [0, 1, 1, 6, 10]


@given(st.floats(0, 1e5), st.floats(0.5, 1e4), st.integers(0, 10_000))
def test_request_is_due_at_its_intended_time(begins_at: float, rate: float, number: int) -> None:
    """Rounding leaves no request for the next look."""
    schedule = Schedule(begins_at, rate, number + 1)

    assert schedule.due(schedule.intended(number)) == number + 1


def test_duration_and_rate_make_the_count() -> None:
    """2.5 s at 100 requests/s are 250; a rate of zero is refused."""
    assert for_duration(0.0, 100.0, 2.5).count == 250

    with pytest.raises(ValueError, match="rate"):
        for_duration(0.0, 0.0, 1.0)
