"""Scenario `poison`: good pictures over HTTP while others send one that can't be embedded for each batch of them."""

import math
import statistics
from collections.abc import Iterator
from functools import partial
from typing import Any

from bench.bounds import reachable_share
from bench.companion import beside
from bench.figures import Figure, Findings, Promise, compare, median
from bench.ingress import notes_on_load
from bench.load import OK
from bench.load_process import RequestSet, Target, closed_loop
from bench.payloads import image_embedding
from bench.photographs import photographs
from bench.poisons import poisoned_pictures
from bench.scenario import Options, say
from bench.tier_service import BATCH, model, tier_service, wait_until_idle

CONNECTIONS = 32
POISON_CONNECTIONS = 8
ARCHITECTURE = "ViT-B-32"
MEASURE_FACTOR = 2
"""Measures are so many times `--seconds`: 10 s unless told otherwise, 60 s with `--seconds 30`."""
WARM_UP_S = 2.0
ALLOWANCE = 0.1
CALIBRATION_REQUESTS = 400
CALIBRATION_S = 5.0
HEADROOM = 1.4
FIRST_POISONED = 50_000_000
CLEAN, POISONED = "good pictures alone", "good pictures among poisoned ones"


def measure_poison(options: Options) -> Findings:
    """Measure good pictures/s in a closed loop, alone and while poisoned ones come at a fixed rate."""
    say(f"poison: starting the service with {ARCHITECTURE}")
    samples: dict[str, list[dict[str, Any]]] = {CLEAN: [], POISONED: []}
    with tier_service(options.folder, model(ARCHITECTURE)) as target:
        good = _good(options, CALIBRATION_REQUESTS, 0)
        expected = closed_loop(target, good, connections=CONNECTIONS, seconds=CALIBRATION_S, warm_up_s=WARM_UP_S).rate
        say(f"poison: {options.rounds} rounds at about {expected:.1f} pictures/s")
        count = math.ceil(expected * HEADROOM * (_seconds(options) + WARM_UP_S)) + 2 * CONNECTIONS
        measures = {CLEAN: partial(_clean, options, target), POISONED: partial(_poisoned, options, target, expected)}
        for number in range(options.rounds):
            for place, (name, measure) in enumerate(measures.items()):
                requests = _good(options, count, CALIBRATION_REQUESTS + (2 * number + place) * count)
                wait_until_idle(target)
                samples[name].append(measure(requests))
                requests.path.unlink()
    return Findings(list(_figures(samples)), samples, [*notes_on_load(samples), *_notes(samples)])


def _seconds(options: Options) -> float:
    return MEASURE_FACTOR * options.seconds


def _good(options: Options, count: int, first: int) -> RequestSet:
    made = [image_embedding(picture) for picture in photographs(count, first)]
    return RequestSet.write(options.folder, made, once=True)


def _clean(options: Options, target: Target, good: RequestSet) -> dict[str, Any]:
    sample = closed_loop(target, good, connections=CONNECTIONS, seconds=_seconds(options), warm_up_s=WARM_UP_S)
    return sample.as_document()


def _poisoned(options: Options, target: Target, expected_per_s: float, good: RequestSet) -> dict[str, Any]:
    rate = expected_per_s / (BATCH["max_images"] - 1)
    count = math.ceil(rate * (_seconds(options) + 20)) + 10
    pictures = poisoned_pictures(count, FIRST_POISONED)
    bad = RequestSet.write(options.folder, [image_embedding(picture) for picture in pictures])
    with beside(
        target, bad, seconds=_seconds(options) + WARM_UP_S, connections=POISON_CONNECTIONS, rate=rate
    ) as neighbour:
        sample = _clean(options, target, good)
    bad.path.unlink()
    answered = sum(neighbour.statuses.values()) / neighbour.figures["measured_s"]
    poisoned = round(answered * sample["measured_s"])
    return {
        **sample,
        "poisoned_statuses": dict(neighbour.statuses),
        "reachable_share": reachable_share(sample["requests"], poisoned, ALLOWANCE),
    }


def _figures(samples: dict[str, list[dict[str, Any]]]) -> Iterator[Figure]:
    rounds = samples[POISONED]
    yield compare(
        samples,
        POISONED,
        CLEAN,
        key="requests_per_s",
        name=f"good pictures/s among poisoned, {ARCHITECTURE}",
        unit="images/s",
    )
    ratios = [
        sample["requests_per_s"] / (clean["requests_per_s"] * sample["reachable_share"])
        for sample, clean in zip(rounds, samples[CLEAN], strict=True)
    ]
    yield Figure(
        "  beside 0.9 less the poisoned share",
        "",
        median(rounds, "requests_per_s"),
        median(rounds, "reachable_share"),
        "of the rate alone",
        statistics.median(ratios),
        Promise("ratio", at_least=1),
    )
    failed = sum(sample["errors"] for sample in rounds)
    yield Figure("  good pictures that failed", "requests", failed, promise=Promise("ours", at_most=0))
    passed = sum(sample["poisoned_statuses"].get(str(OK), 0) for sample in rounds)
    yield Figure("  poisoned pictures that passed", "requests", passed, promise=Promise("ours", at_most=0))


def _notes(samples: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    yield f"the poisoned ones were answered {[sample['poisoned_statuses'] for sample in samples[POISONED]]}"
    yield "no file makes a model give NaN: unit tests give the batcher such rows"
