"""Scenario `neighbours`: an ordinary stream of requests while another caller sends extreme ones, and without it."""

import random
import string
from collections.abc import Iterator
from functools import partial
from typing import Any

from bench.companion import beside
from bench.figures import Figure, Findings, Promise, compare, interleave
from bench.ingress import notes_on_load
from bench.load_process import RequestSet, Target, closed_loop, open_loop
from bench.payloads import Picture, caption, captions, image_embedding, png, similarity, text_embeddings
from bench.photographs import photographs
from bench.scenario import Options, say
from bench.tier_service import model, tier_service, wait_until_idle

LOAD_SHARE = 0.4
LETTERS, LIST_TEXTS = 16_000, 5_000
WORDS, LISTS = 200, 8
FIRST_TEXT = 10_000_000
"""Numbers of the extreme lists' texts: the ordinary stream has none of them."""
RAISED = {
    "limits": {"text_chars": 20_000, "texts": LIST_TEXTS},
    "router": {"admission": {"fast": {"max_items": 4 * LIST_TEXTS}}},
}
LIMITS: dict[str, dict[str, Any]] = {"default limits": {}, "raised limits": RAISED}
ARCHITECTURE = "ViT-B-32"
MOST_PER_S = {"quick start": 1200, ARCHITECTURE: 50}
"""More ordinary requests than are answered: what has to be made beforehand for the closed loop."""
ALONE = "alone"
CHEAP_NAME = "beside empty requests, refused"
"""As often as the extreme ones: what any caller's traffic costs who shares the cores with it."""
NEIGHBOUR_PER_S = {"default limits": 20.0, "raised limits": 0.0}
"""How often the neighbour asks; 0 is back to back, which is more than a few cores have to give to anybody."""
LETTERS_NAME = f"beside texts of {LETTERS:,} letters"
LIST_NAME = f"beside lists of {LIST_TEXTS:,} texts"
BESIDE = (CHEAP_NAME, LETTERS_NAME, LIST_NAME)
CONNECTIONS = 32


def measure_neighbours(options: Options) -> Findings:
    """Measure an open loop at part of the saturation rate: alone, and beside each kind of extreme request."""
    findings = Findings()
    for name in MOST_PER_S:
        fast_model = model(name) if name == ARCHITECTURE else None
        for limits, changes in LIMITS.items():
            say(f"neighbours: starting the service, {name}, {limits}")
            with tier_service(options.folder, fast_model, changes) as target:
                samples = _rounds(options, target, name, NEIGHBOUR_PER_S[limits])
            findings.samples |= {f"{name}, {limits}, {what}": rounds for what, rounds in samples.items()}
            findings.figures += _figures(f"{name}, {limits}", samples, is_promised=not changes)
            findings.notes += [f"{name}, {limits}, {note}" for note in (*notes_on_load(samples), *_notes(samples))]
    return findings


def long_word(seed: int) -> str:
    """Return a text without a space, distinct from seed to seed."""
    return "".join(random.Random(seed).choices(string.ascii_lowercase, k=LETTERS))


def ordinary_requests(name: str, count: int, first: int) -> Iterator[bytes]:
    """Yield distinct requests: an image and eight texts for the quick start's models, else a photograph."""
    if name == ARCHITECTURE:
        yield from (image_embedding(picture) for picture in photographs(count, first))
    else:
        for number in range(first, first + count):
            texts = [caption(number), *captions(0, 7)]
            yield similarity(Picture(png(number)), texts, "base64", "fast")


def _rounds(options: Options, target: Target, name: str, neighbour_per_s: float) -> dict[str, list[dict[str, Any]]]:
    count = int(MOST_PER_S[name] * (options.seconds + 1))
    saturating = RequestSet.write(options.folder, list(ordinary_requests(name, count, 1_000)), once=True)
    saturated = closed_loop(target, saturating, connections=CONNECTIONS, seconds=options.seconds)
    rate = LOAD_SHARE * saturated.rate
    wait_until_idle(target)
    count = int(rate * (options.seconds + 1) + 1) * options.rounds * (1 + len(BESIDE))
    ordinary = RequestSet.write(options.folder, list(ordinary_requests(name, count, 500_000)), once=True)
    words = [text_embeddings([long_word(seed)]) for seed in range(WORDS)]
    lists = [text_embeddings(captions(FIRST_TEXT + number * LIST_TEXTS, LIST_TEXTS)) for number in range(LISTS)]
    extremes = {CHEAP_NAME: [text_embeddings([])], LETTERS_NAME: words, LIST_NAME: lists}
    say(f"neighbours: {options.rounds} rounds at {rate:.1f} requests/s")
    measures = {ALONE: partial(_alone, options, target, ordinary, rate)}
    measures |= {
        what: partial(
            _beside, options, target, ordinary, (rate, neighbour_per_s), RequestSet.write(options.folder, requests)
        )
        for what, requests in extremes.items()
    }
    return interleave(measures, options.rounds)


def _alone(options: Options, target: Target, ordinary: RequestSet, rate: float) -> dict[str, Any]:
    return open_loop(target, ordinary, seconds=options.seconds, rate=rate).as_document()


def _beside(
    options: Options, target: Target, ordinary: RequestSet, rates: tuple[float, float], extreme: RequestSet
) -> dict[str, Any]:
    ordinary_per_s, neighbour_per_s = rates
    connections = 4 if neighbour_per_s else 1
    with beside(target, extreme, seconds=options.seconds, connections=connections, rate=neighbour_per_s) as neighbour:
        sample = _alone(options, target, ordinary, ordinary_per_s)
    wait_until_idle(target)
    return {**sample, "neighbour_statuses": neighbour.statuses}


def _figures(name: str, samples: dict[str, list[dict[str, Any]]], *, is_promised: bool) -> Iterator[Figure]:
    """The promise is of the default limits: who raises them says what a request may cost others."""
    for what in BESIDE:
        yield compare(samples, what, ALONE, key="p50_ms", name=f"p50, {name}, {what}", unit="ms")
        promise = Promise("ratio", at_most=1.5) if is_promised and what != CHEAP_NAME else None
        yield compare(samples, what, ALONE, key="p99_ms", name="  p99", unit="ms", promise=promise)


def _notes(samples: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    for what in BESIDE:
        yield f"{what}: the neighbour was answered {[sample['neighbour_statuses'] for sample in samples[what]]}"
