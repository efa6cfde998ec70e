"""Serve the empty application with the project's own launcher: `python -m bench.serve_empty REPLICAS`."""

import sys

from secondlook.changes import FixedApplication
from secondlook.cluster import Application
from secondlook.errors import SecondlookError
from secondlook.foreground import serve_in_foreground
from secondlook.launch import Service


def main(arguments: list[str]) -> int:
    """Serve on a free port until a signal."""
    application = Application("bench.empty_service:build_app", {"replicas": int(arguments[0])})
    try:
        return serve_in_foreground(Service(lambda _: FixedApplication(application)))
    except SecondlookError as error:
        sys.stderr.write(f"secondlook: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
