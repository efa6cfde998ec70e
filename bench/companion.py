"""A second load generator that runs beside a measure: the neighbour whose effect on others is measured."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from bench.load import GRACE_S, as_json
from bench.load_process import REPOSITORY, START_S, WARM_UP_S, LoadFailed, RequestSet, Target, plan_of

LEAD_S = 1.0
"""How long it has to be at work before the measure beside it begins, and goes on after its end."""


@dataclass(slots=True)
class Companion:
    """What it was answered; filled in when it has ended."""

    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def statuses(self) -> Mapping[str, int]:
        """How many answers had which status."""
        return dict(self.figures["statuses"])


@contextmanager
def beside(
    target: Target, requests: RequestSet, *, seconds: float, connections: int = 1, rate: float = 0.0
) -> Iterator[Companion]:
    """Send requests, whose answers may be errors, for as long as a measure of `seconds` takes.

    Args:
        target: Whom to send to.
        requests: What to send.
        seconds: How long the measure in the block takes.
        connections: As many requests are on their way at once.
        rate: Requests/s; 0 sends the next one when the last was answered.
    """
    plan = plan_of(target, requests, connections, seconds + 2 * LEAD_S)
    plan = replace(plan, rate=rate, warm_up_s=WARM_UP_S)
    companion = Companion()
    with subprocess.Popen(
        [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(as_json(plan))
            process.stdin.close()
            process.stdout.readline()
            yield companion
            line = process.stdout.readline()
            process.wait(START_S + plan.seconds + GRACE_S)
        finally:
            process.kill()
    if not line:
        raise LoadFailed(f"the load generator beside it ended with {process.returncode}")
    companion.figures.update(json.loads(line))
    if requests.once:
        requests.used = companion.figures["next"]
