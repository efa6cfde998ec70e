"""Run a service in a process of its own for as long as a block lasts."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from secondlook.errors import StartFailed
from secondlook.foreground import READY_PREFIX

STOP_TIMEOUT_S = 60.0


@contextmanager
def background_service(config: Path) -> Iterator[str]:
    """Start `secondlook serve` on a free port, yield its URL, stop it in the end.

    Raises:
        StartFailed: It ended before it was ready; standard error has its reason.
    """
    command = [sys.executable, "-m", "secondlook", "serve", "--config", str(config), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - this program
        try:
            yield _url_of(process)
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(READY_PREFIX):
            return line.removeprefix(READY_PREFIX).strip()
    raise StartFailed("the service did not start; its reason is above")
