"""The journal of one process, gone with it: for a cache of `none:`, and for tests."""

from bisect import bisect_right
from collections.abc import Callable, Sequence

from cache.errors import JournalUnavailable
from cache.journal import WALL_CLOCK_NS, Entry, check_keep, check_name, parse_position

POSITION_DIGITS = 16


class MemoryJournal:
    """Logs and documents in memory, of `max_bytes` bytes in all.

    Where that is too little for what a log is to keep, the log loses its oldest records earlier.
    """

    def __init__(self, max_bytes: int, *, clock_ns: Callable[[], int] = WALL_CLOCK_NS) -> None:
        self._max_bytes = max_bytes
        self._clock_ns = clock_ns
        self._logs: dict[str, list[Entry]] = {}
        self._documents: dict[str, bytes] = {}
        self._bytes = 0
        self._last = 0
        self._is_closed = False

    async def append(self, log: str, records: Sequence[bytes], *, keep: int) -> None:
        """Append the records, in order; the newest `keep` of the log are kept."""
        self._check(log)
        check_keep(keep)
        entries = self._logs.setdefault(log, [])
        for record in records:
            # A position of an earlier process is before whatever comes now.
            self._last = max(self._last + 1, self._clock_ns())
            entries.append(Entry(f"{self._last:0{POSITION_DIGITS}x}", record))
            self._bytes += len(record)
        surplus = max(len(entries) - keep, 0)
        self._bytes -= sum(len(entry.record) for entry in entries[:surplus])
        while self._bytes > self._max_bytes and surplus < len(entries):
            self._bytes -= len(entries[surplus].record)
            surplus += 1
        del entries[:surplus]

    async def read(self, log: str, *, after: str = "", limit: int = 1000) -> list[Entry]:
        """Return the oldest records of a log, oldest first, of those after a position."""
        self._check(log)
        entries = self._logs.get(log, [])
        parse_position(after, POSITION_DIGITS)
        start = bisect_right(entries, after, key=lambda entry: entry.position)
        return entries[start : start + max(limit, 0)]

    async def read_last(self, log: str, limit: int) -> list[Entry]:
        """Return the newest records of a log, newest first."""
        self._check(log)
        return self._logs.get(log, [])[: -max(limit, 0) - 1 : -1]

    async def get(self, name: str) -> bytes | None:
        """Return a document, or None where there is none."""
        self._check(name)
        return self._documents.get(name)

    async def replace(self, name: str, value: bytes, *, expected: bytes | None) -> bool:
        """Put a document in the place of the expected one, and return whether it was the expected one."""
        self._check(name)
        held = self._documents.get(name)
        if held != expected:
            return False
        grown = self._bytes + len(value) - len(held or b"")
        if grown > self._max_bytes:
            raise JournalUnavailable("the journal is full")
        self._documents[name], self._bytes = value, grown
        return True

    async def close(self) -> None:
        """Forget everything."""
        self._is_closed = True
        self._logs.clear()
        self._documents.clear()

    def _check(self, name: str) -> None:
        check_name(name)
        if self._is_closed:
            raise JournalUnavailable("the journal is closed")
