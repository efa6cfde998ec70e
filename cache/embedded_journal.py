"""The journal of one machine, without a server: a directory beside the embedded store's."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, cast

import lmdb

from cache.errors import JournalUnavailable
from cache.journal import DEADLINE_S, WALL_CLOCK_NS, Entry, check_keep, check_name, parse_position
from cache.journal_tables import POSITION_DIGITS, JournalTables
from cache.lmdb_files import BROKEN, open_or_begin_anew

T = TypeVar("T")

_log = logging.getLogger(__name__)


class EmbeddedJournal:
    """Logs and documents in a directory, kept over restarts and shared by the processes of a machine.

    Everything happens in one thread, which alone owns the open directory: the disk, and another process that holds
    it up, cost a caller its deadline and never the event loop. A directory is opened by its first call, and by each
    later one while it can't be had; one that is broken is moved aside, and one that another process has moved aside
    is left for its successor. A process opens a directory once at a time.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        *,
        timeout_s: float = DEADLINE_S,
        clock_ns: Callable[[], int] = WALL_CLOCK_NS,
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._clock_ns = clock_ns
        self._tables: JournalTables | None = None
        self._is_closed = False
        self._busy = asyncio.Lock()
        self._running: asyncio.Future[object] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cache-journal")

    async def open(self) -> None:
        """Open the directory before the first call does."""
        await self._call(lambda _: None)

    async def append(self, log: str, records: Sequence[bytes], *, keep: int) -> None:
        """Append the records, in order; the newest `keep` of the log are kept."""
        name, given = check_name(log), tuple(records)
        check_keep(keep)
        await self._call(lambda tables: tables.append(name, given, keep))

    async def read(self, log: str, *, after: str = "", limit: int = 1000) -> list[Entry]:
        """Return the oldest records of a log, oldest first, of those after a position."""
        name, position = check_name(log), parse_position(after, POSITION_DIGITS)
        return await self._call(lambda tables: tables.read(name, position, limit))

    async def read_last(self, log: str, limit: int) -> list[Entry]:
        """Return the newest records of a log, newest first."""
        name = check_name(log)
        return await self._call(lambda tables: tables.read_last(name, limit))

    async def get(self, name: str) -> bytes | None:
        """Return a document, or None where there is none."""
        key = check_name(name)
        return await self._call(lambda tables: tables.get(key))

    async def replace(self, name: str, value: bytes, *, expected: bytes | None) -> bool:
        """Put a document in the place of the expected one, and return whether it was the expected one."""
        key = check_name(name)
        return await self._call(lambda tables: tables.replace(key, value, expected))

    async def close(self) -> None:
        """Let a call in progress finish, until the deadline at most, and close the directory."""
        if self._is_closed:
            return
        self._is_closed = True
        with suppress(JournalUnavailable):
            await self._run(self._shut)
        self._thread.shutdown(wait=False)

    async def _call(self, use: Callable[[JournalTables], T]) -> T:
        def in_thread() -> T:
            return self._use(use)

        return await self._run(in_thread, is_last=False)

    async def _run(self, in_thread: Callable[[], T], *, is_last: bool = True) -> T:
        """Run a call in the thread, after the one before it: what waits, waits here, where it is given up in time."""
        try:
            async with asyncio.timeout(self._timeout_s), self._busy:
                if self._running is not None:
                    await asyncio.wait([self._running])  # its caller may have given it up
                if self._is_closed and not is_last:
                    raise JournalUnavailable("the journal is closed")
                running = asyncio.get_running_loop().run_in_executor(self._thread, in_thread)
                self._running = cast("asyncio.Future[object]", running)
                self._running.add_done_callback(_look_at)
                return await asyncio.shield(running)
        except TimeoutError as error:
            raise JournalUnavailable(f"{self._path} did not answer in time") from error

    def _use(self, use: Callable[[JournalTables], T]) -> T:
        """Use the directory; begin anew, once, after an error that says it is broken. In the thread."""
        try:
            tables = self._open()
            try:
                return use(tables)
            except (*BROKEN, lmdb.MapResizedError) as error:
                _log.warning("journal: %s: %s", self._path, error)
                is_broken = not isinstance(error, lmdb.MapResizedError) and tables.is_in_place()
                self._shut()
                return use(self._open(is_broken=is_broken))
        except lmdb.MapFullError as error:
            raise JournalUnavailable(f"{self._path} is full") from error
        except (lmdb.Error, OSError) as error:
            raise JournalUnavailable(str(error)) from error

    def _open(self, *, is_broken: bool = False) -> JournalTables:
        if self._tables is not None and not self._tables.is_in_place():
            self._shut()
        if self._tables is None:
            self._tables = open_or_begin_anew(
                self._path,
                lambda: JournalTables(self._path, self._max_bytes, self._clock_ns),
                is_broken=is_broken,
            )
        return self._tables

    def _shut(self) -> None:
        tables, self._tables = self._tables, None
        if tables is not None:
            tables.close()


def _look_at(running: "asyncio.Future[object]") -> None:
    """Have an error looked at, whoever has stopped waiting for it."""
    if not running.cancelled():
        running.exception()
