"""A service in the foreground of something that may go away."""

import io
import os

from secondlook.foreground import READY_PREFIX, announce


def test_ready_line_names_the_address() -> None:
    """One line, at once."""
    answer = io.StringIO()

    announce("http://127.0.0.1:8000", answer)

    assert answer.getvalue() == f"{READY_PREFIX}http://127.0.0.1:8000\n"


def test_service_goes_on_when_nobody_reads_its_ready_line() -> None:
    """Whoever started it may have gone meanwhile."""
    reading, writing = os.pipe()
    os.close(reading)
    answer = os.fdopen(writing, "w")

    announce("http://127.0.0.1:8000", answer)

    answer.close()
