"""What is made of a flood: arrivals of independent callers, and when latency is as usual again."""

import pytest

from bench.overload import recovery_s
from bench.schedule import RandomArrivals


def test_arrivals_of_independent_callers_have_the_rate_in_the_mean() -> None:
    """And no two of them the same distance."""
    arrivals = RandomArrivals(begins_at=5.0, rate=100.0, seconds=100.0)
    distances = {arrivals.intended(n + 1) - arrivals.intended(n) for n in range(100)}

    assert arrivals.count == 10_000
    assert arrivals.intended(9_999) == pytest.approx(105.0, rel=0.05)
    assert len(distances) == 100


def test_arrivals_that_were_held_up_are_all_due() -> None:
    """Whoever looks late finds all that were due meanwhile; a request is due at its time."""
    arrivals = RandomArrivals(begins_at=5.0, rate=100.0, seconds=1.0)

    assert arrivals.due(4.9) == 0
    assert arrivals.due(arrivals.intended(41)) == 42
    assert arrivals.due(60.0) == arrivals.count


def test_recovery_ends_with_the_last_second_in_which_many_were_slow_or_shed() -> None:
    """Seconds after the flood; one in ten may be slow, as some are at usual load."""
    quick = [(at / 10, 0.1, 200) for at in range(100)]

    assert recovery_s(quick, usual_p99_s=0.5) == 0.0
    assert recovery_s([*quick, (0.4, 2.0, 200), (0.6, 0.01, 503), (9.0, 0.7, 200)], 0.5) == 1.0
