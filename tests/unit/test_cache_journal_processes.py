"""The embedded journal shared by processes: at once, killed, hung, and with other settings."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cache.embedded_journal import EmbeddedJournal
from cache.errors import JournalUnavailable
from cache.journal import Journal
from tests.journal_contract import PLENTY, read_all, records_of

MIB = 1 << 20

OPEN = """
import asyncio, pathlib, sys
from cache.embedded_journal import EmbeddedJournal

async def main():
    journal = EmbeddedJournal(pathlib.Path(sys.argv[1]), 64 << 20, timeout_s=60)
"""

APPEND_FOREVER = f"""{OPEN}
    number = 0
    while True:
        await journal.append("audit", [b"%08d" % (number + n) for n in range(50)], keep=10**6)
        number += 50
        print(number, flush=True)

asyncio.run(main())
"""

APPEND_MANY = f"""{OPEN}
    name = sys.argv[2].encode()
    for first in range(0, 500, 5):
        await journal.append("audit", [b"%b %08d" % (name, first + n) for n in range(5)], keep=10**6)
    await journal.close()

asyncio.run(main())
"""

COUNT_UP = f"""{OPEN}
    done = 0
    while done < 100:
        held = await journal.get("count")
        done += await journal.replace("count", b"%d" % (int(held or b"0") + 1), expected=held)
    await journal.close()

asyncio.run(main())
"""

HOLD_WRITE_LOCK = """
import sys, lmdb
with lmdb.open(sys.argv[1], max_dbs=3) as environment, environment.begin(write=True):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def process(script: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run another process, which is killed afterwards if it has not ended."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        try:
            yield running
        finally:
            running.kill()


def wait_for_line(running: subprocess.Popen[bytes]) -> bytes:
    """Return the next line that a process prints."""
    assert running.stdout is not None
    return running.stdout.readline()


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


async def test_processes_that_append_at_once_lose_nothing(path: Path, journal: Journal) -> None:
    """Four of them, on one log: every record is there, each process's in its order, each at a place of its own."""
    with ExitStack() as others:
        started = [others.enter_context(process(APPEND_MANY, path, name)) for name in "abc"]
        for first in range(0, 500, 5):
            await journal.append("audit", [b"d %08d" % (first + n) for n in range(5)], keep=PLENTY)
        assert [await asyncio.to_thread(one.wait) for one in started] == [0, 0, 0]

    records = await read_all(journal, "audit")

    assert len(records) == 2000
    for name in (b"a", b"b", b"c", b"d"):
        assert [one for one in records if one[:1] == name] == [b"%b %08d" % (name, n) for n in range(500)]


async def test_processes_that_count_at_once_count_exactly(path: Path, journal: Journal) -> None:
    """Compare-and-set over processes: no step is lost, none is done twice."""
    with ExitStack() as others:
        started = [others.enter_context(process(COUNT_UP, path)) for _ in range(3)]
        assert [await asyncio.to_thread(one.wait) for one in started] == [0, 0, 0]

    assert await journal.get("count") == b"300"


async def test_killed_writer_leaves_a_readable_log(path: Path, journal: Journal) -> None:
    """Killed in the middle of its appends: whole batches, all that it had been told were kept; others write on."""
    with process(APPEND_FOREVER, path) as writer:
        confirmed = [await asyncio.to_thread(wait_for_line, writer) for _ in range(20)]
        writer.kill()
        writer.wait()

    await journal.append("audit", [b"after"], keep=PLENTY)

    records = await read_all(journal, "audit")
    assert records[-1] == b"after"
    assert records[:-1] == [b"%08d" % number for number in range(len(records) - 1)]
    assert len(records) - 1 >= int(confirmed[-1])
    assert (len(records) - 1) % 50 == 0


async def test_process_that_holds_the_directory_up_costs_a_deadline(path: Path) -> None:
    """Reads go on; a write says that it was not answered, and so do those behind it; later all is well."""
    journal = EmbeddedJournal(path, 64 * MIB, timeout_s=0.7)
    await journal.append("audit", [b"1"], keep=PLENTY)
    with process(HOLD_WRITE_LOCK, path) as holder:
        assert await asyncio.to_thread(wait_for_line, holder) == b"held\n"
        assert records_of(await journal.read("audit")) == [b"1"]
        begin = time.monotonic()

        for _ in range(2):
            with pytest.raises(JournalUnavailable, match="in time"):
                await journal.append("audit", [b"2"], keep=PLENTY)

        assert time.monotonic() - begin < 4

    await journal.append("audit", [b"3"], keep=PLENTY)
    assert records_of(await journal.read_last("audit", 1)) == [b"3"]
    await journal.close()


async def test_directory_that_another_process_moved_aside_is_left(path: Path, journal: Journal) -> None:
    """Else two processes would write to two journals; the successor is found, or begun."""
    await journal.append("audit", [b"1"], keep=PLENTY)
    path.rename(path.with_name("aside"))  # noqa: ASYNC240
    with process(APPEND_MANY, path, "a") as other:
        assert await asyncio.to_thread(other.wait) == 0

    await journal.append("audit", [b"2"], keep=PLENTY)

    assert len(await read_all(journal, "audit")) == 501
    await asyncio.to_thread(shutil.rmtree, path)
    await journal.append("audit", [b"3"], keep=PLENTY)
    assert await read_all(journal, "audit") == [b"3"]


async def test_map_that_another_process_made_larger_is_opened_again(path: Path) -> None:
    """Two processes with different settings, during a rollout, share the journal all the same."""
    journal = EmbeddedJournal(path, MIB)
    await journal.append("audit", [b"first"], keep=PLENTY)
    with process(APPEND_FOREVER, path) as writer:
        for _ in range(1000):
            await asyncio.to_thread(wait_for_line, writer)

    await journal.append("audit", [b"last"], keep=PLENTY)

    assert records_of(await journal.read_last("audit", 1)) == [b"last"]
    await journal.close()


async def test_directory_is_opened_once_in_a_process(path: Path, journal: Journal) -> None:
    """A second journal of one directory in one process is unavailable, and leaves the first one alone."""
    await journal.append("audit", [b"1"], keep=PLENTY)
    second = EmbeddedJournal(path, 64 * MIB)

    with pytest.raises(JournalUnavailable):
        await second.read("audit")

    await second.close()
    assert await read_all(journal, "audit") == [b"1"]
    await journal.close()
    third = EmbeddedJournal(path, 64 * MIB)
    assert await read_all(third, "audit") == [b"1"]
    await third.close()


async def test_stopped_process_delays_close_by_the_deadline_only(path: Path) -> None:
    """A holder of the directory that hangs (SIGSTOP) does not keep a service from going."""
    journal = EmbeddedJournal(path, 64 * MIB, timeout_s=0.7)
    await journal.append("audit", [b"1"], keep=PLENTY)
    with process(HOLD_WRITE_LOCK, path) as holder:
        await asyncio.to_thread(wait_for_line, holder)
        os.kill(holder.pid, signal.SIGSTOP)
        with pytest.raises(JournalUnavailable):
            await journal.append("audit", [b"2"], keep=PLENTY)
        begin = time.monotonic()

        await journal.close()

        assert time.monotonic() - begin < 3
