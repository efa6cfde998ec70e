"""Embed a catalogue of texts, or say what that would take."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jobs.catalogue import read_catalogue
from jobs.distinct import Distinct
from jobs.estimate import Sample, remaining_s
from jobs.row_formats import Format
from jobs.rows import Columns, Entry, Reject, Row
from jobs.warmup import WINDOW_ROWS, Listeners, Tally, distinct_rows, warm_up
from jobs.windows import windows_of
from secondlook.warm_targets import Target, opened


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What to read, and how many texts a second at most."""

    files: Sequence[str]
    columns: Columns
    format: Format | None = None
    texts_per_s: float | None = None

    def windows(self) -> AsyncIterator[Sequence[Entry]]:
        """Its rows, some at a time; where it is to be slow, a second's worth."""
        size = WINDOW_ROWS if self.texts_per_s is None else min(WINDOW_ROWS, max(1, int(self.texts_per_s)))
        return windows_of(read_catalogue(self.files, self.columns, self.format), size)


class Estimate(NamedTuple):
    """What a job would take, by a sample of its texts that was embedded for it; by tier, Redis' memory."""

    sampled: int
    sampled_cached: int
    seconds: float
    memory_bytes: dict[str, int]


async def run_warmup(
    catalogue: Catalogue,
    target: Target,
    tally: Tally,
    reject: Callable[[Reject], None],
    progress: Callable[[int], None],
) -> None:
    """Embed the catalogue; `tally` says at any time how far it came.

    Raises:
        JobError: It can't be done, or not all of it.
        SecondlookError: There is no service, or no model.
    """
    async with opened(target, tally) as tiers:
        listeners = Listeners(reject, progress, tiers.check_kept)
        await warm_up(catalogue.windows(), tiers.warmers, tally, listeners, catalogue.texts_per_s)
        await tiers.check_all_kept()


async def estimate_warmup(
    catalogue: Catalogue, target: Target, tally: Tally, reject: Callable[[Reject], None]
) -> Estimate:
    """Count the catalogue's texts, and embed a sample of them to see how long all will take; raises as the job does."""
    sample, distinct = Sample(), Distinct()
    async for window in catalogue.windows():
        sample.add([row.text for row in distinct_rows(window, distinct, tally, reject)])
    sampled = Tally()
    async with opened(target, sampled) as tiers:
        began = time.monotonic()
        await warm_up(_once(sample.texts), tiers.warmers, sampled, Listeners(_ignore, _ignore, tiers.check_kept))
        seconds = time.monotonic() - began
    return Estimate(
        len(sample.texts),
        min((tier.cached for tier in sampled.tiers.values()), default=0),
        remaining_s(seconds, len(sample.texts), tally.texts, catalogue.texts_per_s),
        {tier: tally.texts * size for tier, size in tiers.entry_bytes.items()},
    )


async def _once(texts: Sequence[str]) -> AsyncIterator[Sequence[Entry]]:
    yield [Row("", number, text) for number, text in enumerate(texts, 1)]


def _ignore(_: object) -> None:
    pass
