"""Await a coroutine without a timer for as long as it does not wait for anything."""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


async def within(coroutine: Coroutine[Any, Any, T], timeout_s: float) -> T:
    """Return the coroutine's result.

    It is run up to its first wait at once: a timer, which costs more than reading a body that has arrived, is set
    only where there is something to wait for.

    Raises:
        TimeoutError: It took longer than `timeout_s` seconds.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    async with asyncio.timeout(timeout_s):
        return await _go_on(coroutine, awaited)


@types.coroutine
def _go_on(coroutine: Coroutine[Any, Any, T], awaited: object) -> Generator[object, Any, T]:
    """Await a coroutine that has begun and waits for `awaited` (what `await` does, by PEP 380)."""
    try:
        while True:
            try:
                sent = yield awaited
            except BaseException as error:  # noqa: BLE001 - a cancellation too is the coroutine's to handle
                awaited = coroutine.throw(error)
            else:
                awaited = coroutine.send(sent)
    except StopIteration as end:
        result: T = end.value
        return result
