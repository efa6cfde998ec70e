"""The audit's parts in one router, from start to stop."""

import asyncio
from collections.abc import Callable

from cache.journal import Journal
from router.agreement_watch import AgreementWatch
from router.audit_log import AuditLog
from router.auditor import Auditor
from router.embedder import Embedder


class Audits:
    """Who asks, who writes and who watches."""

    def __init__(
        self,
        journal: Journal,
        fast: Embedder,
        accurate: Embedder,
        on_alarm: Callable[[frozenset[str]], None],
        *,
        keep: int,
    ) -> None:
        self.journal = journal
        self.log = AuditLog(journal, keep)
        self.auditor = Auditor(fast, accurate, self.log)
        self.watch = AgreementWatch(journal, on_alarm)
        self._tasks = [
            asyncio.create_task(self.log.run(), name="audit-log"),
            asyncio.create_task(self.watch.run(), name="agreement-watch"),
        ]

    @property
    def is_alive(self) -> bool:
        """Whether everything that works in the background still does."""
        return not any(task.done() for task in self._tasks)

    async def close(self) -> None:
        """Write what is still to be written, and stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.auditor.close()
        await self.log.flush()
        await self.journal.close()
