"""Rows that a thread reads ahead of the job: files and pipes block, and the job must not."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
AHEAD = 2


async def windows_of(items: Iterator[Item], size: int) -> AsyncIterator[Sequence[Item]]:
    """Yield `items` so many at a time, read in a thread, at most two windows ahead; raises what reading raises.

    The thread is nobody's to wait for: who stops while it waits for standard input leaves it there.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Queue[Sequence[Item] | Exception] = asyncio.Queue()
    room = threading.Semaphore(AHEAD)
    is_abandoned = threading.Event()

    def read() -> None:
        is_over = False
        while not is_over:
            room.acquire()
            if is_abandoned.is_set():
                return
            window = _next(items, size)
            is_over = isinstance(window, Exception) or not window
            with suppress(RuntimeError):  # the loop is closed: there is nobody to hand it to
                loop.call_soon_threadsafe(ready.put_nowait, window)

    threading.Thread(target=read, name="catalogue", daemon=True).start()
    try:
        while window := await ready.get():
            if isinstance(window, Exception):
                raise window
            yield window
            room.release()
    finally:
        is_abandoned.set()
        room.release()


def _next(items: Iterator[Item], size: int) -> Sequence[Item] | Exception:
    try:
        return tuple(islice(items, size))
    except Exception as error:  # noqa: BLE001 - supervisor of the thread: its reader is told
        return error
