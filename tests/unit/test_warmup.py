"""Warm-up jobs over a real API on fake tiers: each text once, and found by whoever asks afterwards."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import count

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.distinct import Distinct
from jobs.errors import ServiceFailed
from jobs.estimate import Sample, entry_bytes, remaining_s
from jobs.list_size import AIM_S, FIRST, LONGEST, ListSize
from jobs.rows import Entry, Reject, Row
from jobs.service_tier import Refusal, ServiceTier
from jobs.together import together
from jobs.warmup import Listeners, Report, Tally, warm_up
from jobs.windows import windows_of
from router.tier_calls import TierShed, TierUnreachable
from tests.fakes import FakeRouter


async def one_window(*windows: Sequence[Entry]) -> AsyncIterator[Sequence[Entry]]:
    """Rows as a reader gives them."""
    for window in windows:
        yield window


def rows(*texts: str) -> list[Entry]:
    """A catalogue of these texts."""
    return [Row("a.txt", line, text) for line, text in enumerate(texts, 1)]


def no_pause(refusal: Refusal) -> float | None:
    """Ask again at once, five times."""
    return 0.0 if refusal.attempt < 5 else None


async def nothing() -> None:
    """Nobody looks."""


async def warm(
    router: FakeRouter, catalogue: Sequence[Entry], *, rate: float | None = None
) -> tuple[Tally, list[Reject]]:
    """Run a job on both tiers; what it counted, and what it rejected."""
    tally, rejects = Tally(), list[Reject]()
    async with router.client() as client:
        warmers = [ServiceTier(client, tier, no_pause) for tier in ("fast", "accurate")]
        listeners = Listeners(rejects.append, lambda _: None, nothing)
        await warm_up(one_window(catalogue), warmers, tally, listeners, rate)
    return tally, rejects


def embedded(router: FakeRouter) -> list[list[str]]:
    """The texts that each tier got, in alphabetical order."""
    return [
        sorted(text for call in tier.handle.calls for text in call.texts) for tier in (router.fast, router.accurate)
    ]


async def test_each_text_is_embedded_once_by_each_tier() -> None:
    """Duplicates cost nothing, and a second run embeds nothing."""
    router = FakeRouter()
    catalogue = rows("a cat", "a dog", "a cat", "an owl")

    first, _ = await warm(router, catalogue)
    second, _ = await warm(router, catalogue)

    assert embedded(router) == [["a cat", "a dog", "an owl"]] * 2
    assert (first.rows, first.texts, first.duplicates, first.rejected) == (4, 3, 1, 0)
    assert {(tier.embedded, tier.cached) for tier in first.tiers.values()} == {(3, 0)}
    assert {(tier.embedded, tier.cached) for tier in second.tiers.values()} == {(0, 3)}


async def test_texts_go_as_warm_up_traffic() -> None:
    """Callers come first."""
    router = FakeRouter()

    await warm(router, rows("a cat"))

    assert {call.traffic for tier in (router.fast, router.accurate) for call in tier.handle.calls} == {"warm_up"}


async def test_text_that_the_service_refuses_is_rejected_alone() -> None:
    """Too long for the service, and one that a tier can't take: each with its row and its reason."""
    router = FakeRouter()
    router.fast.handle.bad_items["a riddle"] = "too_large"
    catalogue = rows("a cat", "x" * 65, "a riddle", "a dog")

    tally, rejects = await warm(router, catalogue)

    assert tally.rejected == len(rejects) == 2
    assert {(reject.line, reject.reason.partition(":")[0]) for reject in rejects} == {
        (2, "fast tier"),
        (3, "fast tier"),
    }
    assert "64 characters" in rejects[1].reason + rejects[0].reason
    assert tally.tiers["accurate"].embedded == 3


async def test_rows_that_could_not_be_read_are_rejected() -> None:
    """The job goes on with the others; where there are no others it has failed altogether."""
    bad = Reject("a.txt", 1, "not JSON")

    some, rejects = await warm(FakeRouter(), [bad, *rows("a cat")])
    none, _ = await warm(FakeRouter(), [bad])

    assert rejects == [bad]
    assert (some.failed_altogether, none.failed_altogether) == (False, True)


@pytest.mark.parametrize("fault", [TierShed(), TierUnreachable()])
async def test_list_that_is_refused_for_now_is_sent_again(fault: Exception) -> None:
    """Nothing is lost, and the summary has each text once."""
    router = FakeRouter()
    router.fast.handle.faults.extend([fault] * 2)

    tally, rejects = await warm(router, rows("a cat", "a dog"))

    assert (rejects, tally.rejected) == ([], 0)
    assert tally.tiers["fast"].embedded + tally.tiers["fast"].cached == 2


async def test_service_that_refuses_for_too_long_ends_the_job() -> None:
    """In words that say what to do; the error is in no group."""
    router = FakeRouter()
    router.fast.handle.fault = TierShed()

    with pytest.raises(ServiceFailed, match=r"asked 5 times: 503.*run the same command again"):
        await warm(router, rows("a cat"))


async def test_service_that_goes_away_ends_the_job() -> None:
    """After it was looked for a few times."""
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9") as client:
        with pytest.raises(ServiceFailed, match="no answer"):
            await ServiceTier(client, "fast", no_pause).warm(["a cat"], lambda **_: None)


async def test_lists_shrink_where_the_service_takes_fewer() -> None:
    """Its limit, five here, is found out and not asked for."""
    tally, rejects = await warm(FakeRouter(), rows(*[f"cat {number}" for number in range(100)]))

    assert rejects == []
    assert tally.tiers["fast"].embedded == 100


async def test_rate_is_kept() -> None:
    """So many texts a second at most."""
    tally, _ = await warm(FakeRouter(), rows("a", "b", "c"), rate=30)

    assert tally.seconds >= 0.1


async def test_texts_of_one_length_are_sent_together() -> None:
    """What is encoded together is padded to its longest."""
    router = FakeRouter()
    await warm(router, rows("a" * 9, "b", "c" * 5, "d" * 3))

    (call,) = router.fast.handle.calls
    assert [len(text) for text in call.texts] == [1, 3, 5, 9]


async def test_job_that_is_cut_short_has_counted_what_it_did() -> None:
    """Its summary is true at any time."""
    tally = Tally()

    has_begun = asyncio.Event()

    class Endless:
        tier = "fast"

        async def warm(self, texts: Sequence[str], report: Report) -> Mapping[int, str]:
            report(embedded=1)
            has_begun.set()
            await asyncio.sleep(3600)
            return {}

    job = asyncio.create_task(
        warm_up(one_window(rows("a", "b")), [Endless()], tally, Listeners(lambda _: None, lambda _: None, nothing))
    )
    await has_begun.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job

    assert tally.tiers["fast"].embedded == 1
    assert tally.seconds > 0


@given(st.lists(st.lists(st.text(alphabet="abc", max_size=3), max_size=30), max_size=8))
def test_distinct_tells_texts_that_came_before(batches: list[list[str]]) -> None:
    """As a set of all of them would."""
    distinct, seen = Distinct(), set[str]()

    for batch in batches:
        expected = []
        for text in batch:
            expected.append(text not in seen)
            seen.add(text)
        assert distinct.are_new(batch) == expected

    assert len(distinct) == len(seen)
    assert distinct.used_bytes == 16 * len(seen)


def test_lists_grow_while_answers_are_quick_and_shrink_when_slow() -> None:
    """Up to what a router holds for warm-up."""
    size = ListSize()
    assert size.value == FIRST

    for _ in range(10):
        size.answered(size.value, 0.01)
    assert size.value == LONGEST

    size.answered(LONGEST, 3 * AIM_S)
    assert size.value == LONGEST // 2
    size.answered(3, 0.01)
    assert size.value == LONGEST // 2
    size.refused(64)
    for _ in range(10):
        size.answered(size.value, 0.01)
    assert size.value == 32


@pytest.mark.parametrize(
    ("dtype", "sizes"),
    [("float32", (1387, 2667, 3691)), ("float16", (747, 1387, 1899)), ("int8", (427, 747, 1003))],
)
def test_memory_of_an_embedding_is_what_was_measured(dtype: str, sizes: tuple[int, ...]) -> None:
    """The table of docs/redis.md."""
    assert tuple(entry_bytes(dimension, dtype) for dimension in (256, 512, 768)) == sizes


def test_sample_is_of_the_whole_stream() -> None:
    """Not its beginning; a short stream is its own sample."""
    sample, short = Sample(size=100), Sample(size=100)
    short.add(["a", "b"])
    for start in range(0, 10_000, 1000):
        sample.add([str(number) for number in range(start, start + 1000)])

    assert short.texts == ["a", "b"]
    assert len(set(sample.texts)) == 100
    assert 3000 < sum(map(int, sample.texts)) / 100 < 7000


def test_time_that_remains_is_the_samples_or_the_rates() -> None:
    """Whichever is more."""
    assert remaining_s(2.0, 100, 1000, None) == 20
    assert remaining_s(2.0, 100, 1000, 10) == 100
    assert remaining_s(0.0, 0, 0, None) == 0


async def test_windows_are_read_a_few_ahead() -> None:
    """An endless catalogue fills no memory."""
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        for number in count():
            read = number
            yield number

    windows = windows_of(endless(), 10)
    assert await anext(windows) == tuple(range(10))
    await asyncio.sleep(0.05)

    assert read < 60
    await windows.aclose()  # type: ignore[attr-defined] # it is a generator


async def test_what_reading_raises_reaches_the_job() -> None:
    """After the windows before it."""

    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise ServiceFailed("gone")

    windows = windows_of(broken(), 1)
    assert [await anext(windows), await anext(windows)] == [(1,), (2,)]
    with pytest.raises(ServiceFailed, match="gone"):
        await anext(windows)


async def test_first_error_stops_the_others() -> None:
    """And is raised as it is."""
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("stopped")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ServiceFailed("no")

    with pytest.raises(ServiceFailed):
        await together([wait(), fail()])

    assert ended == ["stopped"]
