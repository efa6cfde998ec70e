"""A coroutine that is run up to its first wait without a timer."""

import asyncio

import pytest

from router.eager import within


async def test_coroutine_that_waits_for_nothing_is_done_at_once() -> None:
    """No other task runs in between."""
    ran: list[str] = []
    other = asyncio.get_running_loop().create_task(asyncio.sleep(0))
    other.add_done_callback(lambda _: ran.append("other"))

    async def ready() -> int:
        return 7

    assert await within(ready(), 0.0) == 7
    assert not ran
    await other


async def test_coroutine_that_waits_is_awaited() -> None:
    """However often it waits."""

    async def slow() -> int:
        for _ in range(3):
            await asyncio.sleep(0.001)
        return 7

    assert await within(slow(), 5.0) == 7


async def test_coroutine_that_waits_too_long_is_ended() -> None:
    """It gets to clean up, and the caller gets a TimeoutError."""
    cleaned: list[bool] = []

    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    with pytest.raises(TimeoutError):
        await within(stuck(), 0.01)
    assert cleaned == [True]


@pytest.mark.parametrize("pause_s", [None, 0.001])
async def test_error_before_or_after_the_first_wait_is_the_callers(pause_s: float | None) -> None:
    """An error is not swallowed, whenever it comes."""

    async def faulty() -> None:
        if pause_s is not None:
            await asyncio.sleep(pause_s)
        raise KeyError("mine")

    with pytest.raises(KeyError):
        await within(faulty(), 5.0)


async def test_error_inside_the_coroutine_can_be_handled_there() -> None:
    """What a wait raises is thrown into the coroutine that waits."""
    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def careful() -> str:
        try:
            await failing
        except KeyError:
            return "handled"
        return "nothing happened"

    asyncio.get_running_loop().call_later(0.001, failing.set_exception, KeyError("theirs"))
    assert await within(careful(), 5.0) == "handled"


async def test_cancelled_caller_cancels_the_coroutine() -> None:
    """As an await would."""
    cancelled: list[bool] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    caller = asyncio.create_task(within(waits(), 5.0))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert cancelled == [True]
