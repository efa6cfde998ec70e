"""`secondlook bench engine`: compare the engines that can run a tier's model on this machine."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from secondlook.deployment_file import DEFAULT_CONFIG, load
from secondlook.errors import BenchFailed

if TYPE_CHECKING:
    from tiers.engines.trial import Trial

SUMMARY = "compare the engines that can run a tier's model here"
ENGINES = ("torch", "torch-compile", "onnxruntime", "onnxruntime-int8")
TIERS = ("fast", "accurate")
BATCHES = (1, 8, 16)
SECONDS = 5.0
MOST_IMAGES = 1024
COLUMNS = ("engine", "images/s at 1", "images/s best", "at batch", "texts/s", "cosine", "load s", "MiB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    engine = actions.add_parser(
        "engine", help="measure each engine with a tier's model; the last line is the configuration to use"
    )
    engine.add_argument(
        "--config", type=Path, default=DEFAULT_CONFIG, metavar="F", help="deployment file (default: quick start)"
    )
    engine.add_argument("--tier", choices=TIERS, default="fast", help="whose model (default: %(default)s)")
    engine.add_argument("--engine", choices=ENGINES, nargs="+", default=ENGINES, help="which ones (default: all)")
    engine.add_argument(
        "--batch", type=_size, nargs="+", default=BATCHES, metavar="N", help="sizes of batches of images (1 8 16)"
    )
    engine.add_argument("--seconds", type=_seconds, default=SECONDS, metavar="S", help="for each figure (5)")
    engine.add_argument("--json", action="store_true", help="print what was measured as JSON")


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    from tiers.engines.trial import choose, try_in_process  # noqa: PLC0415 - --help does not need it

    tiers = load(options.config).tiers
    tier = tiers.fast if options.tier == "fast" else tiers.accurate
    batches = sorted({1, *options.batch})
    trials = []
    for name in options.engine:
        print(f"{name} ...", file=sys.stderr, flush=True)
        trials.append(try_in_process(tier, name, batches=batches, seconds=options.seconds))
    chosen = choose(trials)
    if chosen is None:
        raise BenchFailed("\n".join(["no engine runs this model here", *(str(one.unavailable) for one in trials)]))
    line = f"model: {{engine: {chosen.engine}}}"
    if options.json:
        found = [dataclasses.asdict(trial) for trial in trials]
        print(json.dumps({"trials": found, "engine": chosen.engine, "config": line}, indent=2))
    else:
        _print(trials, chosen)
        print(line)
    return 0


def _print(trials: list["Trial"], chosen: "Trial") -> None:
    from secondlook.tables import print_table  # noqa: PLC0415

    able = [trial for trial in trials if trial.unavailable is None]
    print_table(COLUMNS, [_row(trial) for trial in able], sys.stdout, marked=[able.index(chosen)])
    for trial in trials:
        if trial.unavailable is not None:
            print(f"not here: {trial.unavailable}")


def _row(trial: "Trial") -> tuple[str, ...]:
    return (
        trial.engine,
        f"{trial.images_per_s[1]:.1f}",
        f"{trial.best_images_per_s:.1f}",
        str(trial.best_batch),
        f"{trial.texts_per_s:.1f}",
        f"{trial.cosine:.5f}",
        f"{trial.load_s:.1f}",
        f"{trial.memory_mib:.0f}",
    )


def _size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_IMAGES:
        raise argparse.ArgumentTypeError(f"not a size from 1 to {MOST_IMAGES}: {text}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"not a number of seconds: {text}")
    return seconds
