"""Scenario `start`: seconds from the command to the first answer, and what the idle stack costs."""

import time
from collections.abc import Mapping

from bench.figures import Figure, Findings, Promise, median
from bench.processes import Usage, cpu_by_role, members, memory_by_role, usage
from bench.scenario import Options, say
from bench.services import our_service

MOST_STARTS = 3
IDLE_S = 10.0


def measure_start(options: Options) -> Findings:
    """Start the quick start's service with an empty cache a few times; look at it idle."""
    findings = Findings()
    samples: list[dict[str, float]] = []
    for number in range(min(options.rounds, MOST_STARTS)):
        say(f"start {number + 1}")
        began = time.monotonic()
        cache = {"cache": {"url": f"embedded:{options.folder / f'start-cache-{number}'}"}}
        with our_service(options.folder, cache) as target:
            ready_s = time.monotonic() - began
            before = usage(members(target.root_pid))
            time.sleep(IDLE_S)
            after = usage(members(target.root_pid), with_pss=True)
        samples.append({"ready_s": ready_s, **_idle(before, after)})
        findings.notes.append(f"start {number + 1}: {_by_role(after)}")
    findings.samples["start"] = list(samples)
    findings.figures += [
        Figure("start to the first answer", "s", median(samples, "ready_s"), promise=Promise("ours", at_most=25)),
        Figure("idle memory of the stack (PSS)", "MiB", median(samples, "pss_mib")),
        Figure("idle CPU of the stack", "% of a core", median(samples, "cpu_percent")),
    ]
    return findings


def _idle(before: Mapping[int, Usage], after: Mapping[int, Usage]) -> dict[str, float]:
    return {
        "pss_mib": sum(one.pss_mib for one in after.values()),
        "cpu_percent": 100 * sum(cpu_by_role(before, after).values()) / IDLE_S,
    }


def _by_role(read: Mapping[int, Usage]) -> str:
    sums = memory_by_role(read)
    largest = sorted(sums, key=lambda role: -sums[role]["pss_mib"])
    return "PSS in MiB: " + ", ".join(f"{role} {sums[role]['pss_mib']:.0f}" for role in largest)
