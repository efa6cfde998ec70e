"""Rows that a thread reads ahead of the job: files and pipes block, and the job must not."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
AHEAD = 2


async def windows_of(items: Iterator[Item], size: int) -> AsyncIterator[Sequence[Item]]:
    """Yield `items` so many at a time, read in a thread, at most two windows ahead; raises what reading raises.

    The thread is nobody's to wait for: who stops while it waits for standard input leaves it there.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Queue[Sequence[Item] | Exception] = asyncio.Queue(AHEAD)

    def read() -> None:
        try:
            while window := tuple(islice(items, size)):
                asyncio.run_coroutine_threadsafe(ready.put(window), loop).result()
            end: Sequence[Item] | Exception = ()
        except Exception as error:  # noqa: BLE001 - supervisor of the thread: its reader is told
            end = error
        if not loop.is_closed():
            asyncio.run_coroutine_threadsafe(ready.put(end), loop)

    threading.Thread(target=read, name="catalogue", daemon=True).start()
    while window := await ready.get():
        if isinstance(window, Exception):
            raise window
        yield window
