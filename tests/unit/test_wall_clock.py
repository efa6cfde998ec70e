"""A wall clock that is set back is noticed, once."""

import pytest

from secondlook.wall_clock import WallClock
from tests.fakes import Clock


@pytest.mark.parametrize(("step_s", "is_noticed"), [(-3600.0, True), (-6.0, True), (-1.0, False), (3600.0, False)])
def test_step_of_the_wall_clock_is_noticed_once_if_it_goes_back(step_s: float, *, is_noticed: bool) -> None:
    """Small steps and steps ahead harm nobody."""
    wall, monotonic = Clock(1e9), Clock(50.0)
    clock = WallClock(lambda: wall.now, lambda: monotonic.now)
    wall.now += step_s + 2.0
    monotonic.now += 2.0

    assert [clock.was_set_back(), clock.was_set_back()] == [is_noticed, False]


def test_step_back_after_one_ahead_is_noticed() -> None:
    """It is what was checked at the later time that would wait."""
    wall = Clock(1e9)
    clock = WallClock(lambda: wall.now, lambda: 50.0)
    wall.now += 3600.0

    ahead = clock.was_set_back()
    wall.now -= 3600.0

    assert (ahead, clock.was_set_back()) == (False, True)
