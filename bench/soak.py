"""Scenario `soak`: minutes of popular and less popular inputs at half load, and the router's memory meanwhile."""

import statistics
import threading
from dataclasses import dataclass, field

from bench.figures import Figure, Findings, Promise
from bench.load_process import RequestSet, Target, closed_loop, open_loop
from bench.payloads import zipf_draw, zipf_requests
from bench.processes import members, usage
from bench.scenario import Options, say
from bench.services import our_service

REQUESTS = 4_000
SEED = 13
SATURATION_SHARE = 0.5
FILL_S = 30.0
"""Every question is asked at least once before the saturation rate is measured: then the cache answers."""
READ_EVERY_S = 1.0
BASELINE = (0.1, 0.2)
"""The stretch of the soak that the end is compared with: the in-process level, small here, is full by then."""
LAST = 0.9
CACHE = {"l1_bytes": 4 * 2**20}


@dataclass(slots=True)
class MemoryLog:
    """Reads the router's resident memory every second."""

    target: Target
    rss_mib: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        """Start reading."""
        threading.Thread(target=self._run, daemon=True).start()

    def end(self) -> None:
        """Stop reading."""
        self._stop.set()

    def _run(self) -> None:
        pids = [pid for pid, one in usage(members(self.target.root_pid)).items() if one.role == "router"]
        while not self._stop.wait(READ_EVERY_S):
            self.rss_mib.append(sum(one.rss_mib for one in usage(pids).values()))


def measure_soak(options: Options) -> Findings:
    """Send at half of the saturation rate for minutes."""
    cache = {"cache": {"url": f"embedded:{options.folder / 'soak-cache'}", **CACHE}}
    requests = RequestSet.write(options.folder, zipf_requests(zipf_draw(REQUESTS, SEED)))
    with our_service(options.folder, cache) as target:
        say("soak: filling the cache")
        closed_loop(target, requests, connections=options.connections, seconds=FILL_S)
        saturated = closed_loop(target, requests, connections=options.connections, seconds=max(5.0, options.seconds))
        rate = SATURATION_SHARE * saturated.rate
        say(f"soak: {options.soak_s:.0f} s at {rate:.0f} requests/s")
        log = MemoryLog(target)
        sample = open_loop(target, requests, seconds=options.soak_s, rate=rate, at_begin=log.begin)
        log.end()
    growth = growth_percent(log.rss_mib)
    figures = [
        Figure("router memory grows by", "%", growth, promise=Promise("ours", at_most=2)),
        Figure("router memory at the end", "MiB RSS", log.rss_mib[-1]),
        Figure("p99 over the whole soak", "ms", float(sample.figures["p99_ms"])),
        Figure("answers that were not 200", "requests", float(sample.figures["errors"])),
    ]
    return Findings(figures, {"soak": [{**sample.as_document(), "router_rss_mib": log.rss_mib}]})


def growth_percent(readings: list[float]) -> float:
    """Return by how much the last tenth lies above the second tenth, medians, in percent."""
    count = len(readings)
    baseline = readings[int(BASELINE[0] * count) : int(BASELINE[1] * count)]
    last = readings[int(LAST * count) :]
    if not baseline or not last:
        return float("nan")
    return 100 * (statistics.median(last) / statistics.median(baseline) - 1)
