"""Scenario `miss`: traffic that never repeats, with the cache on and off: what a cache costs when it is no use."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from bench.figures import Findings, Promise, compare
from bench.ingress import notes_on_load
from bench.load_process import RequestSet, Target, closed_loop
from bench.payloads import distinct, similarity
from bench.scenario import Options, say
from bench.services import our_service
from tests.redis_server import RedisServer

OFF = "no cache"
FIRST_GUESS_PER_S = 500.0
HEADROOM = 1.5
WARM_UP_S = 0.5
ROUND_STEP = 1_000_000
"""Numbers from which one round's pictures and texts are made: rounds share none."""


def measure_misses(options: Options) -> Findings:
    """Measure requests/s of distinct questions, which the fast tier alone answers."""
    with ExitStack() as running:
        server = running.enter_context(RedisServer())
        urls = {OFF: "none:", "embedded": f"embedded:{options.folder / 'miss-cache'}", "redis": server.url}
        targets: dict[str, Target] = {}
        for name, url in urls.items():
            say(f"miss: starting the service, cache: {name}")
            targets[name] = running.enter_context(our_service(options.folder, {"cache": {"url": url}}))
        samples: dict[str, list[dict[str, Any]]] = {name: [] for name in targets}
        say(f"miss: {options.rounds} rounds")
        for number in range(options.rounds):
            requests = _round(options, number, samples)
            # Who comes first in a round alternates: the machine is not the same at its two ends.
            names = list(targets) if number % 2 == 0 else list(reversed(targets))
            for name in names:
                sample = closed_loop(
                    targets[name], requests.unused(), connections=options.connections, seconds=options.seconds
                )
                samples[name].append(sample.as_document())
            requests.path.unlink()
    figures = [
        compare(
            samples,
            name,
            OFF,
            key="requests_per_s",
            name=f"all-miss traffic, {name} cache",
            unit="requests/s",
            promise=Promise("ratio", at_least=0.97),
        )
        for name in targets
        if name != OFF
    ]
    return Findings(figures, samples, notes_on_load(samples))


def distinct_requests(options: Options, count: int, first: int) -> RequestSet:
    """Write requests of which nothing repeats, for the fast tier alone."""
    questions = distinct(count, first)
    return RequestSet.write(options.folder, [similarity(*one, "base64", "fast") for one in questions], once=True)


def _round(options: Options, number: int, samples: dict[str, list[dict[str, Any]]]) -> RequestSet:
    count = math.ceil(_expected_rate(list(samples.values())) * HEADROOM * (options.seconds + WARM_UP_S))
    return distinct_requests(options, count, (number + 1) * ROUND_STEP)


def _expected_rate(samples: Sequence[Sequence[dict[str, Any]]]) -> float:
    rates = [float(sample["requests_per_s"]) for rounds in samples for sample in rounds]
    return max(rates, default=FIRST_GUESS_PER_S)
