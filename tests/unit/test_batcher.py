"""Batches of one encoder: across callers, as large as the load, and no item takes another one along."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import pytest

from tiers.batcher import Batcher, Row
from tiers.encoder_slot import EncoderSlot
from tiers.errors import BadItem, TierError
from tiers.messages import FloatMatrix

LATER = time.monotonic() + 3600
Result = Row | BaseException


class StepExecutor(Executor):
    """Runs a job when it is submitted or, while held, when it is released."""

    def __init__(self) -> None:
        self.is_held = False
        self.has_work = asyncio.Event()
        self._jobs: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take a job."""
        future: Future[Any] = Future()
        self._jobs.append(lambda: self._run(future, fn, *args, **kwargs))
        self.has_work.set()
        if not self.is_held:
            self.release()
        return future

    @property
    def jobs(self) -> int:
        """How many are held."""
        return len(self._jobs)

    def release(self) -> None:
        """Run what waits, and no longer hold anything."""
        self.is_held = False
        while self._jobs:
            self._jobs.pop(0)()

    @staticmethod
    def _run(future: Future[Any], fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - as a thread pool does
            future.set_exception(error)


class Death(BaseException):
    """What no handler catches."""


class FakeEncoder:
    """Turns numbers into rows of themselves; chosen numbers make trouble."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.poison: set[int] = set()
        self.not_finite: set[int] = set()
        self.deadly: set[int] = set()
        self.survives = 0
        self.lost_rows = 0

    def encode(self, payloads: Sequence[int]) -> FloatMatrix:
        """Encode one batch."""
        self.batches.append(list(payloads))
        if self.deadly & set(payloads) and len(self.batches) > self.survives:
            raise Death
        if self.poison & set(payloads):
            raise RuntimeError("this batch can't be encoded")
        rows = np.array([[number, np.nan if number in self.not_finite else 1] for number in payloads], dtype=np.float32)
        return rows[: len(payloads) - self.lost_rows]


class Bench:
    """A batcher over a fake encoder."""

    def __init__(self, max_items: int = 4, streams: int = 1) -> None:
        self.executor = StepExecutor()
        self.threads: list[int] = []
        self.slot = EncoderSlot(self.executor, streams=streams, threads=4, use_threads=self.threads.append)
        self.encoder = FakeEncoder()
        self.batcher: Batcher[int] = Batcher(self.encoder.encode, self.slot, max_items=max_items)

    def submit(self, *numbers: int, deadline: float = LATER) -> list[asyncio.Future[Row]]:
        """Queue numbers."""
        return [self.batcher.submit(number, deadline) for number in numbers]

    async def occupy(self) -> list[asyncio.Future[Row]]:
        """Hold the encoder in the middle of a batch of the number zero."""
        self.executor.is_held = True
        futures = self.submit(0)
        async with asyncio.timeout(5):
            await self.executor.has_work.wait()
        return futures


async def collect(futures: Sequence[asyncio.Future[Row]]) -> list[Result]:
    """Wait for all, errors included."""
    async with asyncio.timeout(5):
        return await asyncio.gather(*futures, return_exceptions=True)


def numbers(results: Sequence[Result]) -> list[int | str]:
    """What was encoded; an item's code, or an error's class, where it was not."""
    return [
        result.code
        if isinstance(result, BadItem)
        else type(result).__name__
        if isinstance(result, BaseException)
        else int(result[0])
        for result in results
    ]


async def test_items_of_many_callers_share_a_batch() -> None:
    """Four callers with one item each are one run of the encoder."""
    bench = Bench()

    futures = [future for number in range(4) for future in bench.submit(number)]

    assert numbers(await collect(futures)) == [0, 1, 2, 3]
    assert bench.encoder.batches == [[0, 1, 2, 3]]


async def test_batch_is_no_larger_than_allowed() -> None:
    """Ten items at four a batch or fewer, in their order."""
    bench = Bench(max_items=4)

    results = await collect(bench.submit(*range(10)))

    assert numbers(results) == list(range(10))
    assert max(len(batch) for batch in bench.encoder.batches) == 4


async def test_what_arrives_during_a_run_is_the_next_batch() -> None:
    """Items wait only while the encoder is busy, and then go together."""
    bench = Bench()
    futures = await bench.occupy()

    for number in (1, 2, 3):
        futures += bench.submit(number)
        await asyncio.sleep(0)
    waiting = len(bench.batcher)
    bench.executor.release()

    assert numbers(await collect(futures)) == [0, 1, 2, 3]
    assert waiting == 3
    assert bench.encoder.batches == [[0], [1, 2, 3]]


async def test_failing_batch_is_split_until_the_item_stands_alone() -> None:
    """One poisonous item of eight fails, its seven neighbours are encoded."""
    bench = Bench(max_items=8)
    bench.encoder.poison = {5}

    results = await collect(bench.submit(*range(8)))

    assert numbers(results) == [0, 1, 2, 3, 4, "internal", 6, 7]
    assert len(bench.encoder.batches) == 7
    assert bench.batcher.is_alive


async def test_batch_of_nothing_but_poison_fails_item_by_item() -> None:
    """And the loop goes on to the next one."""
    bench = Bench()
    bench.encoder.poison = {1, 2, 3}

    results = await collect(bench.submit(1, 2, 3))

    assert numbers(results) == ["internal"] * 3
    assert numbers(await collect(bench.submit(4))) == [4]


async def test_row_that_is_not_finite_fails_alone() -> None:
    """No answer can be made of it, and it says nothing of its neighbours."""
    bench = Bench()
    bench.encoder.not_finite = {1}

    assert numbers(await collect(bench.submit(0, 1, 2))) == [0, "bad_image", 2]
    assert bench.encoder.batches == [[0, 1, 2]]


async def test_encoder_that_loses_rows_never_mixes_items_up() -> None:
    """A result that does not fit its batch is an error: nobody waits, and nobody gets another one's row."""
    bench = Bench()
    bench.encoder.lost_rows = 1

    results = await collect(bench.submit(1, 2, 3))

    assert numbers(results) == ["internal"] * 3
    assert bench.batcher.is_alive


async def test_expired_items_are_dropped_before_they_cost_anything() -> None:
    """They are told so; the rest of the batch runs."""
    bench = Bench()

    late = bench.submit(1, deadline=time.monotonic() - 1)
    results = await collect([*late, *bench.submit(2)])

    assert numbers(results) == ["expired", 2]
    assert bench.encoder.batches == [[2]]


async def test_cancelled_items_are_skipped() -> None:
    """A caller that went away costs nothing and takes no place in the batch."""
    bench = Bench(max_items=2)
    futures = bench.submit(1, 2, 3)

    futures[0].cancel()

    assert numbers(await collect(futures[1:])) == [2, 3]
    assert bench.encoder.batches == [[2, 3]]


async def test_item_cancelled_during_its_run_is_no_error() -> None:
    """Its row comes too late for anyone; its neighbour has its own."""
    bench = Bench()
    futures = await bench.occupy()
    futures += bench.submit(1)

    futures[0].cancel()
    bench.executor.release()

    assert numbers(await collect(futures[1:])) == [1]
    assert bench.batcher.is_alive


async def test_nothing_runs_when_all_items_are_gone() -> None:
    """An empty batch is not encoded, and the next item is."""
    bench = Bench()
    for future in bench.submit(1, 2):
        future.cancel()

    assert numbers(await collect(bench.submit(3))) == [3]
    assert bench.encoder.batches == [[3]]


async def test_loop_that_dies_fails_everyone_who_waits(caplog: pytest.LogCaptureFixture) -> None:
    """Those in the batch, those in the queue and those who come later hear of it at once."""
    bench = Bench(max_items=2)
    bench.encoder.deadly = {2}

    results = await collect(bench.submit(1, 2, 3, 4))
    later = await collect(bench.submit(5))

    assert numbers(results) == ["TierError"] * 4
    assert numbers(later) == ["TierError"]
    assert not bench.batcher.is_alive
    assert "batching loop ended" in caplog.text


async def test_loop_that_dies_in_a_split_fails_both_halves() -> None:
    """The half that was not tried yet is not forgotten."""
    bench = Bench(max_items=4)
    bench.encoder.poison, bench.encoder.deadly = {3}, {0}
    bench.encoder.survives = 1

    results = await collect(bench.submit(0, 1, 2, 3))

    assert numbers(results) == ["TierError"] * 4
    assert bench.encoder.batches == [[0, 1, 2, 3], [0, 1]]


async def test_close_fails_what_runs_and_what_waits() -> None:
    """A replica that stops leaves nobody waiting; that is no fault to be logged."""
    bench = Bench()
    futures = await bench.occupy()
    futures += bench.submit(1, 2)

    bench.batcher.close()
    results = await collect(futures)

    assert numbers(results) == ["TierError"] * 3
    assert not bench.batcher.is_alive
    assert all(isinstance(result, TierError) for result in results)


async def test_two_batchers_take_turns_on_one_encoder() -> None:
    """Images and texts of a replica never run at the same time, and none starves."""
    bench = Bench()
    other: Batcher[int] = Batcher(bench.encoder.encode, bench.slot, max_items=4)
    futures = await bench.occupy()
    futures += [other.submit(10, LATER)]
    await asyncio.sleep(0)

    batches_while_held = list(bench.encoder.batches)
    bench.executor.release()

    assert numbers(await collect(futures)) == [0, 10]
    assert batches_while_held == []
    assert bench.encoder.batches == [[0], [10]]


async def test_slot_knows_since_when_it_is_running() -> None:
    """While a run takes place it says since when, and afterwards nothing; that is what health looks at."""
    bench = Bench()
    before = bench.slot.running_since
    futures = await bench.occupy()
    during = bench.slot.running_since
    bench.executor.release()
    await collect(futures)

    assert before is None
    assert during is not None
    assert bench.slot.running_since is None


async def test_calls_take_turns_in_the_queue() -> None:
    """One item of a call of its own is in the next run, however long a list came before it."""
    bench = Bench(max_items=2)
    futures = await bench.occupy()
    futures += [bench.batcher.submit(number, LATER, source="long") for number in range(1, 7)]
    futures.append(bench.batcher.submit(100, LATER, source="short"))

    bench.executor.release()
    await collect(futures)

    assert 100 in bench.encoder.batches[1]


async def test_streams_run_at_the_same_time_on_their_part_of_the_threads() -> None:
    """What waits is divided among the streams that are free."""
    bench = Bench(max_items=8, streams=2)
    bench.executor.is_held = True
    futures = bench.submit(1, 2, 3, 4, 5, 6)
    for _ in range(10):
        await asyncio.sleep(0)
    jobs = bench.executor.jobs

    bench.executor.release()

    assert numbers(await collect(futures)) == [1, 2, 3, 4, 5, 6]
    assert jobs == 2
    assert bench.encoder.batches == [[1, 2, 3], [4, 5, 6]]
    assert bench.threads == [2, 2]


async def test_single_item_with_nothing_beside_it_gets_all_threads() -> None:
    """Nobody else needs them."""
    bench = Bench(streams=2)

    await collect(bench.submit(1))

    assert bench.threads == [4]


async def test_items_of_a_stream_that_dies_and_of_the_others_are_all_told() -> None:
    """Nobody waits for a loop that has ended."""
    bench = Bench(max_items=2, streams=2)
    bench.encoder.deadly = {3}

    results = await collect(bench.submit(1, 2, 3, 4, 5, 6))

    assert set(numbers(results)) <= {"TierError", 1, 2}
    assert not bench.batcher.is_alive
