"""Readiness: a real inference has just come back, on both tiers at first and on the fast one ever after."""

import asyncio
import io

import pytest
from PIL import Image

from router.errors import Unavailable
from router.readiness import FRESH_S, Readiness
from router.tier_calls import TierShed, TierUnreachable
from tests.fakes import FakeRouter


def make_readiness(router: FakeRouter) -> Readiness:
    """A check of both tiers on the router's clock."""
    return Readiness(router.fast.embedder, router.accurate.embedder, router.clock)


def probes(router: FakeRouter) -> tuple[int, int]:
    """Calls that the fast and the accurate tier have had."""
    return len(router.fast.handle.calls), len(router.accurate.handle.calls)


async def test_first_check_asks_both_tiers_for_an_image_and_a_text() -> None:
    """The image is one that a tier can really decode."""
    router = FakeRouter()

    await make_readiness(router).check()

    assert probes(router) == (1, 1)
    (call,) = router.fast.handle.calls
    assert (len(call.images), len(call.texts)) == (1, 1)
    picture = Image.open(io.BytesIO(call.images[0]))
    picture.load()
    assert picture.size == (32, 32)


async def test_good_news_stand_for_a_moment() -> None:
    """A flood of checks costs one inference a second."""
    router = FakeRouter()
    readiness = make_readiness(router)

    for _ in range(100):
        await readiness.check()
    router.clock.advance(FRESH_S)
    await readiness.check()

    assert probes(router) == (2, 1)


async def test_checks_at_the_same_time_share_a_probe() -> None:
    """Whoever comes during a probe gets its outcome."""
    router = FakeRouter()
    readiness = make_readiness(router)

    await asyncio.gather(*(readiness.check() for _ in range(20)))

    assert probes(router) == (1, 1)


async def test_probe_goes_past_the_cache() -> None:
    """A second probe is a second inference and no cache hit."""
    router = FakeRouter()
    readiness = make_readiness(router)
    await readiness.check()

    router.clock.advance(FRESH_S)
    await readiness.check()

    assert router.cache.counts().l1_items == 0
    assert router.fast.handle.items == 4


@pytest.mark.parametrize("fault", [TierUnreachable(), TimeoutError()])
@pytest.mark.parametrize("tier", ["fast", "accurate"])
async def test_service_is_not_ready_before_both_tiers_have_answered(tier: str, fault: Exception) -> None:
    """A service that never had its second look would degrade from the first request on."""
    router = FakeRouter()
    {"fast": router.fast, "accurate": router.accurate}[tier].handle.fault = fault

    with pytest.raises(Unavailable):
        await make_readiness(router).check()


async def test_bad_news_are_asked_about_again_at_once() -> None:
    """Only success is remembered."""
    router = FakeRouter()
    readiness = make_readiness(router)
    router.fast.handle.faults.append(TierUnreachable())
    with pytest.raises(Unavailable):
        await readiness.check()

    await readiness.check()


async def test_lost_accurate_tier_does_not_stop_a_service_that_was_ready() -> None:
    """Answers are degraded then, and that is the policy's business."""
    router = FakeRouter()
    readiness = make_readiness(router)
    await readiness.check()
    router.accurate.handle.fault = TierUnreachable()
    router.clock.advance(FRESH_S)

    await readiness.check()

    assert probes(router) == (2, 1)


async def test_lost_fast_tier_stops_it() -> None:
    """Nothing new can be answered without it."""
    router = FakeRouter()
    readiness = make_readiness(router)
    await readiness.check()
    router.fast.handle.fault = TierUnreachable()
    router.clock.advance(FRESH_S)

    with pytest.raises(Unavailable, match="does not answer"):
        await readiness.check()


async def test_tier_that_sheds_is_busy_answering() -> None:
    """Under overload the service stays ready: to take it away would not help anyone."""
    router = FakeRouter()
    router.fast.handle.fault = router.accurate.handle.fault = TierShed()

    await make_readiness(router).check()


async def test_tier_that_can_not_embed_the_probe_is_not_ready() -> None:
    """A reply is not enough: there have to be vectors in it."""
    router = FakeRouter()
    router.fast.handle.bad_items["a grey picture"] = "internal"

    with pytest.raises(Unavailable, match="can't embed"):
        await make_readiness(router).check()


async def test_tier_that_has_not_come_up_is_not_ready() -> None:
    """Its model is not known yet."""
    router = FakeRouter()
    router.accurate.embedder._space = None

    with pytest.raises(Unavailable, match="not come up"):
        await make_readiness(router).check()
