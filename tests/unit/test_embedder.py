"""One tier's embeddings: from the cache, or from the tier, once however many ask."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from router.admission import AdmissionConfig
from router.deadline import Deadline
from router.embedder import Embedder, Embedding
from router.errors import ApiError, BadImage, DeadlineExceeded, InternalError, Overloaded, Unavailable, UnknownKey
from router.items import Item
from router.tier_calls import TierShed, TierUnreachable
from tests.fakes import (
    ACCURATE_MODEL,
    FAST_MODEL,
    Clock,
    FakeTier,
    by_key,
    content_vector,
    count_tokens,
    image,
    make_cache,
    make_tier,
    text,
)

LATER = Deadline(1010.0)
PAST = Deadline(999.0)
CAT, DOG = image(b"cat"), image(b"dog")


async def embed(tier: FakeTier, *items: Item, deadline: Deadline = LATER) -> list[Embedding]:
    """Embed items that all succeed."""
    results = await tier.embedder.encode(items, deadline)
    assert all(isinstance(result, Embedding) for result in results), results
    return [result for result in results if isinstance(result, Embedding)]


async def embed_one(tier: FakeTier, item: Item, deadline: Deadline = LATER) -> Embedding | ApiError:
    """Embed one item, or say why not."""
    (result,) = await tier.embedder.encode([item], deadline)
    return result


async def cached(tier: FakeTier, items: Sequence[Item]) -> list[bool]:
    """Which items the cache has."""
    return [embedding is not None for embedding in await tier.embedder.cached(items)]


async def test_miss_is_embedded_by_the_tier() -> None:
    """The vector is the tier's, and no hit."""
    tier = make_tier(Clock())

    picture, words = await embed(tier, CAT, text("a cat"))

    np.testing.assert_array_equal(picture.vector, content_vector(b"cat", "f1"))
    assert (picture.token_count, picture.is_hit) == (0, False)
    assert (words.token_count, words.is_hit) == (count_tokens("a cat"), False)


async def test_embedding_is_found_in_the_cache_afterwards() -> None:
    """The next lookup hits, with the same vector and the text's tokens."""
    tier = make_tier(Clock())
    await embed(tier, CAT, text("a cat"))

    picture, words = await tier.embedder.cached([CAT, text("a cat")])

    assert picture is not None
    assert words is not None
    np.testing.assert_array_equal(picture.vector, content_vector(b"cat", "f1"))
    np.testing.assert_array_equal(words.vector, content_vector("a cat", "f1"))
    assert (picture.token_count, words.token_count) == (0, count_tokens("a cat"))
    assert picture.is_hit
    assert words.is_hit


async def test_item_named_by_its_key_is_found_in_the_cache() -> None:
    """Whoever has sent the bytes once may send the key."""
    tier = make_tier(Clock())
    await embed(tier, CAT)

    assert await cached(tier, [by_key(CAT), by_key(DOG)]) == [True, False]


async def test_unknown_key_fails_alone() -> None:
    """Nothing can be embedded of a key; its neighbours are."""
    tier = make_tier(Clock())

    known, unknown = await tier.embedder.encode([CAT, by_key(DOG)], LATER)

    assert isinstance(known, Embedding)
    assert isinstance(unknown, UnknownKey)
    assert tier.handle.items == 1


async def test_key_beside_its_own_bytes_needs_no_cache() -> None:
    """One request that sends an image and names it again is answered for both."""
    tier = make_tier(Clock())

    by_name, by_bytes = await embed(tier, by_key(CAT), CAT)

    np.testing.assert_array_equal(by_name.vector, by_bytes.vector)


async def test_repeated_item_is_sent_once() -> None:
    """Three times the same picture in one list costs one encode."""
    tier = make_tier(Clock())

    first, second, third = await embed(tier, CAT, image(b"cat"), CAT)

    assert tier.handle.items == 1
    assert first.vector is second.vector is third.vector


async def test_concurrent_identical_items_are_encoded_once() -> None:
    """A hundred requests for one image and one text are one call with two items."""
    tier = make_tier(Clock())
    requests = [asyncio.create_task(embed(tier, CAT, text("a cat"))) for _ in range(100)]

    answers = await asyncio.gather(*requests)

    assert len(answers) == 100
    assert (len(tier.handle.calls), tier.handle.items) == (1, 2)
    assert tier.embedder.joins == 198


async def test_request_that_comes_during_the_call_joins_it() -> None:
    """What is at the tier already is waited for and not sent again."""
    tier = make_tier(Clock())
    tier.handle.hold()
    first = asyncio.create_task(embed(tier, CAT))
    await tier.handle.called()

    second = asyncio.create_task(embed(tier, CAT, DOG))
    await tier.handle.called(2)
    tier.handle.release()
    await asyncio.gather(first, second)

    assert [call.images for call in tier.handle.calls] == [(b"cat",), (b"dog",)]


async def test_miss_that_another_request_has_just_filled_is_not_sent() -> None:
    """A flight that ended between our lookup and our claim has left its vector in the cache."""
    tier = make_tier(Clock())
    await embed(tier, CAT)

    (again,) = await embed(tier, CAT)

    assert again.is_hit
    assert tier.handle.items == 1


async def test_leader_that_is_cancelled_cancels_nobody_else() -> None:
    """The request that began the work goes away; the one that joined gets the answer."""
    tier = make_tier(Clock())
    tier.handle.hold()
    leader = asyncio.create_task(embed(tier, CAT))
    await tier.handle.called()
    follower = asyncio.create_task(embed(tier, CAT))
    await asyncio.sleep(0)

    leader.cancel()
    tier.handle.release()
    (answer,) = await follower

    assert leader.cancelled()
    assert not answer.is_hit
    assert len(tier.handle.calls) == 1


async def test_waiter_without_time_gives_up_and_the_others_wait_on() -> None:
    """Its own deadline is its own error; the work goes on and is kept."""
    tier = make_tier(Clock())
    tier.handle.hold()
    patient = asyncio.create_task(embed(tier, CAT))
    await tier.handle.called()

    hurried = await embed_one(tier, CAT, PAST)
    tier.handle.release()
    (answer,) = await patient

    assert isinstance(hurried, DeadlineExceeded)
    assert not answer.is_hit
    assert await cached(tier, [CAT]) == [True]


async def test_follower_with_more_time_than_its_leader_asks_anew() -> None:
    """A call that ended at the leader's deadline is made again with the follower's."""
    clock = Clock()
    tier = make_tier(clock)
    tier.handle.hold()
    tier.handle.faults.append(TimeoutError())
    leader = asyncio.create_task(embed_one(tier, CAT, Deadline(1001.0)))
    await tier.handle.called()
    follower = asyncio.create_task(embed_one(tier, CAT, LATER))
    await asyncio.sleep(0)

    clock.advance(1.0)
    tier.handle.release()

    assert isinstance(await leader, DeadlineExceeded)
    assert isinstance(await follower, Embedding)
    assert tier.handle.timeouts_s == [1.0, 9.0]


async def test_followers_that_ask_anew_share_one_call() -> None:
    """Fifty followers of a leader that ran out of time become one flight again."""
    clock = Clock()
    tier = make_tier(clock)
    tier.handle.hold()
    tier.handle.faults.append(TimeoutError())
    leader = asyncio.create_task(embed_one(tier, CAT, Deadline(1001.0)))
    await tier.handle.called()
    followers = [asyncio.create_task(embed_one(tier, CAT, LATER)) for _ in range(50)]
    await asyncio.sleep(0)

    clock.advance(1.0)
    tier.handle.release()
    answers = await asyncio.gather(leader, *followers)

    assert sum(isinstance(answer, Embedding) for answer in answers) == 50
    assert len(tier.handle.calls) == 2


async def test_model_forgotten_while_the_tier_is_too_slow_is_no_exception() -> None:
    """A tier that was too slow once and rolled in between is an error of the item."""
    tier = make_tier(Clock())
    tier.handle.hold()
    tier.handle.faults.append(TimeoutError())
    asking = asyncio.create_task(embed_one(tier, CAT))
    await tier.handle.called()

    tier.handle.description = replace(FAST_MODEL, revision="f2")
    tier.embedder._space = None
    tier.handle.release()

    assert isinstance(await asking, DeadlineExceeded)


async def test_key_alone_asks_nothing_of_the_tier() -> None:
    """Without any bytes there is nothing to wait for."""
    tier = make_tier(Clock())

    assert isinstance(await embed_one(tier, by_key(CAT)), UnknownKey)
    assert tier.handle.calls == []


async def test_tier_that_had_all_our_time_is_not_asked_again() -> None:
    """Only another's shorter deadline is worth asking anew."""
    tier = make_tier(Clock())
    tier.handle.fault = TimeoutError()

    assert isinstance(await embed_one(tier, CAT), DeadlineExceeded)
    assert len(tier.handle.calls) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [(TierShed(), Overloaded), (TierUnreachable(), Unavailable), (RuntimeError("boom"), InternalError)],
)
async def test_fault_of_the_tier_is_every_waiters_error(fault: Exception, error: type[ApiError]) -> None:
    """Nothing is raised, nothing is cached, and the next request asks again."""
    tier = make_tier(Clock())
    tier.handle.fault = fault

    results = await asyncio.gather(embed_one(tier, CAT), embed_one(tier, CAT))
    tier.handle.fault = None

    assert [type(result) for result in results] == [error, error]
    assert await cached(tier, [CAT]) == [False]
    await embed(tier, CAT)


async def test_submission_that_is_refused_is_every_waiters_error() -> None:
    """A full queue sheds all who joined, and leaves no flight that nobody leads."""
    tier = make_tier(Clock(), admission=AdmissionConfig(max_items=1))

    results = await tier.embedder.encode([CAT, DOG], LATER)

    assert [type(result) for result in results] == [Overloaded, Overloaded]
    await embed(tier, CAT)


async def test_bad_item_is_not_cached() -> None:
    """Its error is told to whoever asks, and its neighbours are kept."""
    tier = make_tier(Clock())
    tier.handle.bad_items[b"dog"] = "bad_image"

    good, bad = await tier.embedder.encode([CAT, DOG], LATER)

    assert isinstance(good, Embedding)
    assert isinstance(bad, BadImage)
    assert await cached(tier, [CAT, DOG]) == [True, False]


async def test_tier_that_has_not_come_up_is_unavailable() -> None:
    """Before its model is known there is no key to cache under and nothing to compare with."""
    tier = make_tier(Clock())
    embedder = Embedder(tier.calls, make_cache(), "float32", Clock())

    (result,) = await embedder.encode([CAT], LATER)

    assert isinstance(result, Unavailable)
    assert await embedder.cached([CAT]) == [None]
    assert (embedder.description, embedder.model_id) == (None, None)


async def test_refresh_takes_over_what_the_tier_says_of_its_model() -> None:
    """Id and revision are the model's own, and everything else it says."""
    tier = make_tier(Clock())
    tier.handle.description = replace(FAST_MODEL, revision="f2", logit_scale=20.0)

    await tier.embedder.refresh(timeout_s=1.0)

    assert tier.embedder.model_id == "tiny-fast@f2"
    assert tier.embedder.description == tier.handle.description


async def test_changed_revision_is_neither_answered_nor_cached() -> None:
    """A vector of a model that nobody has described yet is compared with nothing and kept under no name."""
    tier = make_tier(Clock())
    tier.handle.description = replace(FAST_MODEL, revision="f2")

    result = await embed_one(tier, CAT)
    is_forgotten = tier.embedder.description is None
    tier.embedder.use(FAST_MODEL)

    assert isinstance(result, Unavailable)
    assert is_forgotten
    assert await cached(tier, [CAT]) == [False]


async def test_changed_revision_is_answered_once_it_is_described() -> None:
    """After the tier was asked anew, its new model's vectors are found under their own name."""
    tier = make_tier(Clock())
    tier.handle.description = replace(FAST_MODEL, revision="f2")
    await embed_one(tier, CAT)

    await tier.embedder.refresh(timeout_s=1.0)
    (answer,) = await embed(tier, CAT)

    np.testing.assert_array_equal(answer.vector, content_vector(b"cat", "f2"))
    assert await cached(tier, [CAT]) == [True]


async def test_new_model_finds_nothing_of_the_old_one() -> None:
    """Revision, preprocessing, precision and model are all part of the key."""
    tier = make_tier(Clock())
    await embed(tier, CAT, text("a cat"))

    changes: list[dict[str, str]] = [
        {"revision": "f2"},
        {"preprocessing": "2"},
        {"precision": "fp16"},
        {"model": "other"},
    ]
    for change in changes:
        tier.embedder.use(replace(FAST_MODEL, **change))  # type: ignore[arg-type]
        assert await cached(tier, [CAT, text("a cat")]) == [False, False]
    tier.embedder.use(FAST_MODEL)

    assert await cached(tier, [CAT, text("a cat")]) == [True, True]


async def test_two_tiers_share_a_cache_and_no_entry() -> None:
    """What the fast tier has embedded is unknown to the accurate one."""
    clock, cache = Clock(), make_cache()
    fast, accurate = make_tier(clock, cache), make_tier(clock, cache, description=ACCURATE_MODEL)
    await embed(fast, CAT)

    assert await cached(accurate, [CAT]) == [False]
    (other,) = await embed(accurate, CAT)

    np.testing.assert_array_equal(other.vector, content_vector(b"cat", "a1"))


async def test_cache_that_keeps_nothing_changes_no_answer() -> None:
    """Without any memory everything is a miss, and answered."""
    tier = make_tier(Clock(), make_cache(l1_bytes=0))

    for _ in range(2):
        (answer,) = await embed(tier, CAT)
        np.testing.assert_array_equal(answer.vector, content_vector(b"cat", "f1"))

    assert tier.handle.items == 2


async def test_caller_that_goes_away_alone_stops_the_work() -> None:
    """Nobody else waits: the tier's call is cancelled, and the same question can be asked anew."""
    tier = make_tier(Clock())
    tier.handle.hold()
    call = asyncio.create_task(tier.embedder.encode([CAT], LATER))
    await tier.handle.called()

    call.cancel()
    await tier.handle.was_cancelled()
    tier.handle.release()
    (again,) = await embed(tier, CAT)

    assert not again.is_hit
    assert tier.calls.admission.held == 0


async def test_caller_that_goes_away_leaves_the_work_to_those_who_still_wait() -> None:
    """The leader of a shared miss is gone, its follower is answered by the same call."""
    tier = make_tier(Clock())
    tier.handle.hold()
    leader = asyncio.create_task(tier.embedder.encode([CAT, DOG], LATER))
    await tier.handle.called()
    follower = asyncio.create_task(tier.embedder.encode([CAT], LATER))
    await asyncio.sleep(0)

    leader.cancel()
    tier.handle.release()
    (answer,) = await follower

    assert isinstance(answer, Embedding)
    assert len(tier.handle.calls) == 1


async def test_live_request_does_not_wait_at_warm_ups_pace() -> None:
    """What warm-up is computing is computed again for a live caller, who is served first."""
    tier = make_tier(Clock())
    tier.handle.hold()
    warm_up = asyncio.create_task(tier.embedder.encode([CAT], LATER, "warm_up"))
    await tier.handle.called()

    live = asyncio.create_task(tier.embedder.encode([CAT], LATER))
    await tier.handle.called(2)
    tier.handle.release()
    await asyncio.gather(warm_up, live)

    assert [call.traffic for call in tier.handle.calls] == ["warm_up", "live"]
