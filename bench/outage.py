"""Scenario `outage`: Redis stops answering under load (SIGSTOP), and goes on some seconds later."""

import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from bench.figures import Figure, Findings, Promise
from bench.latency import Latency
from bench.load_process import RequestSet, Target, closed_loop, open_loop
from bench.misses import ROUND_STEP, distinct_requests
from bench.payloads import Picture, caption, png, similarity
from bench.scenario import Options, say
from bench.services import ask, our_service
from cache.config import CacheConfig
from tests.redis_server import RedisServer

SATURATION_SHARE = 0.5
ALLOWANCE_MS = 5.0
SETTLE_S = 1.0
RECOVERY_LIMIT_S = 20.0
PROBE_EVERY_S = 0.05
PROBE_SEED = 900_000
CALIBRATION_REQUESTS = 4_000
# Without an in-process level every request asks Redis.
CACHE = {"l1_bytes": 0}


@dataclass(slots=True)
class Interruption:
    """Stops Redis some time after the load began, lets it go on later, and sees when hits are back."""

    server: RedisServer
    target: Target
    probe: bytes
    after_s: float
    pause_s: float
    recovery_s: float = float("nan")
    thread: threading.Thread = field(init=False)

    def begin(self) -> None:
        """Start the clock."""
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        time.sleep(self.after_s)
        self.server.pause()
        try:
            time.sleep(self.pause_s)
        finally:
            self.server.resume()
        resumed = time.monotonic()
        while (waited := time.monotonic() - resumed) < RECOVERY_LIMIT_S:
            if is_hit(self.target, self.probe):
                self.recovery_s = waited
                return
            time.sleep(PROBE_EVERY_S)


def measure_outage(options: Options) -> Findings:
    """Measure p99 before, during and after the pause, of requests that all ask Redis in vain."""
    samples: list[dict[str, Any]] = []
    with RedisServer() as server:
        say("outage: starting the service with Redis")
        with our_service(options.folder, {"cache": {"url": server.url, **CACHE}}) as target:
            rate = SATURATION_SHARE * _saturation(options, target)
            probe = similarity(Picture(png(PROBE_SEED)), [caption(PROBE_SEED)], "base64", "fast")
            for number in range(options.rounds):
                say(f"outage: round {number + 1} of {options.rounds}, {rate:.0f} requests/s")
                samples.append(_round(options, server, target, probe, (rate, number)))
    return Findings(_figures(samples), {"redis paused": samples})


def is_hit(target: Target, request: bytes) -> bool:
    """Ask once and say whether the image came from the cache."""
    code, answer = ask(target, request)
    return code == 200 and answer["data"][0]["tiering"]["cache"]["image"] == "hit"


def _saturation(options: Options, target: Target) -> float:
    requests = distinct_requests(options, CALIBRATION_REQUESTS, 20 * ROUND_STEP)
    return closed_loop(target, requests, connections=options.connections, seconds=options.seconds).rate


def _round(
    options: Options, server: RedisServer, target: Target, probe: bytes, load: tuple[float, int]
) -> dict[str, Any]:
    rate, number = load
    before_s = after_s = options.pause_s
    seconds = before_s + options.pause_s + after_s
    requests: RequestSet = distinct_requests(options, int(rate * (seconds + 2)), (21 + number) * ROUND_STEP)
    ask(target, probe)
    interruption = Interruption(server, target, probe, before_s, options.pause_s)
    sample = open_loop(target, requests, seconds=seconds, rate=rate, at_begin=interruption.begin)
    interruption.thread.join(RECOVERY_LIMIT_S + 1)
    requests.path.unlink()
    timeline = sample.figures["timeline"]
    resumed = before_s + options.pause_s
    phases = {"before": (0.0, before_s), "during": (before_s, resumed), "after": (resumed + SETTLE_S, seconds)}
    return {
        **sample.as_document(),
        **{name: _summary(timeline, *span) for name, span in phases.items()},
        "recovery_s": interruption.recovery_s,
    }


def _summary(timeline: list[tuple[float, float, int]], start: float, end: float) -> dict[str, float]:
    return Latency.of([latency for at, latency, _ in timeline if start <= at < end]).as_figures()


def _figures(samples: list[dict[str, Any]]) -> list[Figure]:
    allowed = CacheConfig().lookup_timeout_s * 1e3 + ALLOWANCE_MS

    def typical(phase: str) -> float:
        return float(statistics.median(sample[phase]["p99_ms"] for sample in samples))

    growth = float(statistics.median(sample["during"]["p99_ms"] - sample["before"]["p99_ms"] for sample in samples))
    failed = sum(sample["errors"] for sample in samples)
    return [
        Figure("p99 while Redis is paused", "ms", typical("during"), typical("before"), "before the pause"),
        Figure("  grows by", "ms", growth, promise=Promise("ours", at_most=allowed)),
        Figure("p99 after it has gone on", "ms", typical("after"), typical("before"), "before the pause"),
        Figure("hits are back after", "s", float(statistics.median(sample["recovery_s"] for sample in samples))),
        Figure("answers that were not 200", "requests", failed, promise=Promise("ours", at_most=0)),
    ]
