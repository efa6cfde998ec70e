"""Remove what a service leaves behind: a process of its own that outlives the launcher.

The launcher holds the write end of this process's standard input. When it ends, in whatever way,
SIGKILL included, the pipe closes; then every process that carries the service's marker in its
environment is killed and the service's folder is removed. Run as a script: only the standard
library, and the launcher's orderly exit goes through here as well.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

MARKER = "SECONDLOOK_SERVICE_DIR"
"""Environment variable that every process of a service inherits; its value, the service's folder, is unique."""

PROC = Path("/proc")
POLL_S = 0.05
DEADLINE_S = 20.0


def marked_processes(service_dir: str) -> set[int]:
    """The processes that inherited this service's marker, this process excepted."""
    # Anywhere in the environment: a process that changes its title may overwrite some variables.
    wanted = service_dir.encode()
    found: set[int] = set()
    for entry in PROC.iterdir():
        # A process may end while it is looked at, and others' processes can't be read.
        with suppress(OSError):
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes():
                found.add(int(entry.name))
    return found - {os.getpid()}


def kill_marked(service_dir: str, deadline_s: float = DEADLINE_S) -> set[int]:
    """Kill until none is found any more (a process may be starting another); return what is left."""
    give_up_at = time.monotonic() + deadline_s
    while (left := marked_processes(service_dir)) and time.monotonic() < give_up_at:
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)
    return left


def main(service_dir: str) -> None:
    """Wait for the launcher's end, then clean up after it."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    while os.read(sys.stdin.fileno(), 1):
        pass
    kill_marked(service_dir)
    shutil.rmtree(service_dir, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
