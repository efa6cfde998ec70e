"""What a warm-up has done, or would do, for a person and for machines."""

from dataclasses import asdict
from typing import Any, TextIO

from jobs.rows import Reject
from jobs.warmup import Tally
from secondlook.tables import print_table
from secondlook.warmup import Estimate

MIB = 2**20


def report_json(tally: Tally, **further: object) -> dict[str, Any]:
    """Everything that was counted, and what else is to be said."""
    return asdict(tally) | further


def report(tally: Tally, stream: TextIO) -> None:
    """Print what was done, tier by tier."""
    print(_counted(tally) + f", {tally.seconds:.1f} s", file=stream)
    rows = [
        (tier, str(one.embedded), str(one.cached), str(one.rejected), f"{one.seconds:.1f}")
        for tier, one in tally.tiers.items()
    ]
    if rows:
        print_table(("tier", "embedded", "cached already", "rejected", "seconds"), rows, stream)


def report_estimate(tally: Tally, estimate: Estimate, stream: TextIO) -> None:
    """Print what a job would take."""
    print(_counted(tally), file=stream)
    print(
        f"about {estimate.seconds:,.0f} s, by a sample of {estimate.sampled} texts, of which "
        f"{estimate.sampled_cached} were cached already",
        file=stream,
    )
    for tier, used in estimate.memory_bytes.items():
        print(f"about {used / MIB:,.1f} MiB of Redis' memory for the {tier} tier", file=stream)


def first_reject(reject: Reject, count: int, *, is_written: bool) -> str:
    """Say what was wrong with the first of the rows that are no good, and where the others stand."""
    where = "" if is_written else "; all of them: --rejects FILE"
    return f"{count} row(s) rejected, the first at {reject.file}, line {reject.line}: {reject.reason}{where}"


def _counted(tally: Tally) -> str:
    return f"{tally.texts:,} texts, {tally.duplicates:,} duplicates, {tally.rejected:,} rejected"
