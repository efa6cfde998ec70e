"""What a command writes where: one stream for the answer, one for the account of the work."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def only_ours(*, verbose: bool) -> Iterator[TextIO]:
    """Yield standard output for the answer alone; nobody else writes there meanwhile.

    Ray's native code writes to both streams as it likes. Unless `verbose`, what it writes is dropped;
    our own log lines go to standard error through a stream of their own.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with os.fdopen(os.dup(1), "w", buffering=1) as answer, os.fdopen(os.dup(2), "w", buffering=1) as account:
        noise = os.dup(2) if verbose else os.open(os.devnull, os.O_WRONLY)
        os.dup2(noise, 1)
        os.dup2(noise, 2)
        os.close(noise)
        _log_to(account)
        try:
            yield answer
        finally:
            os.dup2(answer.fileno(), 1)
            os.dup2(account.fileno(), 2)
            _log_to(sys.stderr)


def _log_to(stream: TextIO) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("secondlook: %(message)s"))
    ours = logging.getLogger("secondlook")
    ours.handlers = [handler]
    ours.setLevel(logging.INFO)
    ours.propagate = False
