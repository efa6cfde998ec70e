"""The cascade the other way round: the best of several images for a text."""

from dataclasses import replace

import pytest

from router.errors import BadImage, UnknownKey, UnsupportedMedia
from router.items import Item
from router.outcome import Decision, Outcome
from router.policy import Policy
from router.policy_in_force import PolicyInForce
from tests.fakes import FAST_MODEL, FakeRouter, by_key, count_tokens, question, text

CAT = text("cat")


def make_router() -> tuple[FakeRouter, tuple[Item, ...]]:
    """A router with two images that are close on the fast tier, and far apart on the accurate one."""
    router = FakeRouter()
    first = router.place(b"first", fast=(0.5, 0.1), accurate=(0.2, 0.1))
    second = router.place(b"second", fast=(0.45, 0.1), accurate=(0.7, 0.1))
    return router, (first, second)


async def ask(router: FakeRouter, images: tuple[Item, ...], *, threshold: float = 1.0) -> Outcome:
    """Ask which image is the best for "cat"; a second look is due for margins below `threshold`."""
    policy = PolicyInForce(Policy(threshold=threshold))
    return await router.cascade.answer(question((CAT,), images), policy, router.deadline())


def decided(outcome: Outcome) -> Decision:
    """The one decision, which it must have."""
    (decision,) = outcome.decisions
    assert isinstance(decision, Decision), decision
    return decision


async def test_margin_is_between_the_two_best_images() -> None:
    """On the same scale as that between texts: ten times the difference of cosines."""
    router, images = make_router()

    decision = decided(await ask(router, images, threshold=0.0))

    assert (decision.tier, decision.verdict.best) == ("fast", 0)
    assert decision.verdict.margin == pytest.approx(0.5, abs=1e-5)


async def test_close_images_are_looked_at_by_the_accurate_tier() -> None:
    """All of them, and the text once."""
    router, images = make_router()

    decision = decided(await ask(router, images))

    assert (decision.tier, decision.verdict.best, decision.escalated) == ("accurate", 1, True)
    assert router.accurate.handle.items == 3


async def test_second_question_is_answered_from_memory() -> None:
    """The matrix of the images is kept like one of texts, apart from it."""
    router, images = make_router()
    await ask(router, images)
    calls = len(router.fast.handle.calls) + len(router.accurate.handle.calls)

    decision = decided(await ask(router, images))

    assert (decision.tier, decision.verdict.best, decision.text_hits) == ("accurate", 1, 2)
    assert len(router.fast.handle.calls) + len(router.accurate.handle.calls) == calls


async def test_tokens_are_those_of_the_text_in_the_images_place() -> None:
    """Computed, and from memory; a text beyond the context is told."""
    router, images = make_router()
    for _ in range(2):
        outcome = await ask(router, images)
        assert (outcome.token_count, outcome.is_truncated) == (count_tokens("cat"), False)

    router.fast.embedder.use(replace(FAST_MODEL, revision="f2", context_length=2))
    router.fast.handle.description = replace(FAST_MODEL, revision="f2", context_length=2)
    for _ in range(2):
        asked = question((CAT,), images, tier="fast")
        cut = await router.cascade.answer(asked, PolicyInForce(Policy(threshold=1.0)), router.deadline())
        assert cut.is_truncated


@pytest.mark.parametrize(("code", "error"), [("bad_image", BadImage), ("unsupported_media", UnsupportedMedia)])
async def test_image_that_can_not_be_read_is_no_candidate(code: str, error: type[Exception]) -> None:
    """The others are ranked without it."""
    router, images = make_router()
    for tier in (router.fast, router.accurate):
        tier.handle.bad_items |= {b"first": "bad_image" if code == "bad_image" else "unsupported_media"}

    outcome = await ask(router, images)

    assert decided(outcome).columns == (1,)
    assert [type(one) for one in outcome.text_errors.values()] == [error]


async def test_question_fails_where_no_image_can_be_read() -> None:
    """The first one's error, at its place."""
    router, images = make_router()
    router.fast.handle.bad_items |= {b"first": "bad_image", b"second": "bad_image"}

    with pytest.raises(BadImage) as caught:
        await ask(router, images)

    assert caught.value.param == "texts[0]"


async def test_image_of_which_only_the_key_was_sent_is_asked_for() -> None:
    """The fast tier's embedding is cached, the accurate one has never seen the bytes."""
    router, images = make_router()
    await ask(router, images, threshold=0.0)

    outcome = await ask(router, (images[0], by_key(images[1])))

    (failed,) = outcome.decisions
    assert isinstance(failed, UnknownKey)
    assert failed.param == "texts[1]"


def test_group_is_one_among_images() -> None:
    """How often tiers agree on texts for an image says nothing of images for a text."""
    _, images = make_router()

    assert question((CAT,), images).group == "similarity:images/2"
    assert question(images, (CAT, CAT)).group == "similarity/2"
    assert question((CAT,), images, threshold=0.2).group == "similarity:threshold/2"


def test_question_of_one_kind_is_left_to_one_tier() -> None:
    """So is one of mixed candidates; a tier that is named stays."""
    _, images = make_router()
    mixed = [question((CAT,), (CAT, CAT)), question(images, images), question((CAT,), (images[0], CAT))]

    assert [one.pinned_unless_crossed().tier for one in mixed] == ["fast"] * 3
    assert mixed[0]._replace(tier="accurate").pinned_unless_crossed().tier == "accurate"
    for crossed in (question((CAT,), images), question(images, (CAT,))):
        assert crossed.pinned_unless_crossed() is crossed
