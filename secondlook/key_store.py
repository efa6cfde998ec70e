"""Changes a file of API keys: as a whole, so that a router which reads it meanwhile finds the old or the new one."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from secondlook.errors import KeysRefused

if TYPE_CHECKING:
    from router.access_config import KeyEntry

HEADER = "# API keys as `secondlook keys` writes them: their hashes; comments are not kept. See docs/access.md.\n"
MODE = 0o600


def read_store(path: Path) -> "list[KeyEntry]":
    """Return the keys of a file.

    Raises:
        KeysRefused: It can't be read, or is not valid.
    """
    from router.errors import ConfigInvalid  # noqa: PLC0415 - --help does not need them
    from router.keys_file import read_keys  # noqa: PLC0415

    try:
        return list(read_keys(path))
    except ConfigInvalid as error:
        raise KeysRefused(str(error)) from error


def add_key(path: Path, entry: "KeyEntry") -> None:
    """Add a key; a file that is not there yet is made.

    Raises:
        KeysRefused: The id is taken, or the file can't be read or written.
    """
    with _locked(path):
        entries = read_store(path) if path.exists() else []
        if any(other.id == entry.id for other in entries):
            raise KeysRefused(f"{path}: there is a key {entry.id} already")
        _write(path, [*entries, entry])


def remove_key(path: Path, key_id: str) -> "KeyEntry":
    """Remove a key and return it.

    Raises:
        KeysRefused: There is none of that id, or the file can't be read or written.
    """
    with _locked(path):
        entries = read_store(path)
        removed = [entry for entry in entries if entry.id == key_id]
        if not removed:
            raise KeysRefused(f"{path}: there is no key {key_id}")
        _write(path, [entry for entry in entries if entry.id != key_id])
        return removed[0]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other commands out meanwhile: of two that change the file at once, one would undo what the other does."""
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise KeysRefused(f"{path.parent}: {(error.strerror or 'cannot be used').lower()}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, entries: "list[KeyEntry]") -> None:
    documents = [entry.model_dump(mode="json", exclude_defaults=True) for entry in entries]
    text = HEADER + yaml.safe_dump({"keys": documents}, sort_keys=False)
    target = path.resolve()  # a link stays one
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else MODE
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        draft = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            draft.chmod(mode)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise KeysRefused(f"{path}: cannot be written ({type(error).__name__})") from error
