"""When the next call to a tier goes: a few at once, more at a pace, and never too many."""

import asyncio

import pytest

from router.lane import ALONE_S, PACE_S, Lane
from router.tier_queue import TierQueue


def lane(calls: int, sent_at: float = 0.0) -> Lane:
    """A lane with so many calls under way, which may have two at once and six in all for each replica."""
    one = Lane("live", TierQueue(8, 1000), at_once=2, most=6, sent_at=sent_at)
    one.calls = {asyncio.get_running_loop().create_task(asyncio.sleep(0)) for _ in range(calls)}
    return one


async def test_first_calls_go_at_once() -> None:
    """However soon after one another, and for each replica."""
    assert lane(1).wait_s(replicas=1, now=0.0) == 0.0
    assert lane(5).wait_s(replicas=3, now=0.0) == 0.0


async def test_further_calls_keep_a_distance() -> None:
    """What arrives meanwhile shares the next one."""
    assert lane(2, sent_at=5.0).wait_s(replicas=1, now=5.004) == pytest.approx(PACE_S - 0.004)
    assert lane(2, sent_at=5.0).wait_s(replicas=1, now=5.5) == 0.0


async def test_no_more_calls_than_allowed_are_under_way() -> None:
    """One has to end before."""
    assert lane(6).wait_s(replicas=1, now=99.0) is None
    assert lane(6).wait_s(replicas=2, now=99.0) == 0.0


async def test_after_a_shed_call_one_goes_at_a_time_for_a_while() -> None:
    """Other routers have taken the room."""
    busy, free = lane(1), lane(0)
    busy.shed(now=10.0)
    free.shed(now=10.0)

    assert busy.wait_s(replicas=1, now=11.0) is None
    assert free.wait_s(replicas=1, now=11.0) == 0.0
    assert busy.wait_s(replicas=1, now=10.0 + ALONE_S) == 0.0
