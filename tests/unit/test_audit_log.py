"""The audit log as one router writes it: behind the answer, bounded, and in order."""

import asyncio
from collections.abc import Sequence

import pytest

from router.audit_log import LOG, MAX_WAITING, PER_WRITE, AuditLog
from router.audit_record import AuditRecord, read_record
from tests.policies import RECORD, FlakyJournal

KEEP = 100_000


def numbered(number: int) -> AuditRecord:
    """A record that can be told from others."""
    return RECORD._replace(at=float(number))


async def written(journal: FlakyJournal) -> list[int]:
    """The numbers of the records in the journal, in its order."""
    entries = await journal.read(LOG, limit=KEEP)
    return [round(read_record(entry.record).at) for entry in entries]


@pytest.fixture
def journal() -> FlakyJournal:
    """It is there."""
    return FlakyJournal()


async def test_records_are_written_in_order(journal: FlakyJournal) -> None:
    """What has been flushed is read back."""
    log = AuditLog(journal, KEEP)
    for number in range(5):
        log.add(numbered(number))

    await log.flush()

    assert await written(journal) == [0, 1, 2, 3, 4]
    assert (log.written, log.dropped) == (5, 0)


async def test_records_are_written_many_at_a_time(journal: FlakyJournal) -> None:
    """One write for a thousand, and none for nothing."""
    log = AuditLog(journal, KEEP)
    await log.flush()
    for number in range(2 * PER_WRITE + 1):
        log.add(numbered(number))

    await log.flush()

    assert journal.appends == [PER_WRITE, PER_WRITE, 1]


async def test_journal_that_is_away_is_waited_for(journal: FlakyJournal, caplog: pytest.LogCaptureFixture) -> None:
    """It comes back, and everything is there once and in order."""
    log = AuditLog(journal, KEEP)
    journal.is_away = True
    for number in range(3):
        log.add(numbered(number))
    await log.flush()
    log.add(numbered(3))
    await log.flush()
    assert (log.written, log.dropped) == (0, 0)

    journal.is_away = False
    await log.flush()

    assert await written(journal) == [0, 1, 2, 3]
    assert "not written yet" in caplog.text


async def test_what_waits_is_bounded_and_the_oldest_dropped(journal: FlakyJournal) -> None:
    """Counted, so that a report can say what it does not know."""
    log = AuditLog(journal, KEEP)
    journal.is_away = True
    for number in range(MAX_WAITING + 7):
        log.add(numbered(number))
    await log.flush()

    journal.is_away = False
    await log.flush()

    assert (log.written, log.dropped) == (MAX_WAITING, 7)
    assert await written(journal) == list(range(7, MAX_WAITING + 7))


@pytest.mark.parametrize("more", [MAX_WAITING - PER_WRITE // 2, MAX_WAITING, MAX_WAITING + 5])
async def test_what_comes_during_a_write_that_fails_drops_the_oldest(more: int) -> None:
    """The batch goes back before what came meanwhile, as far as there is room."""
    journal = HeldJournal()
    log = AuditLog(journal, KEEP)
    for number in range(PER_WRITE):
        log.add(numbered(number))
    flushing = asyncio.create_task(log.flush())
    await journal.was_called.wait()

    for number in range(PER_WRITE, PER_WRITE + more):
        log.add(numbered(number))
    journal.is_away = True
    journal.may_go_on.set()
    await flushing
    journal.is_away = False
    await log.flush()

    dropped = PER_WRITE + more - MAX_WAITING
    assert (log.written, log.dropped) == (MAX_WAITING, dropped)
    assert await written(journal) == list(range(dropped, PER_WRITE + more))


async def test_log_keeps_the_newest(journal: FlakyJournal) -> None:
    """So many as it was told."""
    log = AuditLog(journal, keep=10)
    for number in range(25):
        log.add(numbered(number))

    await log.flush()

    assert await written(journal) == list(range(15, 25))


async def test_write_that_is_cancelled_loses_nothing_unseen() -> None:
    """A router that ends in the middle of one writes the batch once more, or counts it as dropped."""
    journal = HeldJournal()
    log = AuditLog(journal, KEEP)
    log.add(numbered(0))
    flushing = asyncio.create_task(log.flush())
    await journal.was_called.wait()

    flushing.cancel()
    await asyncio.gather(flushing, return_exceptions=True)
    journal.may_go_on.set()
    await log.flush()

    assert await written(journal) == [0]
    assert (log.written, log.dropped) == (1, 0)


class HeldJournal(FlakyJournal):
    """A journal whose writes wait until they may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.was_called = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def append(self, log: str, records: Sequence[bytes], *, keep: int) -> None:
        """Wait, then do what the journal does by then."""
        self.was_called.set()
        await self.may_go_on.wait()
        await super().append(log, records, keep=keep)
