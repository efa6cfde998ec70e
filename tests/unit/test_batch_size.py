"""The size of batches: as small as gives nearly all of the encoder's throughput."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiers.batch_size import FRESH_S, BatchSize


def linear(items: int) -> float:
    """A CPU: every item costs the same, and a run next to nothing."""
    return 0.0005 + 0.01 * items


def parallel(items: int) -> float:
    """A GPU: a run costs much and an item little."""
    return 0.01 + 0.0001 * items


def settled(seconds_for: Callable[[int], float], max_items: int = 64, seconds: float = 30.0) -> int:
    """The size that is taken after a while with as much waiting as is wanted."""
    size, now = BatchSize(max_items), 0.0
    while now < seconds:
        items = size.limit(now)
        now += seconds_for(items)
        size.ran(items, seconds_for(items), now)
    return size.limit(now)


def test_nothing_known_allows_the_largest() -> None:
    """What it is worth is seen from the first full run."""
    assert BatchSize(16).limit(0.0) == 16


def test_batches_are_small_where_size_gains_nothing() -> None:
    """Nobody waits for seven others without need."""
    assert settled(linear) <= 2


def test_batches_are_large_where_size_gains() -> None:
    """An accelerator is filled."""
    assert settled(parallel, max_items=1024) >= 512


def test_size_need_not_be_a_power_of_two() -> None:
    """The largest is what is configured."""
    assert BatchSize(48).limit(0.0) == 48


def test_what_was_seen_long_ago_is_seen_anew() -> None:
    """A machine that was busy then may not be now."""
    size = BatchSize(16)
    size.ran(16, 1.0, now=0.0)
    size.ran(8, 0.5, now=0.0)

    assert size.limit(FRESH_S - 1) < 16
    assert size.limit(FRESH_S + 1) == 16


def test_small_runs_of_light_traffic_count_for_their_own_size() -> None:
    """Three items are no proof of what sixteen would do."""
    size = BatchSize(16)
    size.ran(16, 1.6, now=0.0)
    size.ran(3, 3.0, now=0.0)
    size.ran(8, 0.8, now=0.0)

    assert size.limit(1.0) == 8


def test_run_that_took_no_time_teaches_nothing() -> None:
    """Clocks have a resolution."""
    size = BatchSize(16)

    size.ran(16, 0.0, now=0.0)

    assert size.limit(0.0) == 16


@settings(deadline=None)
@given(
    max_items=st.integers(1, 4096),
    runs=st.lists(st.tuples(st.integers(1, 4096), st.floats(1e-6, 1e3), st.floats(0, 1e4)), max_size=50),
)
def test_limit_is_between_one_and_the_largest(max_items: int, runs: list[tuple[int, float, float]]) -> None:
    """Whatever was measured."""
    size = BatchSize(max_items)

    for items, seconds, now in runs:
        size.ran(min(items, max_items), seconds, now)
        assert 1 <= size.limit(now) <= max_items


@pytest.mark.parametrize("max_items", [1, 2, 3])
def test_smallest_configurations_work(max_items: int) -> None:
    """One item at a time is a size, too."""
    assert 1 <= settled(linear, max_items=max_items, seconds=1.0) <= max_items
