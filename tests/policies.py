"""Certificates and audit records for tests, made to measure."""

from collections.abc import Sequence

import numpy as np

from cache.errors import JournalUnavailable
from cache.journal import Entry
from cache.memory_journal import MemoryJournal
from router.audit_record import AuditRecord
from router.certificate import Certificate, Origin, Sample, certify, issue
from tests.fakes import ACCURATE_MODEL, FAST_MODEL

FAST_NAME = f"{FAST_MODEL.identity} fp32/float32 {FAST_MODEL.preprocessing}"
ACCURATE_NAME = f"{ACCURATE_MODEL.identity} fp32/float32 {ACCURATE_MODEL.preprocessing}"
GROUP = "similarity/2"
COUNT = 5000
JUST_UNDER = 1 / 16
BEYOND_THE_GRID = 100.0

RECORD = AuditRecord(
    at=1_700_000_000.0,
    group=GROUP,
    policy="p-0123456789ab",
    certificate=None,
    target=None,
    fast_model=FAST_NAME,
    accurate_model=ACCURATE_NAME,
    threshold=1.0,
    share=1.0,
    served="fast",
    escalated=False,
    degraded=None,
    margin=2.0,
    confidence=0.9,
    agrees=True,
)
"""An item that the fast tier was sure of, and the accurate tier decides alike."""


def make_certificate(
    threshold: float | None = 2.0,
    *,
    target: float = 0.99,
    confidence: float = 0.95,
    group: str = GROUP,
    models: tuple[str, str] = (FAST_NAME, ACCURATE_NAME),
    created_at: str = "2026-03-01T12:00:00+00:00",
) -> Certificate:
    """A certificate whose threshold is just so, an eighth's multiple up to 16; None: nothing could be certified."""
    errors = round(2 * COUNT * (1 - target))
    wrong_at = BEYOND_THE_GRID if threshold is None else threshold - JUST_UNDER
    margin = np.array([BEYOND_THE_GRID] * (COUNT - errors) + [wrong_at] * errors)
    agrees = np.arange(COUNT) < COUNT - errors
    calibration = certify(Sample(margin, agrees), target_agreement=target, confidence=confidence)
    assert calibration.threshold == threshold
    fast, accurate = models
    origin = Origin(group=group, fast_model=fast, accurate_model=accurate, source="audit log", created_at=created_at)
    return issue(calibration, origin)


class FlakyJournal(MemoryJournal):
    """A journal in memory that can be away."""

    def __init__(self) -> None:
        super().__init__(2**24)
        self.is_away = False
        self.appends: list[int] = []

    async def append(self, log: str, records: Sequence[bytes], *, keep: int) -> None:
        """Append, unless away."""
        self._reach()
        self.appends.append(len(records))
        await super().append(log, records, keep=keep)

    async def read(self, log: str, *, after: str = "", limit: int = 1000) -> list[Entry]:
        """Read, unless away."""
        self._reach()
        return await super().read(log, after=after, limit=limit)

    async def read_last(self, log: str, limit: int) -> list[Entry]:
        """Read, unless away."""
        self._reach()
        return await super().read_last(log, limit)

    def _reach(self) -> None:
        if self.is_away:
            raise JournalUnavailable("away")
