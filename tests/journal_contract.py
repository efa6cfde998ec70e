"""What every journal does, whatever it is made of: inherit, and give a `journal` fixture."""

import asyncio
from collections.abc import Sequence

import pytest

from cache.errors import JournalUnavailable
from cache.journal import Entry, Journal

PLENTY = 1_000_000


def numbered(count: int, start: int = 0) -> list[bytes]:
    """Return so many records that differ, of the size of an audit record."""
    return [b"%08d" % number + bytes(142) for number in range(start, start + count)]


def records_of(entries: Sequence[Entry]) -> list[bytes]:
    """Return the entries' records, in order."""
    return [entry.record for entry in entries]


async def read_all(journal: Journal, log: str) -> list[bytes]:
    """Return all of a log, page by page."""
    records: list[bytes] = []
    after = ""
    while page := await journal.read(log, after=after):
        records += records_of(page)
        after = page[-1].position
    return records


class JournalContract:
    """The behaviours that callers of a `Journal` rely on."""

    async def test_log_is_read_in_the_order_in_which_it_was_written(self, journal: Journal) -> None:
        """Within one call and over several, oldest first."""
        await journal.append("audit", numbered(3), keep=PLENTY)
        await journal.append("audit", numbered(2, start=3), keep=PLENTY)

        assert records_of(await journal.read("audit")) == numbered(5)

    async def test_log_is_read_page_by_page(self, journal: Journal) -> None:
        """A page's last position is where the next one begins; after the last there is nothing, until there is."""
        await journal.append("audit", numbered(25), keep=PLENTY)

        first = await journal.read("audit", limit=10)
        second = await journal.read("audit", after=first[-1].position, limit=10)
        third = await journal.read("audit", after=second[-1].position, limit=10)

        assert records_of(first + second + third) == numbered(25)
        assert await journal.read("audit", after=third[-1].position) == []
        await journal.append("audit", [b"new"], keep=PLENTY)
        assert records_of(await journal.read("audit", after=third[-1].position)) == [b"new"]

    async def test_positions_sort_as_strings(self, journal: Journal) -> None:
        """Whoever merges or compares them needs to know nothing else."""
        for start in range(0, 300, 30):
            await journal.append("audit", numbered(30, start), keep=PLENTY)

        positions = [entry.position for entry in await journal.read("audit")]

        assert positions == sorted(set(positions))

    async def test_newest_records_are_read_newest_first(self, journal: Journal) -> None:
        """As many as are asked for, or as there are, at the positions that `read` gives them."""
        await journal.append("audit", numbered(5), keep=PLENTY)
        entries = await journal.read("audit")

        assert await journal.read_last("audit", 2) == [entries[4], entries[3]]
        assert await journal.read_last("audit", 99) == entries[::-1]
        assert await journal.read_last("audit", 0) == []
        assert await journal.read("audit", limit=0) == []

    async def test_logs_and_documents_are_apart(self, journal: Journal) -> None:
        """Names that begin or are alike share nothing."""
        await journal.append("a", [b"1"], keep=PLENTY)
        await journal.append("a.b", [b"2"], keep=PLENTY)
        await journal.append("b", [b"3"], keep=PLENTY)
        await journal.replace("a", b"4", expected=None)

        logs = [await journal.read(name) for name in ("a", "a.b", "b", "c")]

        assert [records_of(log) for log in logs] == [[b"1"], [b"2"], [b"3"], []]
        assert records_of(await journal.read_last("a", 9) + await journal.read_last("c", 9)) == [b"1"]
        assert [await journal.get(name) for name in ("a", "b")] == [b"4", None]

    async def test_any_bytes_come_back_unchanged(self, journal: Journal) -> None:
        """Empty ones, zero bytes, line ends, high bytes, and more than a page of memory."""
        values = [b"", b"\x00", b"\r\n$-1\r\n", bytes(range(256)) * 64]

        await journal.append("audit", values, keep=PLENTY)
        for value in values:
            await journal.replace("state", value, expected=await journal.get("state"))
            assert await journal.get("state") == value

        assert records_of(await journal.read("audit")) == values

    async def test_only_the_newest_are_kept(self, journal: Journal) -> None:
        """The oldest go, at once or somewhat later; others' logs stay."""
        await journal.append("other", [b"old"], keep=PLENTY)
        for start in range(0, 3000, 100):
            await journal.append("audit", numbered(100, start), keep=500)

        kept = await read_all(journal, "audit")

        assert kept == numbered(len(kept), start=3000 - len(kept))
        assert 500 <= len(kept) < 700
        assert records_of(await journal.read("other")) == [b"old"]

    async def test_batch_of_more_than_is_kept_leaves_its_end(self, journal: Journal) -> None:
        """And nothing that was there before."""
        await journal.append("audit", [b"old"], keep=PLENTY)

        await journal.append("audit", numbered(1000), keep=1)

        kept = await read_all(journal, "audit")
        assert kept[-1] == numbered(1000)[-1]
        assert len(kept) <= 200

    async def test_nothing_is_appended_for_nothing(self, journal: Journal) -> None:
        """An empty batch is no record."""
        await journal.append("audit", [], keep=1)

        assert await journal.read("audit") == []

    async def test_document_is_replaced_only_where_it_is_as_expected(self, journal: Journal) -> None:
        """None stands for no document, and an empty one is one."""
        assert await journal.get("state") is None
        assert not await journal.replace("state", b"1", expected=b"")
        assert await journal.replace("state", b"", expected=None)
        assert not await journal.replace("state", b"1", expected=None)
        assert await journal.replace("state", b"1", expected=b"")
        assert not await journal.replace("state", b"2", expected=b"other")

        assert await journal.get("state") == b"1"

    async def test_callers_at_once_lose_no_record(self, journal: Journal) -> None:
        """Each caller's records are there, in the caller's order."""
        await asyncio.gather(*[journal.append("audit", numbered(20, 20 * n), keep=PLENTY) for n in range(50)])

        assert sorted(await read_all(journal, "audit")) == numbered(1000)

    async def test_callers_at_once_count_exactly(self, journal: Journal) -> None:
        """Compare-and-set: of those who expect the same, one wins, and the others see that they have not."""

        async def count_up() -> None:
            while True:
                held = await journal.get("count")
                if await journal.replace("count", b"%d" % (int(held or b"0") + 1), expected=held):
                    return

        await asyncio.gather(*[count_up() for _ in range(20)])

        assert await journal.get("count") == b"20"

    @pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "a\0", "-a", "a" * 129, "ä"])
    async def test_name_that_is_none_is_refused(self, journal: Journal, name: str) -> None:
        """By every call, whatever keeps the bytes."""
        for call in (
            journal.append(name, [b"1"], keep=1),
            journal.read(name),
            journal.read_last(name, 1),
            journal.get(name),
            journal.replace(name, b"1", expected=None),
        ):
            with pytest.raises(ValueError, match="names"):
                await call

    async def test_log_that_keeps_nothing_is_refused(self, journal: Journal) -> None:
        """It is a mistake of the caller's."""
        with pytest.raises(ValueError, match="keep"):
            await journal.append("audit", [b"1"], keep=0)

    async def test_position_that_is_none_is_refused(self, journal: Journal) -> None:
        """Rather than read from anywhere."""
        for after in ("1", "nowhere", "0-0", "g" * 32):
            with pytest.raises(ValueError, match="after"):
                await journal.read("audit", after=after)

    async def test_closed_journal_is_unavailable(self, journal: Journal) -> None:
        """After close, and a second close, calls say so."""
        await journal.append("audit", [b"1"], keep=1)

        await journal.close()
        await journal.close()

        for call in (journal.read("audit"), journal.append("audit", [b"2"], keep=1), journal.get("state")):
            with pytest.raises(JournalUnavailable):
                await call
