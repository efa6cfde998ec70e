"""CPU time and memory of every process of a service, by what it does there (Linux's /proc)."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from secondlook.watchdog import MARKER

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# The first of these that a process's command line contains says its role.
ROLES = {
    "ServeReplica:secondlook:Router": "router",
    "ServeReplica:secondlook:Fast": "fast",
    "ServeReplica:secondlook:Accurate": "accurate",
    "ServeReplica:": "empty app",
    "ServeController": "controller",
    "HAProxyManager": "haproxy manager",
    "ProxyActor": "python proxy",
    "haproxy": "haproxy",
    "gcs_server": "gcs",
    "raylet/raylet": "raylet",
    "log_monitor": "ray log monitor",
    "dashboard/": "ray agents",
    "DashboardAgent": "ray agents",
    "RuntimeEnvAgent": "ray agents",
    "autoscaler/_private/monitor": "ray agents",
    "ray::IDLE": "idle worker",
    "default_worker": "idle worker",
    "watchdog": "launcher",
    "redis-server": "redis",
    "uvicorn": "uvicorn",
    "-m secondlook": "launcher",
    "-m bench.serve_empty": "launcher",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """One process: its role, the CPU seconds it has used, and its memory in MiB."""

    role: str
    cpu_s: float
    rss_mib: float
    pss_mib: float


def role_of(command: str) -> str:
    """Say what a process with this command line does in a service."""
    return next((role for mark, role in ROLES.items() if mark in command), "other")


def members(root: int) -> set[int]:
    """Return the ids of a service's processes: below `root`, and whoever carries its launcher's marker."""
    below = {root, *_descendants(root, _parents())}
    marks = {pid: _marker(pid) for pid in _pids()}
    ours = {marks[pid] for pid in below if marks.get(pid)}
    return below | {pid for pid, mark in marks.items() if mark in ours}


def usage(pids: Iterable[int], *, with_pss: bool = False) -> dict[int, Usage]:
    """Read the processes that still run; PSS costs more to read and is 0 unless asked for."""
    found: dict[int, Usage] = {}
    for pid in pids:
        with suppress(OSError, IndexError):
            folder = PROC / str(pid)
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            pages = int((folder / "statm").read_text().split()[1])
            pss = _pss_mib(folder) if with_pss else 0.0
            found[pid] = Usage(
                role=role_of((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")),
                cpu_s=(int(fields[11]) + int(fields[12])) / TICKS_PER_S,
                rss_mib=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
                pss_mib=pss,
            )
    return found


def cpu_by_role(before: Mapping[int, Usage], after: Mapping[int, Usage]) -> dict[str, float]:
    """CPU seconds that each role used between two readings; a process that came in between counts whole."""
    spent: dict[str, float] = defaultdict(float)
    for pid, now in after.items():
        spent[now.role] += now.cpu_s - (before[pid].cpu_s if pid in before else 0.0)
    return {role: seconds for role, seconds in spent.items() if seconds > 0}


def memory_by_role(read: Mapping[int, Usage]) -> dict[str, dict[str, float]]:
    """MiB of each role, all its processes together."""
    found: dict[str, dict[str, float]] = {}
    for one in read.values():
        sums = found.setdefault(one.role, {"processes": 0, "rss_mib": 0.0, "pss_mib": 0.0})
        sums["processes"] += 1
        sums["rss_mib"] += one.rss_mib
        sums["pss_mib"] += one.pss_mib
    return found


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _parents() -> dict[int, int]:
    parents: dict[int, int] = {}
    for pid in _pids():
        with suppress(OSError, IndexError):
            parents[pid] = int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return parents


def _descendants(root: int, parents: Mapping[int, int]) -> set[int]:
    found: set[int] = set()
    frontier = [root]
    while frontier:
        parent = frontier.pop()
        children = [pid for pid, owner in parents.items() if owner == parent and pid not in found]
        found.update(children)
        frontier.extend(children)
    return found


def _marker(pid: int) -> bytes | None:
    prefix = f"{MARKER}=".encode()
    with suppress(OSError):
        for variable in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
            if variable.startswith(prefix):
                return variable
    return None


def _pss_mib(folder: Path) -> float:
    for line in (folder / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
