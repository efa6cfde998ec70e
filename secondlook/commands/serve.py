"""`secondlook serve`: run the service until a signal."""

import argparse
from functools import partial
from pathlib import Path

from secondlook.deployment_file import DEFAULT_CONFIG, load

SUMMARY = "run the service until Ctrl-C or SIGTERM"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--config", type=Path, default=DEFAULT_CONFIG, metavar="F", help="deployment file (default: quick start)"
    )
    parser.add_argument("--host", metavar="H", help="address to listen on (default: the file's)")
    parser.add_argument("--port", type=port_number, metavar="P", help="port, 0 for a free one (default: the file's)")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what Ray says as well")


def port_number(text: str) -> int:
    """Parse a TCP port."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"not a port number: {text}")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Start, serve, drain, stop."""
    from secondlook.deployment import Deployment  # noqa: PLC0415
    from secondlook.exposure import check_exposure  # noqa: PLC0415
    from secondlook.foreground import serve_in_foreground  # noqa: PLC0415 - --help needs neither
    from secondlook.launch import Service  # noqa: PLC0415

    args = load(options.config, host=options.host, port=options.port)
    check_exposure(args)
    return serve_in_foreground(
        Service(
            deployable=partial(Deployment, options.config, args),
            host=args.server.host,
            port=args.server.port,
            verbose=options.verbose,
        )
    )
