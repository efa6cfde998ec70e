"""Brings audit records to the journal: gathered for a second, written in the background, bounded."""

import asyncio
import logging
from collections import deque

from cache.errors import JournalUnavailable
from cache.journal import Journal
from router.audit_record import AuditRecord

logger = logging.getLogger(__name__)
LOG = "audit"
FLUSH_S = 1.0
MAX_WAITING = 10_000
PER_WRITE = 1000


class AuditLog:
    """The audit log as one router writes it."""

    def __init__(self, journal: Journal, keep: int) -> None:
        self._journal = journal
        self._keep = keep
        self._waiting: deque[AuditRecord] = deque(maxlen=MAX_WAITING)
        self.written = 0
        self.dropped = 0
        """Records that were thrown away because the journal could not be reached for long."""

    def add(self, record: AuditRecord) -> None:
        """Take one; where too many wait, the oldest is dropped and counted."""
        self.dropped += len(self._waiting) == MAX_WAITING
        self._waiting.append(record)

    async def run(self) -> None:
        """Write what comes, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what waits; what can't be written waits on."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(PER_WRITE, len(self._waiting)))]
            try:
                await self._journal.append(LOG, [record.to_bytes() for record in batch], keep=self._keep)
            except JournalUnavailable as error:
                logger.warning("audit log: not written yet: %s", error)
                self._return(batch)
                return
            except asyncio.CancelledError:
                self._return(batch)
                raise
            self.written += len(batch)

    def _return(self, batch: list[AuditRecord]) -> None:
        room = MAX_WAITING - len(self._waiting)
        self.dropped += max(0, len(batch) - room)
        if room > 0:
            self._waiting.extendleft(reversed(batch[-room:]))
