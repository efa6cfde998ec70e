"""Warm-up: a catalogue's distinct texts, through one or more tiers, a window of rows at a time."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from jobs.distinct import Distinct
from jobs.rows import Entry, Reject, Row
from jobs.together import together

WINDOW_ROWS = 4096


class Report(Protocol):
    """Is told what came of some texts on one tier, as soon as it is known."""

    def __call__(self, *, embedded: int = 0, cached: int = 0, rejected: int = 0) -> None:
        """Count texts that were embedded, that were in the cache already, and that can't be embedded."""
        ...


class Warmer(Protocol):
    """Sees to it that a tier's embeddings of texts are in the cache."""

    @property
    def tier(self) -> str:
        """The tier's name."""
        ...

    async def warm(self, texts: Sequence[str], report: Report) -> Mapping[int, str]:
        """Embed what the cache has not; return the places of those that can't be embedded, with the reasons.

        Raises:
            JobError: It can't go on.
        """
        ...


@dataclass(slots=True)
class TierTally:
    """What was done for a tier; `seconds` while it was at work."""

    embedded: int = 0
    cached: int = 0
    rejected: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Tally:
    """What a job has done so far: it is complete at any time, also where the job is cut short."""

    rows: int = 0
    texts: int = 0
    duplicates: int = 0
    rejected: int = 0
    seconds: float = 0.0
    tiers: dict[str, TierTally] = field(default_factory=dict)

    @property
    def failed_altogether(self) -> bool:
        """Whether there were rows, and not one of their texts is in the cache now."""
        return self.rows > 0 and not any(tier.embedded or tier.cached for tier in self.tiers.values())


class Listeners(NamedTuple):
    """Who is told of what: rows that are no good, how many rows are done, and that a window is."""

    reject: Callable[[Reject], None]
    progress: Callable[[int], None]
    window_done: Callable[[], Awaitable[None]]


async def warm_up(
    windows: AsyncIterator[Sequence[Entry]],
    warmers: Sequence[Warmer],
    tally: Tally,
    listeners: Listeners,
    texts_per_s: float | None = None,
) -> None:
    """Warm every tier with every distinct text; `tally` says how far it came.

    Raises:
        JobError: A tier, or the cache behind it, can't go on.
    """
    began = time.monotonic()
    distinct = Distinct()
    tally.tiers |= {warmer.tier: TierTally() for warmer in warmers}
    try:
        async for window in windows:
            rows = distinct_rows(window, distinct, tally, listeners.reject)
            await _warm_window(rows, warmers, tally, listeners)
            await listeners.window_done()
            if texts_per_s is not None:
                await asyncio.sleep(began + tally.texts / texts_per_s - time.monotonic())
    finally:
        tally.seconds = time.monotonic() - began


def distinct_rows(
    window: Sequence[Entry], distinct: Distinct, tally: Tally, reject: Callable[[Reject], None]
) -> list[Row]:
    """Return the rows whose text has not come before, by length, and count the others."""
    rows = [entry for entry in window if isinstance(entry, Row)]
    for entry in window:
        if isinstance(entry, Reject):
            reject(entry)
    new = [row for row, is_new in zip(rows, distinct.are_new([row.text for row in rows]), strict=True) if is_new]
    tally.rows += len(window)
    tally.rejected += len(window) - len(rows)
    tally.duplicates += len(rows) - len(new)
    tally.texts += len(new)
    # Texts of about one length go together: what is encoded together is padded to its longest.
    return sorted(new, key=lambda row: len(row.text))


async def _warm_window(rows: Sequence[Row], warmers: Sequence[Warmer], tally: Tally, listeners: Listeners) -> None:
    texts = [row.text for row in rows]
    steps, before = 0, tally.rows - len(rows)

    def warm(warmer: Warmer) -> Coroutine[Any, Any, Mapping[int, str]]:
        counts = tally.tiers[warmer.tier]

        def report(*, embedded: int = 0, cached: int = 0, rejected: int = 0) -> None:
            nonlocal steps
            counts.embedded += embedded
            counts.cached += cached
            counts.rejected += rejected
            steps += embedded + cached + rejected
            listeners.progress(before + steps // len(warmers))

        return _timed(warmer.warm(texts, report), counts)

    failed: dict[int, str] = {}
    for warmer, failures in zip(warmers, await together([warm(warmer) for warmer in warmers]), strict=True):
        for place, reason in failures.items():
            failed.setdefault(place, f"{warmer.tier} tier: {reason}")
    for place, reason in failed.items():
        listeners.reject(Reject(rows[place].file, rows[place].line, reason))
    tally.rejected += len(failed)
    listeners.progress(tally.rows)


async def _timed(work: Coroutine[Any, Any, Mapping[int, str]], counts: TierTally) -> Mapping[int, str]:
    began = time.monotonic()
    try:
        return await work
    finally:
        counts.seconds += time.monotonic() - began
