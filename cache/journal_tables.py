"""The embedded journal's tables: plain calls, which may block on the disk or another process.

A record's key is its log's name, a zero byte and its position: eight bytes, big-endian, chosen inside the transaction
that writes it. So a log is a range of keys, in the order in which its records were committed, whoever wrote them.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import lmdb

from cache.journal import Entry
from cache.lmdb_files import open_environment

T = TypeVar("T")

POSITION_BYTES = 8
POSITION_DIGITS = 2 * POSITION_BYTES
MAX_POSITION = (1 << 64) - 1
FULL_SHARE = 0.6
"""Share of the map that may be in use before room is made: a transaction that deletes needs new pages itself."""
CUT_PARTS, HARD_CUT_PARTS = 8, 2
TRIM_RECORDS = 10_000
"""Records that one append trims at most beyond its own number, so that a smaller `keep` holds nobody up for long."""


class JournalTables:
    """An open directory. A commit is on the disk when it returns."""

    def __init__(self, path: Path, max_bytes: int, clock_ns: Callable[[], int]) -> None:
        self._file = path / "data.mdb"
        self._env = open_environment(path, max_bytes + _surplus(self._file, max_bytes), max_dbs=3, metasync=True)
        try:
            self._logs, self._counts, self._documents = (
                self._env.open_db(name) for name in (b"logs", b"counts", b"documents")
            )
            self._identity = _identity(self._file)
        except BaseException:
            self._env.close()
            raise
        self._full_bytes = int(max_bytes * FULL_SHARE)
        self._clock_ns = clock_ns

    def is_in_place(self) -> bool:
        """Whether the path still leads to this directory: another process may have moved it aside."""
        try:
            return _identity(self._file) == self._identity
        except OSError:
            return False

    def append(self, log: bytes, records: Sequence[bytes], keep: int) -> None:
        """Append the records and drop the oldest beyond `keep`, in one transaction."""
        self._write(lambda txn: self._append(txn, log, records[-keep:], keep))

    def read(self, log: bytes, after: int, limit: int) -> list[Entry]:
        """Return the oldest records after a position."""
        prefix = log + b"\0"
        entries: list[Entry] = []
        with self._env.begin(db=self._logs) as txn, txn.cursor() as cursor:
            is_there = cursor.set_range(prefix + min(after + 1, MAX_POSITION).to_bytes(POSITION_BYTES))
            while is_there and len(entries) < limit and _is_of(cursor, log):
                entries.append(_entry(*cursor.item()))
                is_there = cursor.next()
        return entries

    def read_last(self, log: bytes, limit: int) -> list[Entry]:
        """Return the newest records, newest first."""
        entries: list[Entry] = []
        with self._env.begin(db=self._logs) as txn, txn.cursor() as cursor:
            is_there = _seek_last(cursor, log)
            while is_there and len(entries) < limit and _is_of(cursor, log):
                entries.append(_entry(*cursor.item()))
                is_there = cursor.prev()
        return entries

    def get(self, name: bytes) -> bytes | None:
        """Return a document, or None."""
        with self._env.begin(db=self._documents) as txn:
            held: bytes | None = txn.get(name)
            return held

    def replace(self, name: bytes, value: bytes, expected: bytes | None) -> bool:
        """Put a document in the place of the expected one; return whether it was the expected one."""

        def compare_and_set(txn: lmdb.Transaction) -> bool:
            if txn.get(name, db=self._documents) != expected:
                return False
            txn.put(name, value, db=self._documents)
            return True

        return self._write(compare_and_set)

    def close(self) -> None:
        """Unmap the files."""
        self._env.close()

    def _write(self, write: Callable[[lmdb.Transaction], T]) -> T:
        """Write in one transaction, making room first where the map is nearly full, and more where that is too little.

        Room is made in the same transaction: a page freed by one is of no use to the next.
        """
        try:
            with self._env.begin(write=True) as txn:
                if self._used_bytes(txn) > self._full_bytes:
                    self._cut_longest(txn, CUT_PARTS)
                return write(txn)
        except lmdb.MapFullError:
            self._env.reader_check()
            with self._env.begin(write=True) as txn:
                self._cut_longest(txn, HARD_CUT_PARTS)
                return write(txn)

    def _append(self, txn: lmdb.Transaction, log: bytes, records: Sequence[bytes], keep: int) -> None:
        prefix = log + b"\0"
        with txn.cursor(self._logs) as cursor:
            is_begun = _seek_last(cursor, log) and _is_of(cursor, log)
            last = int.from_bytes(cursor.key()[-POSITION_BYTES:]) if is_begun else 0
            first = max(last + 1, self._clock_ns())
            cursor.putmulti(
                [(prefix + (first + n).to_bytes(POSITION_BYTES), record) for n, record in enumerate(records)]
            )
        count = self._count(txn, log) + len(records)
        self._set_count(txn, log, count)
        self._drop_oldest(txn, log, min(count - keep, len(records) + TRIM_RECORDS))

    def _drop_oldest(self, txn: lmdb.Transaction, log: bytes, count: int) -> None:
        if count <= 0:
            return
        dropped = 0
        with txn.cursor(self._logs) as cursor:
            is_there = cursor.set_range(log + b"\0")
            while is_there and dropped < count and _is_of(cursor, log):
                is_there = cursor.delete()
                dropped += 1
        self._set_count(txn, log, self._count(txn, log) - dropped)

    def _cut_longest(self, txn: lmdb.Transaction, parts: int) -> None:
        """Drop the oldest of the log with the most records: one part in so many."""
        counts = [(int.from_bytes(count), log) for log, count in txn.cursor(self._counts)]
        if counts:
            count, log = max(counts)
            self._drop_oldest(txn, bytes(log), count // parts)

    def _used_bytes(self, txn: lmdb.Transaction) -> int:
        stats = [txn.stat(table) for table in (self._logs, self._documents)]
        return sum((s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"]) * s["psize"] for s in stats)

    def _count(self, txn: lmdb.Transaction, log: bytes) -> int:
        return int.from_bytes(txn.get(log, b"", db=self._counts))

    def _set_count(self, txn: lmdb.Transaction, log: bytes, count: int) -> None:
        txn.put(log, count.to_bytes(POSITION_BYTES), db=self._counts)


def _seek_last(cursor: lmdb.Cursor, log: bytes) -> bool:
    """Go to the last key that is not beyond the log; return whether there is one."""
    return bool(cursor.prev() if cursor.set_range(log + b"\1") else cursor.last())


def _is_of(cursor: lmdb.Cursor, log: bytes) -> bool:
    """Whether the cursor is at a record of the log; past the last key it is at none."""
    return bytes(cursor.key()).startswith(log + b"\0")


def _entry(key: bytes, record: bytes) -> Entry:
    return Entry(key[-POSITION_BYTES:].hex(), record)


def _surplus(file: Path, max_bytes: int) -> int:
    """Return the size of a file that another process's settings have let grow beyond ours: it is to be cut down.

    LMDB would map such a file up to its end, where there is no room for a transaction that deletes.
    """
    with suppress(OSError):
        size = file.stat().st_size
        return size if size > max_bytes else 0
    return 0


def _identity(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_dev, status.st_ino
