"""The store of one machine: kept on disk, shared by processes, and never fatal."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cache.embedded_store import EmbeddedStore
from tests.contracts import StoreContract, keys_of, make_entries

MIB = 1 << 20

WRITE_FOREVER = """
import asyncio, pathlib, sys
from cache.embedded_store import EmbeddedStore

async def main():
    store = await EmbeddedStore.open(pathlib.Path(sys.argv[1]), 64 << 20)
    await store.put_many([(b"first", b"1")])
    print("writing", flush=True)
    number = 0
    while True:
        await store.put_many([(b"%033d" % (number + n), bytes(1052)) for n in range(256)])
        number += 256

asyncio.run(main())
"""


def write_file(path: Path, data: bytes) -> None:
    """Write a file, and the directories above it."""
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


def start_writer(path: Path) -> subprocess.Popen[bytes]:
    """Start another process which writes to the store until it is killed."""
    return subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, str(path)], stdout=subprocess.PIPE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory that does not exist yet, nor its parent."""
    return tmp_path / "cache" / "embeddings"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[EmbeddedStore]:
    """An empty store of 64 MiB."""
    store = await EmbeddedStore.open(path, 64 * MIB)
    yield store
    await store.close()


class TestEmbeddedStore(StoreContract):
    """The embedded store is a store like the others."""


async def test_embedded_store_keeps_entries_over_a_restart(path: Path) -> None:
    """What one process wrote, the next one finds."""
    entries = make_entries(300)
    store = await EmbeddedStore.open(path, 64 * MIB)
    await store.put_many(entries)
    await store.close()

    again = await EmbeddedStore.open(path, 64 * MIB)
    found = await again.get_many(keys_of(entries))

    assert found == [value for _, value in entries]
    await again.close()


async def test_embedded_store_makes_room_for_new_entries(path: Path) -> None:
    """Four times as much as fits: nothing is dropped, the newest stay, the oldest go, the file stays small."""
    store = await EmbeddedStore.open(path, 16 * MIB)
    batches = [make_entries(256) for _ in range(200)]

    for batch in batches:
        await store.put_many(batch)
    newest = await store.get_many(keys_of(batches[-1]))
    oldest = await store.get_many(keys_of(batches[0]))

    assert newest == [value for _, value in batches[-1]]
    assert oldest == [None] * 256
    assert store.counts().dropped_writes == 0
    assert (path / "data.mdb").stat().st_size <= 16 * MIB
    await store.close()


async def test_embedded_store_keeps_the_older_generation_readable(path: Path) -> None:
    """When a new generation begins, the entries before it are still hits."""
    store = await EmbeddedStore.open(path, 16 * MIB)
    batches = [make_entries(256) for _ in range(25)]
    for batch in batches:
        await store.put_many(batch)

    found = [await store.get_many(keys_of(batch)) for batch in batches]

    assert all(value is not None for values in found for value in values)
    await store.close()


async def test_batch_that_can_never_fit_is_dropped(path: Path) -> None:
    """A full map drops writes and counts them; reads and smaller writes go on."""
    store = await EmbeddedStore.open(path, 16 * MIB)
    kept = make_entries(10)
    await store.put_many(kept)

    await store.put_many(make_entries(20, size=MIB))
    await store.put_many(make_entries(3))

    assert (store.counts().dropped_writes, store.counts().writes) == (20, 13)
    assert await store.get_many(keys_of(kept)) == [value for _, value in kept]
    await store.close()


@pytest.mark.parametrize("garbage", [b"", b"not a database", b"\xa5" * 8192])
async def test_broken_file_is_moved_aside(path: Path, garbage: bytes) -> None:
    """What cannot be read is kept for who wants to look, and the cache begins anew."""
    write_file(path / "data.mdb", garbage)

    store = await EmbeddedStore.open(path, 64 * MIB)
    await store.put_many([(b"key", b"value")])

    assert await store.get_many([b"key"]) == [b"value"]
    await store.close()


async def test_truncated_file_is_moved_aside(path: Path) -> None:
    """A file that lost its end would kill the process on a read: it is not read."""
    store = await EmbeddedStore.open(path, 64 * MIB)
    entries = make_entries(1000)
    await store.put_many(entries)
    await store.close()
    os.truncate(path / "data.mdb", 3 * 4096)

    again = await EmbeddedStore.open(path, 64 * MIB)

    assert await again.get_many(keys_of(entries)) == [None] * 1000
    assert (path.parent / "embeddings.broken" / "data.mdb").stat().st_size == 3 * 4096
    await again.close()


async def test_damaged_pages_are_misses_or_a_new_beginning(path: Path) -> None:
    """Overwritten pages in the middle of a file end in misses; new writes are found again."""
    store = await EmbeddedStore.open(path, 64 * MIB)
    entries = make_entries(2000)
    await store.put_many(entries)
    await store.close()
    with (path / "data.mdb").open("r+b") as file:
        file.seek(4 * 4096)
        file.write(bytes(400 * 4096))

    again = await EmbeddedStore.open(path, 64 * MIB)
    for key, value in entries:
        assert await again.get_many([key]) in ([value], [None])
    await again.put_many([(b"key", b"value")])
    await again.put_many([(b"key", b"value")])

    assert await again.get_many([b"key"]) == [b"value"]
    await again.close()


async def test_file_in_the_directorys_place_is_moved_aside(path: Path) -> None:
    """A file where the directory should be is no reason not to start."""
    write_file(path, b"in the way")

    store = await EmbeddedStore.open(path, 64 * MIB)

    assert store.is_open
    assert (path.parent / "embeddings.broken").read_text() == "in the way"
    await store.close()


async def test_directory_that_cannot_be_had_is_an_outage(tmp_path: Path) -> None:
    """Without a place to write to the store starts, misses and drops."""
    (tmp_path / "file").write_text("")

    store = await EmbeddedStore.open(tmp_path / "file" / "embeddings", 64 * MIB)
    await store.put_many([(b"key", b"value")])

    assert await store.get_many([b"key"]) == [None]
    assert (store.is_open, store.counts().dropped_writes, store.counts().refused) == (False, 1, 1)
    assert store.unanswered == 1
    await store.close()


async def test_lock_file_has_no_holes(path: Path, store: EmbeddedStore) -> None:
    """A page of it that could not be allocated later, on a full disk, would kill whoever writes to it."""
    status = (path / "lock.mdb").stat()

    assert status.st_blocks * 512 >= status.st_size


async def test_directory_is_opened_once_in_a_process(path: Path, store: EmbeddedStore) -> None:
    """A second store of the same directory in one process is an outage, and leaves the first one alone."""
    second = await EmbeddedStore.open(path, 64 * MIB)
    await second.close()

    await store.put_many([(b"key", b"value")])

    assert not second.is_open
    assert await store.get_many([b"key"]) == [b"value"]


async def test_killed_writer_leaves_a_sound_store(path: Path) -> None:
    """A process killed in the middle of its writes breaks nothing for the one that shares the directory."""
    writer = start_writer(path)
    assert writer.stdout is not None
    await asyncio.to_thread(writer.stdout.readline)
    store = await EmbeddedStore.open(path, 64 * MIB)
    async with asyncio.timeout(10):
        while await store.get_many([b"%033d" % 4096]) == [None]:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.001)

    writer.kill()
    writer.wait()
    writer.stdout.close()
    await store.put_many([(b"after", b"2")])

    assert await store.get_many([b"first", b"after", b"%033d" % 4096]) == [b"1", b"2", bytes(1052)]
    await store.close()


async def test_event_loop_goes_on_during_a_large_read(store: EmbeddedStore) -> None:
    """A read of many keys gives other callers their turn between steps."""
    entries = make_entries(1000)
    await store.put_many(entries)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.ensure_future(count_turns())
    await store.get_many(keys_of(entries))
    counter.cancel()

    assert turns >= 10
