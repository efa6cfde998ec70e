"""Serve in the foreground of a terminal or a supervisor: one line when ready, an exit code at the end."""

import os
import sys
import traceback
from typing import TextIO

from secondlook.errors import SecondlookError, ServiceLost, StopRequested
from secondlook.launch import Service, run_service
from secondlook.output import only_ours

READY_PREFIX = "secondlook: ready at "


def announce(url: str, answer: TextIO) -> None:
    """Say that the service is ready. That nobody reads it any more is no reason to stop."""
    try:
        print(f"{READY_PREFIX}{url}", file=answer, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, answer.fileno())  # what is left in its buffer must not fail again when it is closed
        os.close(nowhere)


def serve_in_foreground(service: Service) -> int:
    """Run `service` until a signal and return the exit code.

    Raises:
        StartFailed: It could not be started.
    """
    with only_ours(verbose=service.verbose) as answer:
        try:
            run_service(service, lambda url: announce(url, answer))
        except StopRequested:
            return 0
        except ServiceLost as error:
            lost: Exception = error
        except SecondlookError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours; Ray's hook for it would wait for its cluster
            traceback.print_exc()
            lost = error
        else:
            return 0
    print(f"secondlook: {lost}", file=sys.stderr, flush=True)
    # Ray's native part would wait for its cluster, or crash, on the way out of the interpreter.
    os._exit(1)
