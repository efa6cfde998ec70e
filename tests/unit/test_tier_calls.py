"""Misses on their way to a tier: gathered into calls, within bounds of items, bytes, calls and time."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.adaptive_limit import AdaptiveLimitConfig
from router.admission import AdmissionConfig
from router.deadline import Deadline
from router.errors import ApiError, DeadlineExceeded, Overloaded
from router.items import Item
from router.tier_calls import TierCounts
from router.tier_reply import Encoded
from tests.fakes import Clock, Content, FakeTier, content_vector, count_tokens, image, make_tier, text

LATER = Deadline(1060.0)
Answers = list[Encoded | ApiError]


async def collect(answers: Sequence[asyncio.Future[Encoded]]) -> Answers:
    """Wait for all answers; an error is one, too."""
    async with asyncio.timeout(5):
        await asyncio.wait(answers)
    results: Answers = []
    for answer in answers:
        error = answer.exception()
        assert error is None or isinstance(error, ApiError)
        results.append(error or answer.result())
    return results


async def ask(tier: FakeTier, *items: Item, deadline: Deadline = LATER) -> Answers:
    """Submit items and wait for their answers."""
    return await collect(tier.calls.submit(items, deadline))


def texts(count: int, prefix: str = "text") -> list[Item]:
    """So many distinct texts."""
    return [text(f"{prefix} {number}") for number in range(count)]


async def test_answer_has_the_items_vector_tokens_and_revision() -> None:
    """Images and texts in any order get what belongs to them."""
    tier = make_tier(Clock())
    contents: list[Content] = ["a cat", b"cat", "dog"]

    answers = await ask(tier, text("a cat"), image(b"cat"), text("dog"))

    for content, answer in zip(contents, answers, strict=True):
        assert isinstance(answer, Encoded)
        np.testing.assert_array_equal(answer.vector, content_vector(content, "f1"))
        assert answer.token_count == (count_tokens(content) if isinstance(content, str) else 0)
        assert answer.revision == "f1"


async def test_submissions_of_one_turn_share_a_call() -> None:
    """Requests that arrive in the same turn of the loop cost one call, images first."""
    tier = make_tier(Clock())

    first = tier.calls.submit([text("a"), image(b"1")], LATER)
    second = tier.calls.submit([image(b"2"), text("b")], LATER)
    await collect([*first, *second])

    assert [(call.images, call.texts) for call in tier.handle.calls] == [((b"2", b"1"), ("a", "b"))]


async def test_call_holds_no_more_items_than_allowed() -> None:
    """Seven items at three a call are three calls, in order."""
    tier = make_tier(Clock(), items_per_call=3)

    await ask(tier, *texts(7))

    assert [call.texts for call in tier.handle.calls] == [
        ("text 0", "text 1", "text 2"),
        ("text 3", "text 4", "text 5"),
        ("text 6",),
    ]


async def test_call_holds_no_more_bytes_of_images_than_allowed() -> None:
    """Images are cut into calls by size; one that exceeds the bound alone goes alone."""
    tier = make_tier(Clock(), bytes_per_call=100)

    await ask(tier, image(b"a" * 60), image(b"b" * 40), image(b"c"), image(b"d" * 500), text("x" * 64))

    sizes = [[len(data) for data in call.images] for call in tier.handle.calls]
    assert sizes == [[60, 40], [1], [500], []]
    assert tier.handle.calls[-1].texts == ("x" * 64,)


async def test_calls_in_flight_are_bounded_and_the_rest_gathers() -> None:
    """While two calls are out, what arrives becomes one call and not three."""
    tier = make_tier(Clock(), items_per_call=4, calls_in_flight=2)
    tier.handle.hold()
    answers = tier.calls.submit(texts(8), LATER)
    await tier.handle.called(2)

    for prefix in "abc":
        answers += tier.calls.submit(texts(1, prefix), LATER)
        await asyncio.sleep(0)
    calls_while_held = len(tier.handle.calls)
    tier.handle.release()
    await collect(answers)

    assert calls_while_held == 2
    assert [len(call) for call in tier.handle.calls] == [4, 4, 3]


async def test_more_items_than_may_be_held_are_refused_as_a_whole() -> None:
    """A submission over the bound adds nothing; what is held is not touched."""
    tier = make_tier(Clock(), admission=AdmissionConfig(max_items=4))
    tier.handle.hold()
    held = tier.calls.submit(texts(3), LATER)

    with pytest.raises(Overloaded) as caught:
        tier.calls.submit(texts(2, "more"), LATER)
    assert tier.calls.admission.held == 3
    assert caught.value.retry_after_s is not None
    tier.handle.release()
    await collect(held)

    assert tier.handle.items == 3


async def test_held_items_may_be_as_many_as_the_bound_and_return_to_zero() -> None:
    """Waiting and sent items count alike; answered ones no longer."""
    tier = make_tier(Clock(), admission=AdmissionConfig(max_items=4), items_per_call=1, calls_in_flight=2)
    tier.handle.hold()
    answers = tier.calls.submit(texts(4), LATER)
    await tier.handle.called(2)

    assert tier.calls.admission.held == 4
    tier.handle.release()
    await collect(answers)

    assert tier.calls.admission.held == 0
    assert len(await ask(tier, *texts(4, "again"))) == 4


async def test_retry_after_grows_with_what_is_held() -> None:
    """A tier that takes a second an item is not asked again at once by those it had to refuse."""
    clock = Clock()
    tier = make_tier(clock, admission=AdmissionConfig(max_items=20))
    for _ in range(50):
        tier.handle.hold()
        answers = tier.calls.submit([text("slow")], LATER)
        await tier.handle.called(len(tier.handle.calls) + 1)
        clock.advance(1.0)
        tier.handle.release()
        await collect(answers)
    tier.handle.hold()
    held = tier.calls.submit(texts(20), Deadline(clock.now + 60))

    with pytest.raises(Overloaded) as caught:
        tier.calls.submit(texts(1, "more"), LATER)
    tier.handle.release()
    await collect(held)

    assert caught.value.retry_after_s is not None
    assert 10 <= caught.value.retry_after_s <= 20


async def test_expired_items_are_dropped_before_sending() -> None:
    """What waited past its deadline costs the tier nothing, and its neighbours are sent."""
    clock = Clock()
    tier = make_tier(clock, calls_in_flight=1)
    tier.handle.hold()
    first = tier.calls.submit([text("first")], LATER)
    await tier.handle.called()
    waiting = tier.calls.submit([text("hurried")], Deadline(clock.now + 1))
    waiting += tier.calls.submit([text("patient")], LATER)
    clock.advance(2.0)
    tier.handle.release()

    hurried, patient = (await collect([*first, *waiting]))[1:]

    assert isinstance(hurried, DeadlineExceeded)
    assert isinstance(patient, Encoded)
    assert [call.texts for call in tier.handle.calls] == [("first",), ("patient",)]
    assert tier.calls.admission.held == 0


async def test_nothing_is_sent_when_everything_has_expired() -> None:
    """A queue of late items is emptied without a call."""
    tier = make_tier(Clock(), items_per_call=2)

    answers = await ask(tier, *texts(5), deadline=Deadline(999.0))

    assert all(isinstance(answer, DeadlineExceeded) for answer in answers)
    assert tier.handle.calls == []
    assert tier.calls.admission.held == 0


async def test_call_may_take_what_its_most_patient_item_has_left() -> None:
    """The tier gets the longest of the items' deadlines, as time that is left."""
    tier = make_tier(Clock())

    answers = tier.calls.submit([text("hurried")], Deadline(1001.0))
    answers += tier.calls.submit([text("patient")], Deadline(1009.0))
    await collect(answers)

    assert tier.handle.timeouts_s == [9.0]
    assert tier.handle.calls[0].budget_s == 9.0


async def test_time_in_the_queue_is_told() -> None:
    """Milliseconds between submission and sending, not those at the tier."""
    clock = Clock()
    tier = make_tier(clock, calls_in_flight=1)
    tier.handle.hold()
    answers = tier.calls.submit([text("first")], LATER)
    await tier.handle.called()
    answers += tier.calls.submit([text("second")], LATER)
    clock.advance(0.5)
    tier.handle.release()

    first, second = await collect(answers)

    assert isinstance(first, Encoded)
    assert isinstance(second, Encoded)
    assert [first.queue_ms, second.queue_ms] == pytest.approx([0.0, 500.0])


async def test_counts_are_of_items_and_calls() -> None:
    """What was sent, and a copy that does not move with the next call."""
    tier = make_tier(Clock(), items_per_call=2)
    await ask(tier, *texts(3))

    counts = tier.calls.counts
    await ask(tier, text("later"))

    assert counts == TierCounts(items=3, calls=2)


@settings(deadline=None, max_examples=40)
@given(
    submissions=st.lists(st.lists(st.integers(0, 120), max_size=6), max_size=6),
    items_per_call=st.integers(1, 5),
    bytes_per_call=st.integers(1, 200),
    calls_in_flight=st.integers(1, 3),
)
def test_every_item_is_sent_once_within_the_bounds(
    submissions: list[list[int]], items_per_call: int, bytes_per_call: int, calls_in_flight: int
) -> None:
    """Whatever is submitted, and however it is cut, nothing is lost or doubled."""
    sizes = [size for submission in submissions for size in submission]

    async def submit_all() -> FakeTier:
        tier = make_tier(
            Clock(),
            items_per_call=items_per_call,
            bytes_per_call=bytes_per_call,
            calls_in_flight=calls_in_flight,
        )
        numbers = iter(range(len(sizes)))
        answers = []
        for submission in submissions:
            batch = [image(b"%4d" % next(numbers) + b"x" * size) for size in submission]
            answers += tier.calls.submit(batch, LATER) if batch else []
        if answers:
            await collect(answers)
        return tier

    tier = asyncio.run(submit_all())

    sent = [data for call in tier.handle.calls for data in call.images]
    assert sorted(int(data[:4]) for data in sent) == list(range(len(sizes)))
    assert all(len(call) <= items_per_call for call in tier.handle.calls)
    assert all(len(call) == 1 or sum(map(len, call.images)) <= bytes_per_call for call in tier.handle.calls)
    assert tier.calls.admission.held == 0


async def test_short_list_does_not_wait_for_a_long_one() -> None:
    """One item of each submission in turn: the late single text goes with the first call after it came."""
    tier = make_tier(Clock(), items_per_call=2, calls_in_flight=1)

    long = tier.calls.submit([text(f"long {n}") for n in range(6)], LATER)
    short = tier.calls.submit([text("short")], LATER)
    await collect([*long, *short])

    assert tier.handle.calls[0].texts == ("long 0", "short")
    assert [call.texts for call in tier.handle.calls[1:]] == [
        ("long 1", "long 2"),
        ("long 3", "long 4"),
        ("long 5",),
    ]


async def test_item_that_was_given_up_is_not_sent() -> None:
    """Who goes away while waiting costs the tier nothing, and the neighbour is sent."""
    tier = make_tier(Clock(), calls_in_flight=1)
    tier.handle.hold()
    first = tier.calls.submit([text("first")], LATER)
    await tier.handle.called()
    gone, patient = [tier.calls.submit([text(name)], LATER)[0] for name in ("gone", "patient")]

    gone.cancel()
    tier.handle.release()
    await collect([*first, patient])

    assert [call.texts for call in tier.handle.calls] == [("first",), ("patient",)]
    assert (tier.calls.admission.held, tier.calls.counts.abandoned) == (0, 1)


async def test_call_of_which_everything_was_given_up_is_cancelled() -> None:
    """The replica hears of it; nothing is held any more, and the next call goes."""
    tier = make_tier(Clock(), calls_in_flight=1)
    tier.handle.hold()
    answers = tier.calls.submit(texts(2), LATER)
    await tier.handle.called()

    for answer in answers:
        answer.cancel()
    await tier.handle.was_cancelled()
    tier.handle.release()

    assert len(await ask(tier, text("next"))) == 1
    assert (tier.calls.admission.held, tier.calls.counts.abandoned) == (0, 2)


async def test_call_goes_on_while_somebody_waits_for_a_part_of_it() -> None:
    """One of two callers goes away; the other gets its answer."""
    tier = make_tier(Clock())
    tier.handle.hold()
    gone, patient = tier.calls.submit(texts(2), LATER)
    await tier.handle.called()

    gone.cancel()
    tier.handle.release()

    assert isinstance((await collect([patient]))[0], Encoded)
    assert tier.calls.admission.held == 0


async def test_everything_given_up_in_the_turn_of_its_submission_leaves_nothing_held() -> None:
    """Before the call had begun, and while it was about to."""
    tier = make_tier(Clock())

    for turns in range(4):
        answers = tier.calls.submit(texts(2, f"turn {turns}"), LATER)
        for _ in range(turns):
            await asyncio.sleep(0)
        for answer in answers:
            answer.cancel()
        await asyncio.sleep(0.01)

    assert tier.calls.admission.held == 0


async def test_warm_up_has_calls_of_its_own_which_say_so() -> None:
    """Two at a time, beside live traffic's; the replica is told the class."""
    tier = make_tier(Clock(), items_per_call=2, calls_in_flight=2)
    tier.handle.hold()
    warm_up = tier.calls.submit(texts(6, "warm"), LATER, "warm_up")
    live = tier.calls.submit(texts(4, "live"), LATER)
    await tier.handle.called(3)
    under_way = [call.traffic for call in tier.handle.calls]
    tier.handle.release()
    await collect([*warm_up, *live])

    assert sorted(under_way) == ["live", "live", "warm_up", "warm_up"]
    assert sum(len(call) for call in tier.handle.calls if call.traffic == "warm_up") == 6


async def test_warm_up_that_fills_its_share_keeps_no_live_item_out() -> None:
    """Classes are counted apart."""
    limit = AdaptiveLimitConfig(floor=4, initial=4, ceiling=4)
    tier = make_tier(Clock(), admission=AdmissionConfig(texts=limit, max_items=4, warm_up_share=0.25))
    tier.handle.hold()
    warm_up = tier.calls.submit(texts(1, "warm"), LATER, "warm_up")

    with pytest.raises(Overloaded):
        tier.calls.submit(texts(1, "more"), LATER, "warm_up")
    live = tier.calls.submit(texts(3), LATER)
    tier.handle.release()
    await collect([*warm_up, *live])

    assert tier.calls.counts.refused == 1


async def test_each_replica_that_answers_has_calls_of_its_own() -> None:
    """With a second replica twice as many calls are under way; one that was not heard of for long counts no more."""
    clock = Clock()
    tier = make_tier(clock, items_per_call=1, calls_in_flight=2)
    for replica in ("a", "b"):
        tier.handle.replica = replica
        await ask(tier, text(f"first of {replica}"))

    with_two = await calls_under_way(tier, "now")
    clock.advance(11.0)
    with_none = await calls_under_way(tier, "later")

    assert (with_two, with_none) == (4, 2)


async def calls_under_way(tier: FakeTier, prefix: str) -> int:
    """How many calls go out for eight items while none is answered."""
    before = len(tier.handle.calls)
    tier.handle.hold()
    answers = tier.calls.submit(texts(8, prefix), LATER)
    for _ in range(10):
        await asyncio.sleep(0)
    under_way = len(tier.handle.calls) - before
    tier.handle.release()
    await collect(answers)
    return under_way
