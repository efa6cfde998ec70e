"""The journal of one process: bounded, and in order whatever the clock says."""

from collections.abc import AsyncIterator

import pytest

from cache.errors import JournalUnavailable
from cache.journal import Journal
from cache.memory_journal import MemoryJournal
from tests.journal_contract import JournalContract, numbered, read_all

MIB = 1 << 20


class TestMemoryJournal(JournalContract):
    """The journal of a process is a journal like the others."""

    @pytest.fixture
    async def journal(self) -> AsyncIterator[Journal]:
        """An empty journal."""
        journal = MemoryJournal(16 * MIB)
        yield journal
        await journal.close()


async def test_memory_has_a_bound_whatever_is_to_be_kept() -> None:
    """A log that would grow beyond it loses its oldest records; a document that does not fit is refused."""
    journal = MemoryJournal(15_000)
    for start in range(0, 1000, 10):
        await journal.append("audit", numbered(10, start), keep=1_000_000)

    assert await read_all(journal, "audit") == numbered(100, start=900)
    with pytest.raises(JournalUnavailable, match="full"):
        await journal.replace("state", b"1", expected=None)


async def test_memory_of_a_clock_that_is_set_back_keeps_its_order() -> None:
    """Positions grow whatever the clock says."""
    journal = MemoryJournal(MIB, clock_ns=iter((5, 3, 4)).__next__)

    for record in (b"1", b"2", b"3"):
        await journal.append("audit", [record], keep=9)

    assert await read_all(journal, "audit") == [b"1", b"2", b"3"]
