"""The file of API keys: read when the router starts, and again whenever it has changed."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from router.access import Access
from router.access_config import KeyEntry, KeysDocument
from router.errors import ConfigInvalid
from router.yaml_file import explain, read_yaml

logger = logging.getLogger(__name__)
POLL_S = 1.0
_Stamp = tuple[int, int, int] | None


def read_keys(path: Path) -> tuple[KeyEntry, ...]:
    """Return the file's keys.

    Raises:
        ConfigInvalid: It can't be read or is not valid. The message has no value of the file's.
    """
    document = read_yaml(path)
    try:
        return KeysDocument.model_validate(document).keys
    except ValidationError as error:
        raise ConfigInvalid(explain(path, KeysDocument, error)) from error


class KeysFile:
    """Brings what the file says to a router's access; what can't be read leaves the keys that there are."""

    def __init__(self, path: Path, others: Sequence[KeyEntry] = ()) -> None:
        """Follow a file.

        Args:
            path: The file.
            others: Keys that count beside those of the file.
        """
        self._path = path
        self._others = tuple(others)
        self._seen: _Stamp = (0, 0, 0)

    async def follow(self, access: Access) -> None:
        """Look every second, until cancelled."""
        while True:
            await self.refresh(access)
            await asyncio.sleep(POLL_S)

    async def refresh(self, access: Access) -> None:
        """Take the keys over if the file is another than at the last look."""
        try:
            keys = await asyncio.to_thread(self._read_changed)
            if keys is not None:
                access.use((*self._others, *keys))
                logger.info("API keys: %d of %s are in force", len(keys), self._path)
        except ConfigInvalid as error:
            logger.warning("API keys: those of before stay in force: %s", error)

    def _read_changed(self) -> tuple[KeyEntry, ...] | None:
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return None
        self._seen = stamp  # of before the reading: what is written meanwhile is read at the next look
        return read_keys(self._path)


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
