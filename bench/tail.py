"""Scenario `tail`: latencies of all-hit requests at half of the rate at which the service saturates."""

from contextlib import ExitStack
from functools import partial
from typing import Any

from bench.figures import Figure, Findings, Promise, interleave, median
from bench.ingress import EMPTY, HOT_QUESTIONS, notes_on_load, warm
from bench.load_process import RequestSet, Target, closed_loop, open_loop
from bench.payloads import all_hit, similarity
from bench.scenario import Options, say
from bench.services import empty_serve, our_service
from bench.wire import post

BY_KEY = "similarity by key"
SATURATION_SHARE = 0.5


def measure_tail(options: Options) -> Findings:
    """Find each one's saturation in a closed loop, then send at half of that rate in an open loop."""
    with ExitStack() as running:
        say("tail: starting the empty service and ours")
        empty = running.enter_context(empty_serve(options.replicas))
        cache = {"cache": {"url": f"embedded:{options.folder / 'tail-cache'}"}}
        ours = running.enter_context(our_service(options.folder, cache, options.replicas))
        hot = [similarity(*question, "key") for question in warm(ours, all_hit(HOT_QUESTIONS))]
        plans = {
            f"{EMPTY} on serve": (empty, RequestSet.write(options.folder, [post("/", b"{}")])),
            BY_KEY: (ours, RequestSet.write(options.folder, hot)),
        }
        say(f"tail: {options.rounds} rounds")
        samples = interleave(
            {name: partial(_measure, options, *plan) for name, plan in plans.items()},
            options.rounds,
        )
    return Findings(list(_figures(samples)), samples, [*notes_on_load(samples), *_lag_notes(samples)])


def _measure(options: Options, target: Target, requests: RequestSet) -> dict[str, Any]:
    saturated = closed_loop(target, requests, connections=options.connections, seconds=options.seconds)
    half = open_loop(target, requests, seconds=options.seconds, rate=SATURATION_SHARE * saturated.rate)
    document = half.as_document()
    return {**document, "saturation_per_s": saturated.rate, "p99_over_p50": document["p99_ms"] / document["p50_ms"]}


def _figures(samples: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    floor = f"{EMPTY} on serve"
    spread = Figure(
        f"p99 / p50 at half of saturation, all-hit {BY_KEY}",
        "x",
        median(samples[BY_KEY], "p99_over_p50"),
        floor=median(samples[floor], "p99_over_p50"),
        floor_name=floor,
        promise=Promise("ours", at_most=5),
    )
    return [spread] + [
        Figure(
            f"{key.removesuffix('_ms')} at half of saturation, all-hit {BY_KEY}",
            "ms",
            median(samples[BY_KEY], key),
            floor=median(samples[floor], key),
            floor_name=floor,
        )
        for key in ("p50_ms", "p90_ms", "p99_ms", "p99.9_ms")
    ]


def _lag_notes(samples: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Say how late the generator itself was: on a busy machine that is part of every latency."""
    return [
        f"{name}: the generator sent {median(rounds, 'generator_lag_p99_ms'):.2f} ms after the due time (p99), "
        "which is part of the latencies"
        for name, rounds in samples.items()
    ]
