"""Scenario `single`: the latency of one request at a time, next to the model in a process and an empty request."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from bench.bounds import reachable_latency_ms
from bench.encoder_process import encoder_process
from bench.encoder_task import Modality, Task
from bench.figures import Figure, Findings, Promise, interleave, median
from bench.ingress import notes_on_load
from bench.load_process import RequestSet, Target, closed_loop
from bench.payloads import captions, image_embedding, text_embeddings
from bench.photographs import photographs
from bench.scenario import Options, say
from bench.services import empty_serve
from bench.tier_service import BATCH, model, text_batches, tier_service
from bench.wire import END_OF_HEAD, JSON, MSGPACK, post

ARCHITECTURE = "ViT-B-32"
PICTURES, TEXTS = 64, 512
MOST_PER_S: dict[Modality, int] = {"image": 60, "text": 300}
"""More than are answered: what has to be made beforehand, so that none is sent twice."""
MEDIA: dict[Modality, str] = {"image": MSGPACK, "text": JSON}


def measure_single(options: Options) -> Findings:
    """Measure one connection's latencies: distinct pictures, then distinct texts."""
    with ExitStack() as running:
        say(f"single: loading {ARCHITECTURE} in a process of its own, starting the empty service and ours")
        encoder = running.enter_context(
            encoder_process(options.folder, model(ARCHITECTURE), BATCH, list(photographs(PICTURES)), captions(0, TEXTS))
        )
        empty = running.enter_context(empty_serve(options.replicas))
        ours = running.enter_context(tier_service(options.folder, model(ARCHITECTURE)))
        measures: dict[str, Callable[[], dict[str, Any]]] = {}
        for modality, made in _requests(options).items():
            body = made[0].partition(END_OF_HEAD)[2]
            nothing = RequestSet.write(options.folder, [post("/", bytes(len(body)), MEDIA[modality])])
            requests = RequestSet.write(options.folder, made, once=True)
            measures[_in_process(modality)] = partial(encoder.run, Task("alone", modality, options.seconds))
            measures[_empty(modality)] = partial(_latency, options, empty, nothing)
            measures[_over_http(modality)] = partial(_latency, options, ours, requests)
        say(f"single: {options.rounds} rounds of {len(measures)} measures")
        samples = interleave(measures, options.rounds)
    figures = [figure for modality in MOST_PER_S for figure in _figures(modality, samples)]
    return Findings(figures, samples, notes_on_load(samples))


def _requests(options: Options) -> dict[Modality, list[bytes]]:
    seconds = options.rounds * (options.seconds + 1)
    counts = {modality: int(rate * seconds) for modality, rate in MOST_PER_S.items()}
    return {
        "image": [image_embedding(picture) for picture in photographs(counts["image"], PICTURES)],
        "text": [text_embeddings(texts) for texts in text_batches(counts["text"], TEXTS, 1)],
    }


def _latency(options: Options, target: Target, requests: RequestSet) -> dict[str, Any]:
    return closed_loop(target, requests, connections=1, seconds=options.seconds).as_document()


def _figures(modality: Modality, samples: dict[str, list[dict[str, Any]]]) -> Iterator[Figure]:
    alone, empty, ours = (samples[name(modality)] for name in (_in_process, _empty, _over_http))
    bounds = [reachable_latency_ms(one["p50_ms"], other["p50_ms"]) for one, other in zip(alone, empty, strict=True)]
    ratios = [sample["p50_ms"] / bound for sample, bound in zip(ours, bounds, strict=True)]
    yield Figure(
        f"p50 of one {modality} at a time, {ARCHITECTURE}",
        "ms",
        median(ours, "p50_ms"),
        statistics.median(bounds),
        "reachable",
        statistics.median(ratios),
        Promise("ratio", at_most=1),
    )
    yield Figure(f"  p50 of one {modality} in process", "ms", median(alone, "p50_ms"))
    yield Figure("  p50 of an empty POST of its size", "ms", median(empty, "p50_ms"))
    yield Figure(
        f"  p99 of one {modality} at a time", "ms", median(ours, "p99_ms"), median(alone, "p99_ms"), "in process"
    )


def _in_process(modality: Modality) -> str:
    return f"one {modality} in process"


def _empty(modality: Modality) -> str:
    return f"empty POST of one {modality}'s size"


def _over_http(modality: Modality) -> str:
    return f"one {modality} over HTTP"
