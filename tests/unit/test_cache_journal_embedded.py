"""The journal of one machine: kept over restarts, bounded, and begun anew where it is broken."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cache.embedded_journal import EmbeddedJournal
from cache.errors import JournalUnavailable
from cache.journal import Journal
from tests.journal_contract import PLENTY, JournalContract, numbered, read_all, records_of

MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory that does not exist yet, nor its parent."""
    return tmp_path / "cache" / "embeddings.journal"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[Journal]:
    """An empty journal of 64 MiB, and of patience with a busy disk."""
    journal = EmbeddedJournal(path, 64 * MIB, timeout_s=60)
    yield journal
    await journal.close()


class TestEmbeddedJournal(JournalContract):
    """The embedded journal is a journal like the others."""


async def test_journal_is_kept_over_a_restart(path: Path) -> None:
    """Records, positions and documents are what they were."""
    before = EmbeddedJournal(path, 64 * MIB)
    await before.append("audit", numbered(10), keep=PLENTY)
    await before.replace("state", b"1", expected=None)
    entries = await before.read("audit")
    await before.close()

    after = EmbeddedJournal(path, 64 * MIB)

    assert await after.read("audit") == entries
    assert await after.get("state") == b"1"
    await after.close()


async def test_caller_that_leaves_disturbs_nobody(path: Path, journal: Journal) -> None:
    """The next call waits for what it began, and is answered."""
    calls = [asyncio.ensure_future(journal.append("audit", numbered(100), keep=PLENTY)) for _ in range(5)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()

    await journal.append("audit", [b"last"], keep=PLENTY)

    assert records_of(await journal.read_last("audit", 1)) == [b"last"]


async def test_full_journal_drops_the_oldest_of_its_longest_log(path: Path) -> None:
    """More than fits is to be kept: the newest are, other logs and documents stay, the file does not grow."""
    journal = EmbeddedJournal(path, MIB)
    await journal.append("history", [b"first"], keep=PLENTY)
    await journal.replace("state", b"1", expected=None)

    for start in range(0, 20_000, 100):
        await journal.append("audit", numbered(100, start), keep=PLENTY)

    kept = await read_all(journal, "audit")
    assert kept == numbered(len(kept), start=20_000 - len(kept))
    assert 1000 < len(kept) < 6000
    assert records_of(await journal.read("history")) == [b"first"]
    assert await journal.get("state") == b"1"
    assert path.joinpath("data.mdb").stat().st_size <= MIB
    await journal.close()


async def test_other_logs_and_documents_are_written_in_a_full_journal(path: Path) -> None:
    """The longest log makes room for them."""
    journal = EmbeddedJournal(path, MIB)
    for start in range(0, 5000, 100):
        await journal.append("audit", numbered(100, start), keep=PLENTY)

    for number in range(30):
        await journal.append("history", [bytes(3000)], keep=PLENTY)
        assert await journal.replace("state", bytes(20_000 + number), expected=await journal.get("state"))

    assert len(await journal.read("history")) == 30
    assert len(await read_all(journal, "audit")) > 100
    await journal.close()


async def test_batch_that_can_never_fit_is_refused(path: Path) -> None:
    """As a whole; what is there stays, and what fits is written afterwards."""
    journal = EmbeddedJournal(path, MIB)
    await journal.append("audit", numbered(10), keep=PLENTY)

    with pytest.raises(JournalUnavailable, match="full"):
        await journal.append("audit", numbered(20_000), keep=PLENTY)
    with pytest.raises(JournalUnavailable, match="full"):
        await journal.replace("state", bytes(2 * MIB), expected=None)

    await journal.append("audit", [b"after"], keep=PLENTY)
    assert await read_all(journal, "audit") == [*numbered(10), b"after"]
    await journal.close()


async def test_clock_that_is_set_back_keeps_the_order(path: Path) -> None:
    """A position is after the last one, whatever the clock says."""
    clock = iter((5000, 3000, 4000))
    journal = EmbeddedJournal(path, MIB, clock_ns=clock.__next__)

    for record in (b"1", b"2", b"3"):
        await journal.append("audit", [record, record], keep=9)

    assert records_of(await journal.read("audit")) == [b"1", b"1", b"2", b"2", b"3", b"3"]
    await journal.close()


async def test_keep_that_shrinks_trims_bit_by_bit(journal: Journal) -> None:
    """Each append drops so many at most, so that none takes long; in the end as few are kept as were asked for."""
    await journal.append("audit", numbered(15_000), keep=PLENTY)

    await journal.append("audit", [b"1"], keep=1000)
    first = len(await read_all(journal, "audit"))
    await journal.append("audit", [b"2"], keep=1000)

    assert first == 5000
    assert len(await read_all(journal, "audit")) == 1000


@pytest.mark.parametrize("garbage", [b"", b"not a database", b"\xa5" * 8192])
async def test_broken_file_is_moved_aside(path: Path, caplog: pytest.LogCaptureFixture, garbage: bytes) -> None:
    """What cannot be read is kept for who wants to look, with a warning, and the journal begins anew."""
    path.mkdir(parents=True)  # noqa: ASYNC240
    path.joinpath("data.mdb").write_bytes(garbage)
    journal = EmbeddedJournal(path, 64 * MIB)

    with caplog.at_level(logging.WARNING):
        await journal.append("audit", [b"1"], keep=1)

    assert await read_all(journal, "audit") == [b"1"]
    assert not garbage or path.with_name("embeddings.journal.broken").exists()
    assert not garbage or "began anew" in caplog.text
    await journal.close()


async def test_damaged_pages_are_an_error_or_a_new_beginning(path: Path) -> None:
    """Overwritten pages in the middle of a file: whatever is read, what is written next is found again."""
    journal = EmbeddedJournal(path, 64 * MIB)
    await journal.append("audit", numbered(5000), keep=PLENTY)
    await journal.close()
    with path.joinpath("data.mdb").open("r+b") as file:
        file.seek(4 * 4096)
        file.write(bytes(150 * 4096))

    again = EmbeddedJournal(path, 64 * MIB)
    await read_all(again, "audit")
    await again.append("audit", [b"1"], keep=PLENTY)

    assert records_of(await again.read_last("audit", 1)) == [b"1"]
    await again.close()


async def test_directory_that_appears_later_is_found(path: Path) -> None:
    """What could not be opened is tried again by the next call."""
    path.parent.write_text("in the way")
    journal = EmbeddedJournal(path, 64 * MIB)
    with pytest.raises(JournalUnavailable):
        await journal.append("audit", [b"1"], keep=1)

    path.parent.unlink()
    await journal.append("audit", [b"2"], keep=1)

    assert await read_all(journal, "audit") == [b"2"]
    await journal.close()
