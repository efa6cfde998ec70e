"""Serve the toy application in the foreground; `--broken`: its replica can't start."""

import sys
from pathlib import Path

from secondlook.changes import FixedApplication
from secondlook.cluster import Application
from secondlook.errors import SecondlookError
from secondlook.foreground import serve_in_foreground
from secondlook.launch import Service


def main(arguments: list[str]) -> int:
    """Serve on a free port until a signal."""
    broken = {"reason": "the model is made of cheese"} if "--broken" in arguments else {}
    application = Application("toy_service:build_app", broken)
    try:
        return serve_in_foreground(
            Service(lambda _: FixedApplication(application), code_dir=Path(__file__).resolve().parent)
        )
    except SecondlookError as error:
        sys.stderr.write(f"secondlook: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
