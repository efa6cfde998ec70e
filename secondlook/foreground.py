"""Serve in the foreground of a terminal or a supervisor: one line when ready, an exit code at the end."""

import os
import sys

from secondlook.errors import ServiceLost, StopRequested
from secondlook.launch import Service, run_service
from secondlook.output import only_ours

READY_PREFIX = "secondlook: ready at "


def serve_in_foreground(service: Service) -> int:
    """Run `service` until a signal and return the exit code.

    Raises:
        StartFailed: It could not be started.
    """
    with only_ours(verbose=service.verbose) as answer:
        try:
            run_service(service, lambda url: print(f"{READY_PREFIX}{url}", file=answer, flush=True))
        except StopRequested:
            return 0
        except ServiceLost as error:
            lost = error
        else:
            return 0
    print(f"secondlook: {lost}", file=sys.stderr, flush=True)
    # Ray's native part would wait for its cluster, or crash, on the way out of the interpreter.
    os._exit(1)
