"""The processes of a service by what they do, and what can be done to them."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.faults.load import wait_until
from tests.service_process import RunningService, processes_of

REPLACED_WITHIN_S = 60.0
REPLICA_TITLE = "ServeReplica:secondlook:"


def replicas(service: RunningService, deployment: str) -> set[int]:
    """The processes of one deployment's replicas."""
    return titled(processes_of(service), REPLICA_TITLE + deployment)


def controllers(service: RunningService) -> set[int]:
    """The process that decides which replicas are to run."""
    return titled(processes_of(service), "ServeController")


def haproxies(service: RunningService) -> set[int]:
    """The ingress: HAProxy; for a moment, while it is reloaded, two of them."""
    return {pid for pid, name in processes_of(service).items() if name == "haproxy"}


def kill(pid: int) -> None:
    """End a process without warning."""
    os.kill(pid, signal.SIGKILL)


def stop(pid: int) -> None:
    """Have a process stand still: its connections stay open, and nothing is answered."""
    os.kill(pid, signal.SIGSTOP)


def end_if_running(pid: int) -> None:
    """Kill a process that may have been killed by others."""
    with suppress(ProcessLookupError):
        kill(pid)


def wait_for_replacement(service: RunningService, deployment: str, before: set[int], lost: int) -> float:
    """Wait until as many replicas run as before, the lost one not among them; returns the seconds that it took."""

    def is_replaced() -> bool:
        now = replicas(service, deployment)
        return lost not in now and len(now) == len(before)

    return wait_until(is_replaced, REPLACED_WITHIN_S, f"a new replica of {deployment}")


def titled(pids: Iterable[int], title: str) -> set[int]:
    """Those processes that have this in their title, or in their command line."""
    return {pid for pid in pids if title.encode() in _command_line(pid)}


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
