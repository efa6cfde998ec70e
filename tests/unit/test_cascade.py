"""The cascade: the fast tier first, a second look where it is not sure, and what comes for free."""

from dataclasses import replace

import numpy as np
import pytest

from router.cascade import Cascade
from router.errors import ApiError, BadImage, Overloaded, TooLarge, Unavailable, UnknownKey
from router.items import Item
from router.outcome import Decision, Outcome
from router.policy import Policy
from router.policy_in_force import PolicyInForce
from router.schemas import TierChoice
from router.tier_calls import TierShed, TierUnreachable
from tests.fakes import ACCURATE_MODEL, FAST_MODEL, FakeRouter, by_key, count_tokens, image, mixture, question, text

CAT, DOG = text("cat"), text("dog")
POLICY = Policy(threshold=1.0)


async def ask(
    router: FakeRouter,
    *images: Item,
    texts: tuple[Item, ...] = (CAT, DOG),
    threshold: float | None = None,
    tier: TierChoice = "auto",
    policy: Policy = POLICY,
) -> Outcome:
    """Put one question to the cascade."""
    return await router.cascade.answer(
        question(images, texts, threshold, tier), PolicyInForce(policy), router.deadline()
    )


def decided(outcome: Outcome, index: int = 0) -> Decision:
    """An image's decision, which it must have."""
    decision = outcome.decisions[index]
    assert isinstance(decision, Decision), decision
    return decision


def sure_and_unsure(router: FakeRouter) -> tuple[Item, Item]:
    """An image that both tiers call a cat; and one the fast tier can't tell and the accurate one calls a dog."""
    sure = router.place(b"sure", fast=(0.6, 0.4), accurate=(0.7, 0.2))
    unsure = router.place(b"unsure", fast=(0.5, 0.45), accurate=(0.3, 0.6))
    return sure, unsure


async def test_sure_fast_answer_costs_no_second_look() -> None:
    """A margin at or over the threshold ends it."""
    router = FakeRouter()
    sure, _ = sure_and_unsure(router)

    decision = decided(await ask(router, sure))

    assert (decision.tier, decision.escalated, decision.degraded) == ("fast", False, None)
    assert decision.verdict.best == 0
    assert router.accurate.handle.calls == []


async def test_margin_under_the_threshold_escalates_only_the_unsure_images() -> None:
    """One call to the accurate tier, with the uncertain image and the texts."""
    router = FakeRouter()
    sure, unsure = sure_and_unsure(router)

    outcome = await ask(router, sure, unsure)

    assert [decided(outcome, i).tier for i in (0, 1)] == ["fast", "accurate"]
    assert [decided(outcome, i).escalated for i in (0, 1)] == [False, True]
    assert [decided(outcome, i).verdict.best for i in (0, 1)] == [0, 1]
    assert [(call.images, call.texts) for call in router.accurate.handle.calls] == [((b"unsure",), ("cat", "dog"))]


async def test_threshold_of_zero_never_takes_a_second_look() -> None:
    """Not even a tie is under a margin of zero."""
    router = FakeRouter()
    tied = router.place(b"tied", fast=(0.5, 0.5), accurate=(0.9, 0.1))

    decision = decided(await ask(router, tied, policy=Policy(threshold=0)))

    assert decision.tier == "fast"
    assert decision.verdict.margin == 0.0


async def test_answer_names_the_policy_that_decided_it() -> None:
    """The version is the one of the policy in hand."""
    policy = Policy(threshold=0.25)

    outcome = await ask(FakeRouter(), image(b"any"), policy=policy)

    assert outcome.policy_version == policy.version


async def test_second_verdict_is_in_the_accurate_tiers_space() -> None:
    """Cosines, scale and margin are the accurate tier's; nothing of two tiers is mixed."""
    router = FakeRouter()
    _, unsure = sure_and_unsure(router)
    steep = replace(ACCURATE_MODEL, logit_scale=100.0)
    router.accurate.handle.description = steep
    router.accurate.embedder.use(steep)

    verdict = decided(await ask(router, unsure)).verdict

    np.testing.assert_allclose(verdict.cosine, [0.3, 0.6], atol=1e-6)
    assert verdict.margin == pytest.approx(30.0, abs=1e-3)


async def test_accurate_vectors_in_the_cache_are_used_first_and_free() -> None:
    """What is already paid for is the answer to give: no tier is asked at all."""
    router = FakeRouter()
    sure, _ = sure_and_unsure(router)
    await ask(router, sure, tier="accurate")
    router.accurate.handle.fault = router.fast.handle.fault = TierUnreachable()

    decision = decided(await ask(router, sure))

    assert (decision.tier, decision.escalated, decision.degraded) == ("accurate", False, None)
    assert (decision.image_hit, decision.text_hits, decision.text_misses) == (True, 2, 0)
    assert router.fast.handle.calls == []


async def test_image_whose_accurate_vector_lacks_a_text_goes_the_usual_way() -> None:
    """Half a comparison is none."""
    router = FakeRouter()
    sure, _ = sure_and_unsure(router)
    await ask(router, sure, texts=(CAT, text("cow")), tier="accurate")

    assert decided(await ask(router, sure)).tier == "fast"


async def test_second_question_is_answered_from_the_cache() -> None:
    """The same question again costs neither tier anything."""
    router = FakeRouter()
    sure, _ = sure_and_unsure(router)
    first = decided(await ask(router, sure))

    second = decided(await ask(router, sure))

    assert (first.image_hit, first.text_hits, first.text_misses) == (False, 0, 2)
    assert (second.image_hit, second.text_hits, second.text_misses) == (True, 2, 0)
    assert second.verdict.margin == pytest.approx(first.verdict.margin)
    assert len(router.fast.handle.calls) == 1


async def test_one_text_without_threshold_never_escalates() -> None:
    """There is no decision to be unsure of, and the accurate tier is not even looked up."""
    router = FakeRouter()
    unsure = router.place(b"unsure", fast=(0.01,), accurate=(0.9,))

    decision = decided(await ask(router, unsure, texts=(CAT,)))

    assert (decision.tier, decision.escalated) == ("fast", False)
    assert router.accurate.handle.calls == []


async def test_one_text_with_a_threshold_escalates_near_it() -> None:
    """The distance to the threshold is the margin: 0.05 x 10 is under one logit, 0.2 x 10 is not."""
    router = FakeRouter()
    near = router.place(b"near", fast=(0.35,), accurate=(0.1,))
    far = router.place(b"far", fast=(0.5,), accurate=(0.9,))

    outcome = await ask(router, near, far, texts=(CAT,), threshold=0.3)

    assert [decided(outcome, i).tier for i in (0, 1)] == ["accurate", "fast"]


@pytest.mark.parametrize("tier", ["fast", "accurate"])
async def test_pinned_tier_answers_alone(tier: TierChoice) -> None:
    """Asked for by name, a tier is neither second-guessed nor helped."""
    router = FakeRouter()
    _, unsure = sure_and_unsure(router)

    decision = decided(await ask(router, unsure, tier=tier))

    asked = {"fast": len(router.fast.handle.calls), "accurate": len(router.accurate.handle.calls)}
    assert (decision.tier, decision.escalated) == (tier, False)
    assert asked == {"fast": int(tier == "fast"), "accurate": int(tier == "accurate")}


async def test_pinned_accurate_tier_that_sheds_is_the_images_error() -> None:
    """Nobody asked for the fast tier's opinion."""
    router = FakeRouter()
    sure, _ = sure_and_unsure(router)
    router.accurate.handle.fault = TierShed()

    outcome = await ask(router, sure, tier="accurate")

    assert [type(decision) for decision in outcome.decisions] == [Overloaded]
    assert router.fast.handle.calls == []


async def test_several_images_each_get_their_own_result() -> None:
    """Broken, unknown, sure, unsure and free in one question, in their order."""
    router = FakeRouter()
    sure, unsure = sure_and_unsure(router)
    free = router.place(b"free", fast=(0.5, 0.5), accurate=(0.8, 0.1))
    await ask(router, free, tier="accurate")
    router.fast.handle.bad_items[b"broken"] = "bad_image"

    outcome = await ask(router, image(b"broken"), by_key(image(b"never seen")), sure, unsure, free)

    broken, unknown = outcome.decisions[:2]
    assert isinstance(broken, BadImage)
    assert isinstance(unknown, UnknownKey)
    tiers = [(decided(outcome, i).tier, decided(outcome, i).escalated) for i in (2, 3, 4)]
    assert tiers == [("fast", False), ("accurate", True), ("accurate", False)]


async def test_fast_tiers_image_error_is_the_slots_error() -> None:
    """A broken image is not shown to the accurate tier."""
    router = FakeRouter()
    router.fast.handle.bad_items[b"broken"] = "bad_image"

    outcome = await ask(router, image(b"broken"))

    assert [type(decision) for decision in outcome.decisions] == [BadImage]
    assert router.accurate.handle.calls == []


async def test_image_that_only_the_accurate_tier_can_not_read_is_its_own_error() -> None:
    """A caller's fault is told and not degraded away."""
    router = FakeRouter()
    _, unsure = sure_and_unsure(router)
    router.accurate.handle.bad_items[b"unsure"] = "bad_image"

    outcome = await ask(router, unsure)

    assert [type(decision) for decision in outcome.decisions] == [BadImage]


async def test_key_that_only_the_fast_tier_knows_asks_for_the_bytes() -> None:
    """Unsure and without bytes there is no second look: the caller sends them again."""
    router = FakeRouter()
    _, unsure = sure_and_unsure(router)
    await ask(router, unsure, tier="fast")

    outcome = await ask(router, by_key(unsure))

    assert [type(decision) for decision in outcome.decisions] == [UnknownKey]


async def test_text_that_fails_alone_is_left_out() -> None:
    """The image is compared with the others, and the columns say with which."""
    router = FakeRouter()
    sure, _ = sure_and_unsure(router)
    router.fast.handle.bad_items["too long a word"] = "too_large"

    outcome = await ask(router, sure, texts=(CAT, text("too long a word"), DOG))

    decision = decided(outcome)
    assert decision.columns == (0, 2)
    assert decision.verdict.margin == pytest.approx(2.0, abs=1e-5)
    assert {i: type(error) for i, error in outcome.text_errors.items()} == {1: TooLarge}
    assert outcome.token_count == 2 * count_tokens("cat")


async def test_question_fails_when_its_texts_are_shed() -> None:
    """With the image in the cache and the texts refused there is nothing to compare."""
    router = FakeRouter()
    sure, _ = sure_and_unsure(router)
    await ask(router, sure, texts=(text("cow"),))
    router.fast.handle.fault = TierShed()

    with pytest.raises(Overloaded):
        await ask(router, sure)


async def test_question_fails_when_every_text_failed() -> None:
    """The first text's error is the request's."""
    router = FakeRouter()
    sure, _ = sure_and_unsure(router)
    router.fast.handle.bad_items |= {"cat": "too_large", "dog": "too_large"}

    with pytest.raises(TooLarge):
        await ask(router, sure)


async def test_accurate_tier_answers_where_the_fast_tier_is_gone() -> None:
    """Its answers are the better ones: nothing about them is degraded."""
    router = FakeRouter()
    sure, unsure = sure_and_unsure(router)
    router.fast.handle.fault = TierUnreachable()

    outcome = await ask(router, sure, unsure)

    decisions = [decision for decision in outcome.decisions if isinstance(decision, Decision)]
    assert [(one.tier, one.escalated, one.degraded) for one in decisions] == [("accurate", True, None)] * 2
    assert router.accurate.handle.items == 4


async def test_accurate_tier_does_not_stand_in_for_a_fast_tier_that_sheds() -> None:
    """A flood that is too much for the fast tier is not sent to the slower one."""
    router = FakeRouter()
    sure, _ = sure_and_unsure(router)
    router.fast.handle.fault = TierShed()

    outcome = await ask(router, sure)

    assert [type(decision) for decision in outcome.decisions] == [Overloaded]
    assert router.accurate.handle.calls == []


@pytest.mark.parametrize("fault", [TierUnreachable(), TierShed()])
async def test_question_fails_when_both_tiers_are_gone(fault: Exception) -> None:
    """Without a first answer there is nothing to degrade to; the fast tier's error is told."""
    router = FakeRouter()
    sure, unsure = sure_and_unsure(router)
    router.fast.handle.fault, router.accurate.handle.fault = TierUnreachable(), fault

    outcome = await ask(router, sure, unsure)

    assert [type(decision) for decision in outcome.decisions] == [Unavailable, Unavailable]


async def test_stages_that_took_place_are_timed() -> None:
    """A second look shows as the accurate stage, a cached answer only as cache and total."""
    router = FakeRouter()
    _, unsure = sure_and_unsure(router)

    escalated = (await ask(router, unsure)).timings_ms
    free = (await ask(router, unsure)).timings_ms

    assert set(escalated) == {"cache", "queue", "fast", "accurate", "total"}
    assert set(free) == {"cache", "total"}


async def test_stage_times_are_read_from_the_clock() -> None:
    """Milliseconds, of the stage and in total."""
    router = FakeRouter()
    sure, _ = sure_and_unsure(router)
    readings = iter([0.0, 0.002, 0.002, 0.032, 0.032, 0.04])
    cascade = Cascade(router.fast.embedder, router.accurate.embedder, router.cache, clock=lambda: next(readings))

    outcome = await cascade.answer(question((sure,), (CAT, DOG)), PolicyInForce(POLICY), router.deadline())

    expected = {"cache": 2.0, "queue": 0.0, "fast": 30.0, "total": 40.0}
    assert outcome.timings_ms == pytest.approx(expected)


async def test_tokens_are_counted_whether_cached_or_not() -> None:
    """`usage` does not depend on the cache."""
    router = FakeRouter()
    sure, _ = sure_and_unsure(router)

    first, second = await ask(router, sure), await ask(router, sure)

    assert first.token_count == second.token_count == 2 * count_tokens("cat")


async def test_scale_of_the_fast_tier_makes_its_margin() -> None:
    """The same cosines under another scale are another confidence."""
    router = FakeRouter()
    router.fast.embedder.use(replace(FAST_MODEL, logit_scale=2.0))
    router.fast.handle.vectors[b"pic"] = mixture(0.6, 0.4)
    router.accurate.handle.fault = TierShed()

    decision = decided(await ask(router, image(b"pic")))

    assert decision.verdict.margin == pytest.approx(0.4, abs=1e-5)
    assert decision.degraded == "accurate_shed"


def test_question_of_one_text_has_a_decision_only_with_a_threshold() -> None:
    """Several texts, or a threshold, are something to be unsure of."""
    one = question((image(b"x"),), (CAT,))

    assert not one.has_decision
    assert one._replace(threshold=0.2).has_decision
    assert one._replace(texts=(CAT, DOG)).has_decision


async def test_error_of_one_image_is_no_error_of_another() -> None:
    """The unreadable one and the shed one keep their own."""
    router = FakeRouter()
    _, unsure = sure_and_unsure(router)
    router.fast.handle.bad_items[b"broken"] = "unsupported_media"
    router.accurate.handle.fault = TierShed()

    outcome = await ask(router, image(b"broken"), unsure, policy=Policy(degraded="fail"))

    codes = [decision.code for decision in outcome.decisions if isinstance(decision, ApiError)]
    assert codes == ["unsupported_media", "overloaded"]
