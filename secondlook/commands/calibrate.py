"""`secondlook calibrate`: find the thresholds that keep a policy's targets, and write the certificates that say so."""

import argparse
import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from secondlook.commands.status import DEFAULT_URL
from secondlook.errors import CalibrationFailed

if TYPE_CHECKING:
    from jobs.calibrate import GroupResult
    from jobs.questions import FileQuestion
    from router.audit_sample import GroupSample
    from router.certificate import Source
    from router.policy import Policy
    from router.policy_in_force import Models

SUMMARY = "certify a policy's targets, from audited traffic or from pictures and texts"
ROUTES = ("similarity", "classify", "rerank", "search")
SEED = 1
PLOTS = (".png", ".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("policy", type=Path, help="policy file, or deployment file, that names the targets")
    parser.add_argument("--url", default=DEFAULT_URL, metavar="U", help="the service (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="F", help="certificates' file (default: the one the policy names)")
    parser.add_argument("--plot", type=_plot, action="append", default=[], metavar="F", help=".png or .svg; repeatable")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    warm = parser.add_argument_group("from the audit log (the default)")
    warm.add_argument("--since", type=_time, metavar="T", help="leave out what is older: an ISO 8601 time")
    cold = parser.add_argument_group("cold, by asking both tiers")
    cold.add_argument("--images", type=Path, metavar="DIR", help="folder of pictures; needs --labels")
    cold.add_argument("--labels", type=Path, metavar="F", help="texts to choose from, one a line")
    cold.add_argument("--questions", type=Path, metavar="F", help='lines of {"image": "PATH", "texts": [...]}')
    cold.add_argument("--sample", type=int, metavar="N", help="draw so many of the questions (default: all)")
    cold.add_argument("--seed", type=int, default=SEED, help="of that draw (default: %(default)s)")
    cold.add_argument("--route", choices=ROUTES, default=ROUTES[0], help="whose certificate (default: %(default)s)")
    cost = parser.add_argument_group("cost of a million images")
    cost.add_argument("--price-fast", type=float, metavar="P", help="price of one fast replica's hour")
    cost.add_argument("--price-accurate", type=float, metavar="P", help="price of one accurate replica's hour")


def run(options: argparse.Namespace) -> int:
    """Sample, certify, write, report; exit code 1 where a target could not be certified."""
    from jobs.calibrate import calibrate, merged  # noqa: PLC0415 - --help needs none of it
    from jobs.errors import JobError  # noqa: PLC0415
    from secondlook.calibration import costs_of, models_of  # noqa: PLC0415
    from secondlook.calibration_report import Prices, report, report_json  # noqa: PLC0415

    policy = _load_policy(options.policy)
    try:
        questions = _cold_questions(options)
        models = models_of(options.url)
        samples = _sample(options, questions, models)
        costs = costs_of(options.url)
    except JobError as error:
        raise CalibrationFailed(str(error)) from error
    source: Source = "audit log" if questions is None else "cold"
    seed = None if questions is None else options.seed
    results = calibrate(samples, policy, models, source, datetime.now(UTC), seed)
    if not results:
        raise CalibrationFailed(_why_nothing(samples))
    out = options.out or _certificates_file(options.policy)
    _write(out, json.dumps([one.model_dump(mode="json") for one in merged(policy.certificates, results)]))
    plots = _draw(options.plot, results)
    prices = Prices(options.price_fast, options.price_accurate)
    if options.json:
        print(json.dumps(report_json(results, costs, prices) | {"certificates": str(out)}, indent=2))
    else:
        report(results, costs, prices, sys.stdout)
        print("\n".join(["", f"wrote {out}", *(f"wrote {plot}" for plot in plots), *_next_steps(options, out)]))
    return 0 if all(result.certificate for result in results) else 1


def _load_policy(file: Path) -> "Policy":
    from router.errors import ConfigInvalid  # noqa: PLC0415
    from router.policy_file import load_policy  # noqa: PLC0415

    try:
        policy = load_policy(file)
    except ConfigInvalid as error:
        raise CalibrationFailed(str(error)) from error
    rules = [policy, *map(policy.rule, policy.routes)]
    if all(rule.target_agreement is None for rule in rules):
        raise CalibrationFailed(f"{file}: the policy names no target_agreement")
    return policy


def _cold_questions(options: argparse.Namespace) -> "list[FileQuestion] | None":
    """What to ask, or None where the audit log is the source."""
    from jobs.questions import draw, from_folder, from_lines  # noqa: PLC0415

    if (options.images is None) != (options.labels is None) or (options.images and options.questions):
        raise CalibrationFailed("give --images and --labels, or --questions, or none of them")
    if options.questions:
        return draw(from_lines(options.questions), options.sample, options.seed)
    if options.images:
        return draw(from_folder(options.images, options.labels), options.sample, options.seed)
    return None


def _sample(
    options: argparse.Namespace, questions: "list[FileQuestion] | None", models: "Models"
) -> "tuple[GroupSample, ...]":
    from secondlook.calibration import asked, audited  # noqa: PLC0415

    if questions is None:
        return audited(options.url, models, options.since)
    return asyncio.run(asked(options.url, questions, options.route))


def _why_nothing(samples: "tuple[GroupSample, ...]") -> str:
    if samples:
        groups = ", ".join(sample.group for sample in samples)
        return f"the policy names no target for what was sampled: {groups}"
    return (
        "the audit log has nothing of the present models yet: wait for traffic, raise audit_share, or give "
        "--images and --labels, or --questions"
    )


def _certificates_file(policy_file: Path) -> Path:
    """The file that the policy names, or else one named for the policy's."""
    from router.policy_file import certificates_path  # noqa: PLC0415

    return certificates_path(policy_file) or policy_file.with_suffix(".certificates.json")


def _write(file: Path, text: str) -> None:
    draft = file.with_name(f".{file.name}.draft")
    try:
        draft.write_text(text + "\n", encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        raise CalibrationFailed(f"{file}: cannot be written ({type(error).__name__})") from error


def _draw(plots: list[Path], results: "list[GroupResult]") -> list[Path]:
    """Draw each group into each file; where there are several groups, the group is part of the file's name."""
    from jobs.risk_plot import write_risk_plot  # noqa: PLC0415

    drawn = []
    for plot in plots:
        for result in results:
            name = result.group.replace("/", "-").replace(":", "-")
            file = plot if len(results) == 1 else plot.with_stem(f"{plot.stem}-{name}")
            write_risk_plot(file, result)
            drawn.append(file)
    return drawn


def _next_steps(options: argparse.Namespace, out: Path) -> list[str]:
    from router.policy_file import certificates_path  # noqa: PLC0415

    steps = []
    if certificates_path(options.policy) is None:
        steps.append(f"add `certificates: {out.name}` to the policy in {options.policy}, then")
    where = "" if options.url == DEFAULT_URL else f" --url {options.url}"
    steps.append(f"try it: secondlook policy dry-run {options.policy}{where}")
    return [*steps, f"apply it: secondlook policy apply {options.policy}{where}"]


def _plot(text: str) -> Path:
    if not text.endswith(PLOTS):
        raise argparse.ArgumentTypeError(f"not a {' or '.join(PLOTS)} file: {text}")
    return Path(text)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not an ISO 8601 time: {text}") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
