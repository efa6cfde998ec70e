"""Runs the load generator in a process of its own and reads the service's processes around what it measured."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from bench.load import GRACE_S, Plan, as_json
from bench.processes import cpu_by_role, members, memory_by_role, usage
from bench.wire import write_requests

REPOSITORY = Path(__file__).resolve().parents[1]
START_S = 20.0
OPEN_LOOP_CONNECTIONS = 64
WARM_UP_S = 0.5


class LoadFailed(Exception):
    """Raised when the generator ended without figures; shows what it wrote."""


@dataclass(frozen=True, slots=True)
class Target:
    """A service under load: its address and the process that all of its others come from."""

    host: str
    port: int
    root_pid: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: the generator's figures, CPU microseconds per request and MiB by the service's roles."""

    figures: Mapping[str, Any]
    cpu_us: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Requests/s."""
        return float(self.figures["requests_per_s"])

    def as_document(self) -> dict[str, Any]:
        """Everything, as it is written to a report."""
        document = {name: value for name, value in self.figures.items() if name not in ("event", "timeline")}
        return {**document, "cpu_us_per_request": dict(self.cpu_us), "memory_mib": dict(self.memory)}


class RequestSet:
    """Requests on disk, for any number of runs; `once` sets are used up from run to run."""

    def __init__(self, path: Path, count: int, *, once: bool = False) -> None:
        self.path = path
        self.count = count
        self.once = once
        self.used = 0

    @classmethod
    def write(cls, folder: Path, requests: Sequence[bytes], *, once: bool = False) -> Self:
        """Write requests to a new file in the folder."""
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".requests", delete=False) as file:
            path = Path(file.name)
        write_requests(path, requests)
        return cls(path, len(requests), once=once)

    def unused(self) -> "RequestSet":
        """Return the same requests, none of them sent yet: for another service."""
        return RequestSet(self.path, self.count, once=self.once)

    @property
    def is_used_up(self) -> bool:
        """Whether there is nothing left to send."""
        return self.once and self.used >= self.count


def closed_loop(
    target: Target, requests: RequestSet, *, connections: int, seconds: float, warm_up_s: float = WARM_UP_S
) -> Sample:
    """Send as fast as the answers come, on so many connections, and measure when `warm_up_s` are over."""
    plan = replace(plan_of(target, requests, connections, seconds), warm_up_s=warm_up_s)
    return _run(target, requests, plan)


def open_loop(  # noqa: PLR0913 - what to send where, and how
    target: Target,
    requests: RequestSet,
    *,
    seconds: float,
    rate: float,
    connections: int = OPEN_LOOP_CONNECTIONS,
    is_random: bool = False,
    at_begin: Callable[[], object] | None = None,
) -> Sample:
    """Send at a fixed rate; latencies count from when a request was due.

    Args:
        target: Whom to send to.
        requests: What to send.
        seconds: How long to measure.
        rate: Requests/s.
        connections: As many requests can be on their way at once; more wait, and their waiting counts.
        is_random: Independent callers: arrivals of a Poisson process instead of equal distances.
        at_begin: Called when measuring begins; with it, the figures have a timeline of every latency.
    """
    plan = replace(plan_of(target, requests, connections, seconds), rate=rate, timeline=at_begin is not None)
    plan = replace(plan, is_random=is_random)
    return _run(target, requests, plan, at_begin)


def plan_of(target: Target, requests: RequestSet, connections: int, seconds: float) -> Plan:
    """Return the plan of a closed loop.

    Raises:
        LoadFailed: The requests are used up.
    """
    if requests.is_used_up:
        raise LoadFailed("the requests, which are to be sent once only, are used up")
    return Plan(
        host=target.host,
        port=target.port,
        requests_file=str(requests.path),
        connections=connections,
        seconds=seconds,
        first=requests.used,
        once=requests.once,
    )


def _run(target: Target, requests: RequestSet, plan: Plan, at_begin: Callable[[], object] | None = None) -> Sample:
    pids = members(target.root_pid)
    limit_s = START_S + plan.warm_up_s + plan.seconds + 2 * GRACE_S
    with subprocess.Popen(
        [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(as_json(plan))
            process.stdin.close()
            begin = process.stdout.readline()
            before = usage(pids)
            if at_begin is not None:
                at_begin()
            end = process.stdout.readline()
            after = usage(members(target.root_pid))
            process.wait(limit_s)
        finally:
            process.kill()
    if not begin or not end:
        raise LoadFailed(f"the load generator ended with {process.returncode}")
    figures = json.loads(end)
    if not figures["requests"]:
        raise LoadFailed(f"nothing was answered: {figures['statuses']}")
    if requests.once:
        requests.used = figures["next"]
    cpu_us = {role: seconds * 1e6 / figures["requests"] for role, seconds in cpu_by_role(before, after).items()}
    return Sample(figures, cpu_us, memory_by_role(usage(after, with_pss=True)))
