"""Directories of LMDB: opened without harm to the process, and begun anew where what they hold is broken."""

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import lmdb

T = TypeVar("T")

_log = logging.getLogger(__name__)

MAX_READERS = 512
LOCK_FILE_BYTES = 9 * 4096
"""Room for so many readers' slots of 64 bytes, and the table's head."""

BROKEN = (
    lmdb.InvalidError,
    lmdb.CorruptedError,
    lmdb.PanicError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
    NotADirectoryError,
)
"""What says that a directory does not hold what it should."""


def open_environment(path: Path, max_bytes: int, *, max_dbs: int, metasync: bool) -> lmdb.Environment:
    """Open a directory of at most `max_bytes` bytes, created when absent.

    Raises:
        lmdb.Error: It is broken, or open in this process already.
        OSError: It cannot be had.
    """
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(str(path))
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _reserve_lock_file(path / "lock.mdb")
    environment = lmdb.open(
        str(path), map_size=max_bytes, max_dbs=max_dbs, max_readers=MAX_READERS, mode=0o600, metasync=metasync
    )
    try:
        _check_size(environment, path)
        environment.reader_check()
    except BaseException:
        environment.close()
        raise
    return environment


def open_or_begin_anew(path: Path, open_it: Callable[[], T], *, is_broken: bool = False) -> T:
    """Open a directory; move it aside and begin anew where what it holds is broken.

    Raises:
        lmdb.Error: The directory can be neither opened nor replaced.
        OSError: The directory can be neither opened nor replaced.
    """
    if not is_broken:
        try:
            return open_it()
        except BROKEN as error:
            _log.warning("cache: %s cannot be opened (%s)", path, error)
    aside = path.with_name(path.name + ".broken")
    if aside.is_dir():
        shutil.rmtree(aside)
    path.rename(aside)
    _log.warning("cache: moved %s aside to %s and began anew", path, aside)
    return open_it()


def _check_size(environment: lmdb.Environment, path: Path) -> None:
    """Refuse a truncated file: to read its missing pages would kill the process (SIGBUS)."""
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if (path / "data.mdb").stat().st_size < needed:
        raise lmdb.CorruptedError("the file is shorter than its last page")


def _reserve_lock_file(file: Path) -> None:
    """Have the whole lock file on the disk: LMDB maps it, and a write where there is no room kills the process.

    Raises:
        OSError: There is no room for it.
    """
    with suppress(FileNotFoundError):
        status = file.stat()
        # Opened without need, and closed again, it would lose the locks that this process may hold on it.
        if min(status.st_size, status.st_blocks * 512) >= LOCK_FILE_BYTES:
            return
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, LOCK_FILE_BYTES)
    finally:
        os.close(descriptor)
