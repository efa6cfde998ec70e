"""Follows the audit log and holds each certificate's monitor against it; all routers share one state.

The state is one document in the journal, replaced by compare-and-set: whichever router comes first has counted a
record, and none counts it twice. Every router reads from it which certificates have been given up.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cache.errors import JournalUnavailable
from cache.journal import Journal
from router.agreement_monitor import MonitorState, observe
from router.audit_log import LOG
from router.audit_record import AuditRecord, read_record

logger = logging.getLogger(__name__)
DOCUMENT = "monitor"
PERIOD_S = 1.0
PER_READ = 2000
# Of so many certificates at most a state is kept, those with an alarm first: the document has to stay small.
KEPT_STATES = 100


class WatchState(BaseModel):
    """What has been read of the audit log, and what it says of each certificate, by its id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cursor: str = ""
    certificates: Annotated[Mapping[str, MonitorState], Field(max_length=KEPT_STATES)] = {}

    @property
    def alarms(self) -> frozenset[str]:
        """Certificates that the monitor has given up."""
        return frozenset(name for name, state in self.certificates.items() if state.is_alarmed)


class AgreementWatch:
    """One router's part in the watch."""

    def __init__(
        self,
        journal: Journal,
        on_change: Callable[[frozenset[str]], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._on_change = on_change
        self._clock = clock
        self._state = WatchState()
        self._alarms: frozenset[str] = frozenset()
        self.seen_at: float | None = None
        """When the state was last known to be the shared one."""

    @property
    def state(self) -> WatchState:
        """The shared state as it was last seen."""
        return self._state

    async def run(self) -> None:
        """Follow until cancelled; routers take turns by chance."""
        while True:
            await asyncio.sleep(PERIOD_S * random.uniform(0.5, 1.5))  # noqa: S311 - not a secret
            try:
                await self.step()
            except JournalUnavailable as error:
                logger.warning("agreement watch: %s", error)

    async def step(self) -> None:
        """Read the shared state, and add to it what the log has more.

        Raises:
            JournalUnavailable: It goes by what it knew.
        """
        stored = await self._journal.get(DOCUMENT)
        state = _read_state(stored)
        try:
            entries = await self._journal.read(LOG, after=state.cursor, limit=PER_READ)
        except ValueError:
            state = _begin_anew()
            entries = await self._journal.read(LOG, limit=PER_READ)
        if entries:
            grown = self._follow(state, [(entry.position, entry.record) for entry in entries])
            if await self._journal.replace(DOCUMENT, grown.model_dump_json().encode(), expected=stored):
                state = grown
        self.seen_at = self._clock()
        self._take_over(state)

    def _follow(self, state: WatchState, entries: list[tuple[str, bytes]]) -> WatchState:
        monitors = dict(state.certificates)
        for record in _readable(entries):
            if record.certificate is not None and record.target is not None and record.counts:
                monitor = monitors.pop(record.certificate, MonitorState())
                monitors[record.certificate] = observe(
                    monitor, is_error=record.is_error, target_agreement=record.target
                )
        # Alarms are kept the longest: what was given up is used no more, and is not to be trusted again for that.
        kept = sorted(monitors.items(), key=lambda item: item[1].is_alarmed)[-KEPT_STATES:]
        return WatchState(cursor=entries[-1][0], certificates=dict(kept))

    def _take_over(self, state: WatchState) -> None:
        self._state = state
        new = state.alarms - self._alarms
        for certificate in new:
            logger.error(
                "agreement fell below the certificate's target: every item takes a second look until recalibrated",
                extra={"certificate": certificate},
            )
        if new:
            # Never taken back: an alarm that this process has seen outlives the loss of the document.
            self._alarms |= new
            self._on_change(self._alarms)


def _read_state(stored: bytes | None) -> WatchState:
    if stored is None:
        return WatchState()
    try:
        return WatchState.model_validate_json(stored)
    except ValidationError:
        return _begin_anew()


def _begin_anew() -> WatchState:
    logger.warning("agreement watch: the stored state can't be read; it begins anew")
    return WatchState()


def _readable(entries: list[tuple[str, bytes]]) -> list[AuditRecord]:
    records = []
    for position, data in entries:
        try:
            records.append(read_record(data))
        except ValueError:
            logger.warning("agreement watch: a record can't be read", extra={"position": position})
    return records
