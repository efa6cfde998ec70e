"""A real `secondlook serve` in a process of its own, for tests that speak HTTP to it."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
READY_PREFIX = "secondlook: ready at "
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0
KEPT_LINES = 200


class ServiceNotReady(Exception):
    """Raised when a service ended, or took too long, before it was ready; shows what it wrote."""


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that is ready."""

    base_url: str
    process: subprocess.Popen[str]
    log: deque[str]

    @property
    def pid(self) -> int:
        """The launcher's process."""
        return self.process.pid

    @property
    def output(self) -> str:
        """The last lines that it wrote to standard error."""
        return "".join(self.log)

    def stop(self, signum: int = signal.SIGTERM, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Send a signal, wait for the end and return the exit code; a stopped one stays stopped."""
        if self.process.poll() is None:
            self.process.send_signal(signum)
        return self.process.wait(timeout_s)


@contextmanager
def run_service(
    config: Path | None = None, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[RunningService]:
    """Run `secondlook serve` on a free port until the block ends.

    Args:
        config: The deployment file; None is the command's default.
        arguments: Further arguments of `serve`.
        environment: Variables to set beside those of this process.

    Raises:
        ServiceNotReady: It did not become ready.
    """
    command = [sys.executable, "-m", "secondlook", "serve", "--port", "0", *arguments]
    command += ["--config", str(config)] if config else []
    with run_command(command, environment=environment) as service:
        yield service


@contextmanager
def run_command(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Iterator[RunningService]:
    """Run a command that prints the ready line, until the block ends."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
    )
    log: deque[str] = deque(maxlen=KEPT_LINES)
    reader = threading.Thread(target=_keep, args=(process, log), daemon=True)
    reader.start()
    try:
        yield RunningService(_wait_until_ready(process, log), process, log)
    finally:
        _end(process)
        reader.join(5)


def processes_of(service: RunningService) -> dict[int, str]:
    """Every process below the launcher, by id: what must be gone when it has ended."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name, _, rest = (entry / "stat").read_text().rpartition(")")
            except OSError:
                continue
            parents[int(entry.name)] = (int(rest.split()[1]), name.partition("(")[2])
    found: dict[int, str] = {}
    frontier = [service.pid]
    while frontier:
        parent = frontier.pop()
        children = {pid: name for pid, (owner, name) in parents.items() if owner == parent}
        found |= children
        frontier += children
    return found


def _wait_until_ready(process: subprocess.Popen[str], log: deque[str]) -> str:
    assert process.stdout is not None
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_at:
        readable, _, _ = select.select([process.stdout], [], [], 0.5)
        line = process.stdout.readline() if readable else ""
        if line.startswith(READY_PREFIX):
            return line.removeprefix(READY_PREFIX).strip()
        if readable and not line:
            process.wait(STOP_TIMEOUT_S)
            time.sleep(0.2)
            raise ServiceNotReady(f"ended with {process.returncode}:\n{''.join(log)}")
    raise ServiceNotReady(f"not ready after {START_TIMEOUT_S:.0f} s:\n{''.join(log)}")


def _keep(process: subprocess.Popen[str], log: deque[str]) -> None:
    assert process.stderr is not None
    log.extend(process.stderr)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
