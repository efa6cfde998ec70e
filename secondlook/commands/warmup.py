"""`secondlook warmup`: embed a catalogue of texts before it is asked for."""

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from secondlook.commands.status import DEFAULT_URL
from secondlook.errors import SecondlookError, WarmupFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.rows import Reject
    from jobs.warmup import Tally
    from secondlook.warm_targets import Target
    from secondlook.warmup import Catalogue

SUMMARY = "embed a catalogue of texts before it is asked for"
TIERS = ("fast", "accurate")
FORMATS = ("txt", "csv", "tsv", "jsonl", "parquet")
INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", metavar="FILE", nargs="+", help="txt, csv, tsv, jsonl or parquet; a glob; - for stdin")
    parser.add_argument("--url", metavar="U", help=f"the service (default: {DEFAULT_URL})")
    parser.add_argument("--tiers", type=_tiers, default=TIERS, metavar="T", help="fast, accurate or fast,accurate")
    parser.add_argument("--format", choices=FORMATS, help="of the files (default: what their names say; stdin: txt)")
    parser.add_argument("--text-column", default="text", metavar="C", help="holds the text (default: %(default)s)")
    parser.add_argument("--id-column", default="id", metavar="C", help="holds the id, if any (default: %(default)s)")
    parser.add_argument("--rejects", type=Path, metavar="F", help="where rows that are no good go, as jsonl")
    parser.add_argument("--rate", type=_rate, metavar="N", help="texts a second at most")
    parser.add_argument("--dry-run", action="store_true", help="count, time a sample of the texts, estimate the rest")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    roll = parser.add_argument_group("before another model is put in force")
    roll.add_argument("--revision", choices=("next",), help="embed with the models of --config, in this process")
    roll.add_argument("--config", type=Path, metavar="F", help="the deployment file that is to be applied")
    roll.add_argument("--tenant", default="", metavar="T", help="whose part of its cache, where tenants share none")


class _Rejects:
    """Passes on rows that are no good, and remembers the first."""

    def __init__(self, write: "Callable[[Reject], None]") -> None:
        self._write = write
        self.count = 0
        self.first: Reject | None = None

    def __call__(self, reject: "Reject") -> None:
        self._write(reject)
        self.count += 1
        self.first = self.first or reject


@dataclass(frozen=True, slots=True)
class _Job:
    """What to read, where it is to go, and what has come of it."""

    catalogue: "Catalogue"
    target: "Target"
    tally: "Tally"
    rejects: _Rejects


def run(options: argparse.Namespace) -> int:
    """Embed, or estimate; exit code 1 where not all could be done, or no text could be embedded."""
    from jobs.catalogue import find_files  # noqa: PLC0415 - --help needs none of it
    from jobs.errors import JobError  # noqa: PLC0415
    from jobs.rejects_file import rejects_file  # noqa: PLC0415
    from jobs.rows import Columns  # noqa: PLC0415
    from jobs.warmup import Tally  # noqa: PLC0415
    from secondlook.warmup import Catalogue  # noqa: PLC0415

    columns = Columns(options.text_column, options.id_column)
    try:
        catalogue = Catalogue(find_files(options.files), columns, options.format, options.rate)
        with rejects_file(options.rejects) as write:
            job = _Job(catalogue, _target(options), Tally(), _Rejects(write))
            work = _estimate if options.dry_run else _warm
            return work(options, job)
    except JobError as error:
        raise WarmupFailed(str(error)) from error


def _warm(options: argparse.Namespace, job: _Job) -> int:
    from jobs.catalogue import count_rows  # noqa: PLC0415
    from jobs.errors import JobError  # noqa: PLC0415
    from secondlook.progress import progress  # noqa: PLC0415
    from secondlook.warmup import run_warmup  # noqa: PLC0415
    from secondlook.warmup_report import report, report_json  # noqa: PLC0415

    is_interrupted, failure = False, None
    with progress("texts", count_rows(job.catalogue.files, job.catalogue.format)) as advance:
        try:
            asyncio.run(run_warmup(job.catalogue, job.target, job.tally, job.rejects, advance))
        except KeyboardInterrupt:
            is_interrupted = True
        except (JobError, SecondlookError) as error:
            failure = error
    if options.json:
        print(json.dumps(report_json(job.tally, interrupted=is_interrupted, error=failure and str(failure)), indent=2))
    elif job.tally.rows:
        report(job.tally, sys.stdout)
    _say_rejects(options, job.rejects)
    if is_interrupted:
        return INTERRUPTED
    if failure is not None:
        raise WarmupFailed(str(failure)) from failure
    _check_any(job)
    return 1 if job.tally.failed_altogether else 0


def _estimate(options: argparse.Namespace, job: _Job) -> int:
    from secondlook.warmup import estimate_warmup  # noqa: PLC0415
    from secondlook.warmup_report import report_estimate, report_json  # noqa: PLC0415

    estimate = asyncio.run(estimate_warmup(job.catalogue, job.target, job.tally, job.rejects))
    if options.json:
        print(json.dumps(report_json(job.tally, estimate=estimate._asdict()), indent=2))
    elif job.tally.rows:
        report_estimate(job.tally, estimate, sys.stdout)
    _say_rejects(options, job.rejects)
    _check_any(job)
    return 0 if job.tally.texts else 1


def _target(options: argparse.Namespace) -> "Target":
    from secondlook.deployment_file import load  # noqa: PLC0415
    from secondlook.warm_targets import Target  # noqa: PLC0415

    if (options.revision is None) != (options.config is None):
        raise WarmupFailed("--revision next and --config go together")
    if options.config is None:
        return Target(options.tiers, options.url or DEFAULT_URL)
    return Target(options.tiers, options.url, load(options.config), options.tenant)


def _check_any(job: _Job) -> None:
    if not job.tally.rows:
        raise WarmupFailed(f"{', '.join(job.catalogue.files)}: there is nothing in it")


def _say_rejects(options: argparse.Namespace, rejects: _Rejects) -> None:
    from secondlook.warmup_report import first_reject  # noqa: PLC0415

    if rejects.first is not None:
        said = first_reject(rejects.first, rejects.count, is_written=options.rejects is not None)
        print(f"secondlook: {said}", file=sys.stderr)


def _tiers(text: str) -> tuple[str, ...]:
    tiers = tuple(dict.fromkeys(text.split(",")))
    if not set(tiers) <= set(TIERS):
        raise argparse.ArgumentTypeError(f"fast, accurate or fast,accurate, not {text}")
    return tiers


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"not a number of texts above zero: {text}")
    return rate
