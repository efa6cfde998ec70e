"""What every journal promises: append-only logs and a few small documents, shared by a deployment's processes.

It knows nothing of what the bytes mean.
"""

import re
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

DEADLINE_S = 2.0
"""Longest that a call may take, in seconds."""

WALL_CLOCK_NS = time.time_ns
"""Positions follow it where their order allows, so that those of a journal that was lost are before its successor's."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,127}")


class Entry(NamedTuple):
    """One record of a log. Positions are opaque, and sort as strings in the order of the log."""

    position: str
    record: bytes


class Journal(Protocol):
    """Keeps logs and documents by name; names are of `a-z0-9_.:-`, 128 at most.

    Every call is over within a deadline, and raises JournalUnavailable where the place can't be reached. A write
    that does may have been done, in whole or in part, or be done yet. A name or a
    position that is none is a ValueError.
    """

    async def append(self, log: str, records: Sequence[bytes], *, keep: int) -> None:
        """Append the records, in order; the newest `keep` of the log, or somewhat more, are kept."""
        ...

    async def read(self, log: str, *, after: str = "", limit: int = 1000) -> list[Entry]:
        """Return the oldest records of a log, oldest first, of those after a position."""
        ...

    async def read_last(self, log: str, limit: int) -> list[Entry]:
        """Return the newest records of a log, newest first."""
        ...

    async def get(self, name: str) -> bytes | None:
        """Return a document, or None where there is none."""
        ...

    async def replace(self, name: str, value: bytes, *, expected: bytes | None) -> bool:
        """Put a document in the place of the expected one, None for no document at all.

        Returns:
            Whether it was done: False where the document was another one than expected.
        """
        ...

    async def close(self) -> None:
        """Let go of everything; closing twice is closing once, and later calls raise JournalUnavailable."""
        ...


def check_name(name: str) -> bytes:
    """Return the name of a log or a document as bytes.

    Raises:
        ValueError: It is none.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"a journal's names are 1 to 128 of a-z 0-9 _ . : -, the first a letter or digit: {name!r}")
    return name.encode()


def check_keep(keep: int) -> None:
    """Make sure that a log keeps something.

    Raises:
        ValueError: It keeps nothing.
    """
    if keep < 1:
        raise ValueError(f"keep: at least 1, got {keep}")


def parse_position(position: str, digits: int) -> int:
    """Return a position as a number: none given, or so many hex digits.

    Raises:
        ValueError: It is none that this journal gave.
    """
    if position and re.fullmatch(f"[0-9a-f]{{{digits}}}", position) is None:
        raise ValueError(f"after: no position of this journal: {position!r}")
    return int(position or "0", 16)
