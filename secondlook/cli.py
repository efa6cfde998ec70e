"""The command line: `secondlook COMMAND ...`; exit codes 0 done, 1 failed, 2 wrong use."""

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata

from secondlook.commands import bench, calibrate, config, demo, keys, policy, query, serve, status, warmup
from secondlook.errors import SecondlookError

DONE, FAILED, INTERRUPTED = 0, 1, 130
COMMANDS = {
    "serve": serve,
    "query": query,
    "status": status,
    "policy": policy,
    "keys": keys,
    "calibrate": calibrate,
    "warmup": warmup,
    "demo": demo,
    "config": config,
    "bench": bench,
}


def build_parser() -> argparse.ArgumentParser:
    """Describe every command."""
    parser = argparse.ArgumentParser(
        prog="secondlook",
        description="Image-text similarity over HTTP: a fast model, and a second look where it is not sure.",
    )
    parser.add_argument("--version", action="version", version=f"secondlook {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.SUMMARY, description=command.__doc__)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except SecondlookError as error:
        print(f"secondlook: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _version() -> str:
    try:
        return metadata.version("secondlook")
    except metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
