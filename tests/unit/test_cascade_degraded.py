"""The accurate tier can't be had: what is answered instead, how it is marked, and what it may cost."""

import asyncio
from dataclasses import replace

import pytest

from router.breaker import BreakerConfig
from router.deadline import Deadline
from router.errors import ApiError, DeadlineExceeded, InternalError, Overloaded, Unavailable
from router.items import Item
from router.outcome import Decision, Outcome
from router.policy import Policy
from router.policy_in_force import PolicyInForce
from router.tier_calls import TierShed, TierUnreachable
from tests.fakes import ACCURATE_MODEL, FakeRouter, make_tier, question, text

TEXTS = (text("cat"), text("dog"))
ANSWER, FAIL = Policy(threshold=1.0), Policy(threshold=1.0, degraded="fail")


def unsure(router: FakeRouter, name: bytes = b"unsure") -> Item:
    """An image that the fast tier barely calls a cat and the accurate one calls a dog."""
    return router.place(name, fast=(0.5, 0.45), accurate=(0.3, 0.6))


async def ask(router: FakeRouter, *images: Item, policy: Policy = ANSWER, deadline: Deadline | None = None) -> Outcome:
    """Put one question to the cascade."""
    asked = question(images, TEXTS)
    return await router.cascade.answer(asked, PolicyInForce(policy), deadline or router.deadline())


def reasons(outcome: Outcome) -> list[str | None]:
    """Why each image's answer is degraded; the error's code where there is none."""
    return [decision.code if isinstance(decision, ApiError) else decision.degraded for decision in outcome.decisions]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (TierShed(), "accurate_shed"),
        (TierUnreachable(), "accurate_open"),
        (TimeoutError(), "accurate_timeout"),
        (RuntimeError("boom"), "accurate_open"),
    ],
)
async def test_fast_answer_is_returned_marked_with_the_reason(fault: Exception, reason: str) -> None:
    """It is the fast tier's decision in every other respect, and not an escalated one."""
    router = FakeRouter()
    router.accurate.handle.fault = fault

    (decision,) = (await ask(router, unsure(router))).decisions

    assert isinstance(decision, Decision)
    assert (decision.tier, decision.escalated, decision.degraded) == ("fast", False, reason)
    assert decision.verdict.best == 0
    assert decision.columns == (0, 1)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (TierShed(), Overloaded),
        (TierUnreachable(), Unavailable),
        (TimeoutError(), DeadlineExceeded),
        (RuntimeError("boom"), InternalError),
    ],
)
async def test_policy_that_fails_answers_with_the_error(fault: Exception, error: type[ApiError]) -> None:
    """Where the operator wants no degraded answers, the image gets the reason as its error."""
    router = FakeRouter()
    router.accurate.handle.fault = fault

    (decision,) = (await ask(router, unsure(router), policy=FAIL)).decisions

    assert type(decision) is error


async def test_sure_answers_are_not_degraded() -> None:
    """An accurate tier that is gone is nothing to those who do not need it."""
    router = FakeRouter()
    sure = router.place(b"sure", fast=(0.7, 0.4), accurate=(0.7, 0.2))
    router.accurate.handle.fault = TierUnreachable()

    assert reasons(await ask(router, sure, unsure(router))) == [None, "accurate_open"]


async def test_open_breaker_degrades_without_a_call() -> None:
    """After the tier has failed often enough nobody waits for it any more."""
    router = FakeRouter()
    broken = make_tier(
        router.clock, router.cache, description=ACCURATE_MODEL, breaker=BreakerConfig(consecutive_failures=1)
    )
    broken.handle.fault = TierUnreachable()
    router.cascade._accurate = broken.embedder
    await ask(router, unsure(router))
    calls = len(broken.handle.calls)

    outcome = await ask(router, unsure(router, b"another"))

    assert reasons(outcome) == ["accurate_open"]
    assert len(broken.handle.calls) == calls


async def test_accurate_tier_that_has_not_come_up_degrades() -> None:
    """Answers begin with the fast tier; its model's place is empty."""
    router = FakeRouter()
    never_up = make_tier(router.clock, router.cache, description=ACCURATE_MODEL)
    never_up.embedder._space = None
    router.cascade._accurate = never_up.embedder

    assert reasons(await ask(router, unsure(router))) == ["accurate_open"]
    assert reasons(await ask(router, unsure(router), policy=FAIL)) == ["unavailable"]


async def test_accurate_tier_that_is_rolled_in_between_degrades() -> None:
    """Vectors of a model that nobody has described yet decide nothing, and fail nothing."""
    router = FakeRouter()
    router.accurate.handle.description = replace(ACCURATE_MODEL, revision="a2")

    outcome = await ask(router, unsure(router))

    assert reasons(outcome) == ["accurate_open"]


async def test_second_look_leaves_time_to_answer_without_it() -> None:
    """A tenth of what is left, a quarter of a second at most, is kept back from the accurate tier."""
    router = FakeRouter()

    await ask(router, unsure(router, b"one"), deadline=router.deadline(1.0))
    await ask(router, unsure(router, b"two"), deadline=router.deadline(20.0))

    assert router.fast.handle.timeouts_s == [pytest.approx(1.0), pytest.approx(20.0)]
    assert router.accurate.handle.timeouts_s == [pytest.approx(0.9), pytest.approx(19.75)]


async def test_second_look_that_outlasts_the_deadline_degrades() -> None:
    """The tier is still at it; the caller has the fast answer."""
    router = FakeRouter()
    router.accurate.handle.hold()
    asking = asyncio.create_task(ask(router, unsure(router), deadline=router.deadline(0.02)))
    await router.accurate.handle.called()

    outcome = await asking
    router.accurate.handle.release()

    assert reasons(outcome) == ["accurate_timeout"]


async def test_budget_that_is_spent_degrades_without_a_call() -> None:
    """Ten head-start items at a tenth are one second look; the next one is over the budget."""
    router = FakeRouter()
    policy = Policy(threshold=1.0, escalation_budget=0.1)

    first = await ask(router, unsure(router, b"one"), policy=policy)
    second = await ask(router, unsure(router, b"two"), policy=policy)

    assert (reasons(first), reasons(second)) == ([None], ["budget"])
    assert [call.images for call in router.accurate.handle.calls] == [(b"one",)]


async def test_budget_is_spent_on_images_and_not_on_requests() -> None:
    """Of three uncertain images in one request the budget lets one through."""
    router = FakeRouter()
    images = [unsure(router, name) for name in (b"one", b"two", b"three")]

    outcome = await ask(router, *images, policy=Policy(threshold=1.0, escalation_budget=0.1))

    assert reasons(outcome) == [None, "budget", "budget"]


async def test_budget_that_is_spent_fails_where_the_policy_says_so() -> None:
    """The caller may try again in a second."""
    router = FakeRouter()
    policy = Policy(threshold=1.0, escalation_budget=0, degraded="fail")

    (decision,) = (await ask(router, unsure(router), policy=policy)).decisions

    assert isinstance(decision, Overloaded)
    assert decision.retry_after_s == 1


async def test_free_answers_spend_no_budget() -> None:
    """What the accurate tier has answered before is given even with a budget of zero."""
    router = FakeRouter()
    image = unsure(router)
    await ask(router, image)

    outcome = await ask(router, image, policy=Policy(threshold=1.0, escalation_budget=0))

    assert reasons(outcome) == [None]


async def test_texts_that_the_accurate_tier_sheds_degrade_the_image() -> None:
    """The image is known there, its texts are not: no comparison, but a fast answer."""
    router = FakeRouter()
    image = unsure(router)
    await router.cascade.answer(
        question((image,), (text("cow"),), tier="accurate"), PolicyInForce(ANSWER), router.deadline()
    )
    router.accurate.handle.fault = TierShed()

    assert reasons(await ask(router, image)) == ["accurate_shed"]
