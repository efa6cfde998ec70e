"""`secondlook serve`: run the service until a signal."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from secondlook.deployment_file import DEFAULT_CONFIG, load

if TYPE_CHECKING:
    from router.config import AppArgs
    from secondlook.cluster import Application

SUMMARY = "run the service until Ctrl-C or SIGTERM"
BUILDER = "router.app:build_app"


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
    from secondlook.foreground import serve_in_foreground  # noqa: PLC0415 - --help needs neither
    from secondlook.launch import Service  # noqa: PLC0415

    args = load(options.config, host=options.host, port=options.port)

    def reload(port: int) -> "Application":
        return _application(load(options.config, host=args.server.host), port)

    return serve_in_foreground(
        Service(
            application=partial(_application, args),
            host=args.server.host,
            port=args.server.port,
            verbose=options.verbose,
            reload=reload,
        )
    )


def _application(args: "AppArgs", port: int) -> "Application":
    from secondlook.cluster import Application  # noqa: PLC0415
    from secondlook.rollout import split  # noqa: PLC0415

    rollout = split(args)
    return Application(
        BUILDER, {**rollout.args, "server": {**rollout.args["server"], "port": port}}, rollout.deployments
    )
