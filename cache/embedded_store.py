"""The shared store of one machine, without a server.

LMDB never evicts, so entries live in two generations: new ones go to the current generation, reads ask both,
and when the current one has grown to its share of the map, the older one is emptied and becomes current. All
of it is one transaction: other processes see it whole or not at all, and one that is killed undoes it.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb

from cache.lmdb_files import BROKEN, open_environment, open_or_begin_anew
from cache.store import StoreCounts

_log = logging.getLogger(__name__)

READ_STEP = 64
WRITE_STEP = 256
GENERATION_SHARE = 0.4
RETRY_OPEN_S = 30.0
CLOSE_TIMEOUT_S = 2.0


class Generations:
    """The two generations of a directory: plain calls, which may block on the disk or another process.

    A commit is on the disk when it returns, all but the newest one: a crash of the machine loses that
    one, a crash of the process none.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._env = open_environment(path, max_bytes, max_dbs=3, metasync=False)
        try:
            self._meta = self._env.open_db(b"meta")
            self._tables = {name: self._env.open_db(name) for name in (b"a", b"b")}
        except BaseException:
            self._env.close()
            raise
        self._max_generation_bytes = int(max_bytes * GENERATION_SHARE)

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the keys' values, of the current generation first."""
        with self._env.begin() as txn:
            current = txn.get(b"current", b"a", db=self._meta)
            newer, older = self._tables[current], self._tables[_other(current)]
            found: list[bytes | None] = []
            for key in keys:
                value = txn.get(key, db=newer)
                found.append(txn.get(key, db=older) if value is None else value)
            return found

    def put(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write the entries in one transaction, making room first where the current generation is full."""
        try:
            self._write(entries, rotate=False)
        except lmdb.MapFullError:
            self._env.reader_check()
            self._write(entries, rotate=True)

    def close(self) -> None:
        """Unmap the files."""
        self._env.close()

    def _write(self, entries: Sequence[tuple[bytes, bytes]], *, rotate: bool) -> None:
        with self._env.begin(write=True) as txn:
            current = txn.get(b"current", b"a", db=self._meta)
            stat = txn.stat(self._tables[current])
            pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            if rotate or pages * stat["psize"] >= self._max_generation_bytes:
                current = _other(current)
                txn.drop(self._tables[current], delete=False)
                txn.put(b"current", current, db=self._meta)
            with txn.cursor(self._tables[current]) as cursor:
                cursor.putmulti(sorted(dict(entries).items()))


def _other(name: bytes) -> bytes:
    return b"b" if name == b"a" else b"a"


class EmbeddedStore:
    """Values in a directory, kept over restarts and shared by the processes of a machine.

    Reads are short and run in the event loop, which alone owns the open directory; writes run in one
    thread. A full disk, a directory without permission or a broken one is misses and dropped writes;
    what is broken is begun anew, what cannot be opened is tried again every half minute.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._generations: Generations | None = None
        self._retry_at = 0.0
        self._is_closed = False
        self._busy = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cache-embedded")
        self._hits = self._misses = self._refused = self._errors = self._writes = self._dropped = 0

    @classmethod
    async def open(cls, path: Path, max_bytes: int) -> "EmbeddedStore":
        """Open the store at a directory, created when absent, of at most `max_bytes` bytes on disk."""
        store = cls(path, max_bytes)
        async with store._busy:
            await store._reopen(is_broken=False)
        return store

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return each key's value, in order; None for a miss or an outage."""
        found: list[bytes | None] = []
        for start in range(0, len(keys), READ_STEP):
            if start:
                await asyncio.sleep(0)  # other callers' turn
            found += await self._get_step(keys[start : start + READ_STEP])
        return found

    async def put_many(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write (key, value) pairs; an outage or a full disk drops and counts them."""
        for start in range(0, len(entries), WRITE_STEP):
            async with self._busy:
                await self._put_step(entries[start : start + WRITE_STEP])

    def counts(self) -> StoreCounts:
        """Return a snapshot of the store's counters."""
        return StoreCounts(
            hits=self._hits,
            misses=self._misses,
            refused=self._refused,
            errors=self._errors,
            writes=self._writes,
            dropped_writes=self._dropped,
        )

    @property
    def is_open(self) -> bool:
        """Whether there is a directory to read from and write to."""
        return self._generations is not None

    @property
    def is_alive(self) -> bool:
        """Always: nothing runs in the background."""
        return True

    @property
    def unanswered(self) -> int:
        """Keys that were asked for while there was no directory, or that it failed to read."""
        return self._refused + self._errors

    async def close(self) -> None:
        """Let a write in progress finish, for two seconds at most, and close the directory."""
        self._is_closed = True
        generations, self._generations = self._generations, None
        self._thread.shutdown(wait=False)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S), self._busy:
                if generations is not None:
                    generations.close()
        except TimeoutError:
            _log.warning("cache: a write to %s did not end in time", self._path)

    async def _get_step(self, keys: Sequence[bytes]) -> list[bytes | None]:
        generations = self._generations
        if generations is None:
            self._refused += len(keys)
            return [None] * len(keys)
        try:
            found = generations.get(keys)
        except lmdb.Error as error:
            self._errors += len(keys)
            async with self._busy:
                await self._judge(generations, error)
            return [None] * len(keys)
        misses = found.count(None)
        self._misses += misses
        self._hits += len(found) - misses
        return found

    async def _put_step(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        if self._generations is None and time.monotonic() >= self._retry_at:
            await self._reopen(is_broken=False)
        generations = self._generations
        if generations is None:
            self._dropped += len(entries)
            return
        loop = asyncio.get_running_loop()
        write = loop.run_in_executor(self._thread, generations.put, entries)
        try:
            await asyncio.shield(write)
            self._writes += len(entries)
        except asyncio.CancelledError:
            await asyncio.wait([write])  # the directory must not be closed under the thread
            raise
        except lmdb.Error as error:
            self._dropped += len(entries)
            await self._judge(generations, error)

    async def _judge(self, generations: Generations, error: lmdb.Error) -> None:
        """Begin anew after an error that says the directory is broken; go on after any other."""
        if generations is not self._generations:
            return
        if not isinstance(error, (*BROKEN, lmdb.MapResizedError)):
            _log.warning("cache: %s: %s", self._path, error)
            return
        self._generations = None
        generations.close()
        await self._reopen(is_broken=not isinstance(error, lmdb.MapResizedError))

    async def _reopen(self, *, is_broken: bool) -> None:
        """Open the directory in the thread; called with `_busy` held."""
        if self._is_closed:
            return
        self._retry_at = time.monotonic() + RETRY_OPEN_S
        try:
            self._generations = await asyncio.get_running_loop().run_in_executor(
                self._thread,
                lambda: open_or_begin_anew(
                    self._path, lambda: Generations(self._path, self._max_bytes), is_broken=is_broken
                ),
            )
        except (lmdb.Error, OSError) as error:
            _log.warning("cache: going on without the embedded store at %s: %s", self._path, error)
