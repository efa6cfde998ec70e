"""A journal whose names are a deployment's own, where several share one place."""

from collections.abc import Sequence

from cache.journal import Entry, Journal


class ScopedJournal:
    """A journal, as one deployment sees it: what it names lies under its own name."""

    def __init__(self, journal: Journal, scope: str) -> None:
        self._journal = journal
        self._scope = scope

    async def append(self, log: str, records: Sequence[bytes], *, keep: int) -> None:
        """Append to a log of this deployment."""
        await self._journal.append(self._name(log), records, keep=keep)

    async def read(self, log: str, *, after: str = "", limit: int = 1000) -> list[Entry]:
        """Return the oldest records, after a position."""
        return await self._journal.read(self._name(log), after=after, limit=limit)

    async def read_last(self, log: str, limit: int) -> list[Entry]:
        """Return the newest records, newest first."""
        return await self._journal.read_last(self._name(log), limit)

    async def get(self, name: str) -> bytes | None:
        """Return a document of this deployment."""
        return await self._journal.get(self._name(name))

    async def replace(self, name: str, value: bytes, *, expected: bytes | None) -> bool:
        """Put a document in the place of the expected one."""
        return await self._journal.replace(self._name(name), value, expected=expected)

    async def close(self) -> None:
        """Close the journal itself."""
        await self._journal.close()

    def _name(self, name: str) -> str:
        return f"{self._scope}.{name}"
