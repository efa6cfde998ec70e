"""Scenario `tiers`: what a tier makes of its model over HTTP, next to the same model in a process without a service."""

import math
import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.bounds import best_batch, reachable_rate
from bench.encoder_process import EncoderProcess, encoder_process
from bench.encoder_task import Modality, Task
from bench.figures import Figure, Findings, Promise, compare, interleave, median
from bench.ingress import notes_on_load
from bench.load_process import RequestSet, Target, closed_loop
from bench.payloads import captions, image_embedding, text_embeddings
from bench.photographs import photographs
from bench.scenario import Options, say
from bench.services import status
from bench.tier_service import BATCH, calls_between, model, text_batches, tier_service, wait_until_idle

CONNECTIONS = 32
TEXTS_PER_REQUEST = 24
WARM_UP_S = 2.0
HEADROOM = 2.0
PICTURES, TEXTS = 64, 512
BATCHES: dict[Modality, tuple[int, ...]] = {"image": (4, 8, 16, 32), "text": (8, 16, 32, 64)}
USUAL = "ViT-B-32"
MODELS = {USUAL: model(USUAL), "small": model("ViT-S-32")}
IMAGES, ONE_TEXT, MANY_TEXTS = "images over HTTP", "texts over HTTP", f"texts over HTTP, {TEXTS_PER_REQUEST} a request"
CEILINGS: dict[Modality, str] = {"image": "images in process", "text": "texts in process"}
PREPARING: dict[Modality, str] = {"image": "preparing an image", "text": "preparing a text"}
ROUTES: dict[str, tuple[Modality, int]] = {
    IMAGES: ("image", 1),
    ONE_TEXT: ("text", 1),
    MANY_TEXTS: ("text", TEXTS_PER_REQUEST),
}
LIST_CONNECTIONS = 8
"""Lists take turns item by item and so end together: of 32 at once none would be answered for seconds."""


@dataclass(slots=True)
class Traffic:
    """Numbers of the pictures and texts to send next, so that nothing is sent twice, and the rates to expect."""

    next_number: int = TEXTS
    expected_per_s: dict[Modality, float] = field(default_factory=dict)

    def expect(self, modality: Modality, per_s: float) -> None:
        """Note a rate that was seen: the highest counts, as what slows a machine down may be over a moment later."""
        self.expected_per_s[modality] = max(per_s, self.expected_per_s.get(modality, 0.0))

    def requests(self, options: Options, modality: Modality, items: int) -> RequestSet:
        """Write requests for a little longer than one measure."""
        rate = self.expected_per_s[modality] * HEADROOM / items
        count = math.ceil(rate * (options.seconds + WARM_UP_S)) + 2 * CONNECTIONS
        first, self.next_number = self.next_number, self.next_number + count * items
        if modality == "image":
            made = [image_embedding(picture) for picture in photographs(count, first)]
        else:
            made = [text_embeddings(texts) for texts in text_batches(count, first, items)]
        return RequestSet.write(options.folder, made, once=True)


def measure_tiers(options: Options) -> Findings:
    """Measure a model of a usual size and a small one, each in process and over HTTP in turn."""
    findings = Findings()
    with ExitStack() as running:
        encoders: dict[str, EncoderProcess] = {}
        for name, one in MODELS.items():
            say(f"tiers: loading {one['architecture']} ({one['engine']}) in a process of its own")
            encoders[name] = running.enter_context(
                encoder_process(options.folder, one, BATCH, list(photographs(PICTURES)), captions(0, TEXTS))
            )
        for name, one in MODELS.items():
            say(f"tiers: starting the service with {one['architecture']}")
            with tier_service(options.folder, one) as target:
                samples = _rounds(options, target, encoders, name)
            findings.samples |= {f"{name}: {what}": rounds for what, rounds in samples.items()}
            findings.figures += _figures(name, samples)
            findings.notes += [f"{name}: {note}" for note in (*notes_on_load(samples), *_notes(samples))]
    findings.figures += _small_beside_usual(findings.samples)
    findings.notes.append("the service idles while a model is measured in process; random weights")
    return findings


def _rounds(
    options: Options, target: Target, encoders: dict[str, EncoderProcess], name: str
) -> dict[str, list[dict[str, Any]]]:
    traffic = Traffic()
    measures: dict[str, Callable[[], dict[str, Any]]] = {}
    for modality, sizes in BATCHES.items():
        task = Task("encode", modality, options.seconds, sizes)
        measures[PREPARING[modality]] = partial(encoders[name].run, Task("prepare", modality, 1.0))
        measures[CEILINGS[modality]] = partial(_ceiling, encoders[name], task, traffic)
        if name != USUAL:
            measures[f"{CEILINGS[modality]}, {USUAL}"] = partial(encoders[USUAL].run, task)
        routes = {route: items for route, (of, items) in ROUTES.items() if of == modality}
        for route, items in routes.items():
            measures[route] = partial(_over_http, options, target, traffic, modality, items)
    say(f"tiers: {options.rounds} rounds of {len(measures)} measures")
    samples = interleave(measures, options.rounds)
    for rounds in samples.values():
        _take_best_batch(rounds)
    return samples


def _ceiling(encoder: EncoderProcess, task: Task, traffic: Traffic) -> dict[str, Any]:
    sample = encoder.run(task)
    traffic.expect(task.modality, max(sample["per_s_by_batch"].values()))
    return sample


def _take_best_batch(rounds: list[dict[str, Any]]) -> None:
    """Add to each sample in process the rate in batches of the size that is best over all rounds."""
    if "per_s_by_batch" in rounds[0]:
        best = best_batch([sample["per_s_by_batch"] for sample in rounds])
        for sample in rounds:
            sample |= {"batch": int(best), "items_per_s": sample["per_s_by_batch"][best]}


def _over_http(options: Options, target: Target, traffic: Traffic, modality: Modality, items: int) -> dict[str, Any]:
    requests = traffic.requests(options, modality, items)
    before = status(target)["tiers"]["fast"]
    connections = CONNECTIONS if items == 1 else LIST_CONNECTIONS
    sample = closed_loop(target, requests, connections=connections, seconds=options.seconds, warm_up_s=WARM_UP_S)
    wait_until_idle(target)
    calls = calls_between(before, status(target)["tiers"]["fast"])
    requests.path.unlink()
    traffic.expect(modality, sample.rate * items)
    return {**sample.as_document(), **calls, "items_per_s": sample.rate * items}


def _figures(name: str, samples: dict[str, list[dict[str, Any]]]) -> Iterator[Figure]:
    for modality in CEILINGS:
        yield Figure(
            f"{name}: CPU for {PREPARING[modality]}", "ms", 1e3 * median(samples[PREPARING[modality]], "cpu_s")
        )
    for route, (modality, _) in ROUTES.items():
        ceiling = CEILINGS[modality]
        yield compare(samples, route, ceiling, key="items_per_s", name=f"{name}: {route}", unit=f"{modality}s/s")
        yield _promised(route, samples)


def _promised(route: str, samples: dict[str, list[dict[str, Any]]]) -> Figure:
    """The same rate next to the ceiling once the inputs have to be prepared on the same cores."""
    modality, _ = ROUTES[route]
    cores = os.cpu_count() or 1
    bounds = [
        reachable_rate(ceiling["items_per_s"], preparing["cpu_s"], cores)
        for ceiling, preparing in zip(samples[CEILINGS[modality]], samples[PREPARING[modality]], strict=True)
    ]
    ratios = [sample["items_per_s"] / bound for sample, bound in zip(samples[route], bounds, strict=True)]
    return Figure(
        f"  {route}, preparing subtracted",
        f"{modality}s/s",
        median(samples[route], "items_per_s"),
        statistics.median(bounds),
        "reachable",
        statistics.median(ratios),
        Promise("ratio", at_least=0.9),
    )


def _small_beside_usual(samples: dict[str, list[dict[str, Any]]]) -> Iterator[Figure]:
    ceiling = CEILINGS["image"]
    yield compare(
        samples,
        f"small: {ceiling}",
        f"small: {ceiling}, {USUAL}",
        key="items_per_s",
        name=f"{MODELS['small']['architecture']} beside {USUAL}, {ceiling}",
        unit="images/s",
        promise=Promise("ratio", at_least=3),
    )
    yield compare(
        samples,
        f"small: {IMAGES}",
        f"{USUAL}: {IMAGES}",
        key="items_per_s",
        name=f"{MODELS['small']['architecture']} beside {USUAL}, {IMAGES}",
        unit="images/s",
    )


def _notes(samples: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    for route in ROUTES:
        yield f"{route}: {median(samples[route], 'items_per_call'):.1f} items in a call to the tier"
    for modality, ceiling in CEILINGS.items():
        yield f"{modality}s in process: batches of {samples[ceiling][0]['batch']}"
