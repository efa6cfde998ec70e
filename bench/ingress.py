"""Scenario `ingress`: an all-hit similarity request next to an empty one, on uvicorn and on Serve's ingress."""

from contextlib import ExitStack
from functools import partial
from typing import Any

from bench.figures import Figure, Findings, Promise, compare, interleave, median
from bench.load import OK
from bench.load_process import RequestSet, Target, closed_loop
from bench.payloads import IMAGE_BYTES, Picture, all_hit, distinct, similarity
from bench.scenario import Options, say
from bench.services import ask, bare_uvicorn, empty_serve, our_service
from bench.wire import MSGPACK, post

HOT_QUESTIONS = 16
CERTAIN_CANDIDATES = 64
CERTAIN_SEED = 500_000
UNIT = "requests/s"
BY_KEY = "similarity by key"
BY_BYTES = "similarity by 60 KB bytes (msgpack)"
BY_BASE64 = "similarity by 60 KB base64 (JSON)"
BY_KEY_FAST_ONLY = "similarity by key, accurate tier never asked"
EMPTY, EMPTY_60 = "empty POST", "empty 60 KB POST"

Question = tuple[Picture, list[str]]


def measure_ingress(options: Options) -> Findings:
    """Measure requests/s at saturation, and the CPU of every process involved."""
    with ExitStack() as running:
        say("ingress: starting uvicorn, the empty service and ours")
        targets = {
            "uvicorn": running.enter_context(bare_uvicorn()),
            "serve": running.enter_context(empty_serve(options.replicas)),
        }
        ours = running.enter_context(our_service(options.folder, _cache(options), options.replicas))
        hot = warm(ours, all_hit(HOT_QUESTIONS))
        sets = {name: RequestSet.write(options.folder, requests) for name, requests in _our_requests(hot).items()}
        certain = find_certain(ours)
        if certain:
            requests = [similarity(*question, "key") for question in certain]
            sets[BY_KEY_FAST_ONLY] = RequestSet.write(options.folder, requests)
        empty = {EMPTY: post("/", b"{}"), EMPTY_60: post("/", bytes(IMAGE_BYTES), MSGPACK)}
        plans: dict[str, tuple[Target, RequestSet]] = {
            f"{name} on {server}": (target, RequestSet.write(options.folder, [request]))
            for name, request in empty.items()
            for server, target in targets.items()
        }
        plans |= {name: (ours, requests) for name, requests in sets.items()}
        say(f"ingress: {options.rounds} rounds of {len(plans)} measures")
        samples = interleave(
            {name: partial(_measure, options, target, requests) for name, (target, requests) in plans.items()},
            options.rounds,
        )
    return Findings(list(_figures(samples)), samples, _notes(samples))


def warm(target: Target, questions: list[Question], tiers: tuple[str, ...] = ("fast", "accurate")) -> list[Question]:
    """Have the tiers embed everything once; return the questions with their images' content keys."""
    warmed: list[Question] = []
    for picture, texts in questions:
        key = picture.key
        for tier in tiers:
            code, answer = ask(target, similarity(picture, texts, "base64", tier))
            if code != OK:
                raise RuntimeError(f"the service answers {code}: {answer}")
            key = answer["data"][0]["key"]
        warmed.append((Picture(picture.data, key), texts))
    return warmed


def find_certain(target: Target) -> list[Question]:
    """Return questions that the fast tier was sure of, so that the accurate tier was never asked."""
    found: list[Question] = []
    for picture, texts in distinct(CERTAIN_CANDIDATES, CERTAIN_SEED):
        code, answer = ask(target, similarity(picture, texts, "base64"))
        if code == OK and not answer["data"][0]["tiering"]["escalated"]:
            found.append((Picture(picture.data, answer["data"][0]["key"]), texts))
    return found


def _cache(options: Options) -> dict[str, Any]:
    return {"cache": {"url": f"embedded:{options.folder / 'ingress-cache'}"}}


def _our_requests(hot: list[Question]) -> dict[str, list[bytes]]:
    return {
        BY_KEY: [similarity(*question, "key") for question in hot],
        BY_BYTES: [similarity(*question, "bytes") for question in hot],
        BY_BASE64: [similarity(*question, "base64") for question in hot],
    }


def _measure(options: Options, target: Target, requests: RequestSet) -> dict[str, Any]:
    sample = closed_loop(target, requests, connections=options.connections, seconds=options.seconds)
    return sample.as_document()


def _figures(samples: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    promise = Promise("ratio", at_least=0.6)
    key = "requests_per_s"
    figures = [
        compare(samples, f"{EMPTY} on serve", f"{EMPTY} on uvicorn", key=key, name=f"{EMPTY} on Serve", unit=UNIT),
        compare(
            samples, f"{EMPTY_60} on serve", f"{EMPTY_60} on uvicorn", key=key, name=f"{EMPTY_60} on Serve", unit=UNIT
        ),
        compare(samples, BY_KEY, f"{EMPTY} on serve", key=key, name=f"all-hit {BY_KEY}", unit=UNIT, promise=promise),
    ]
    figures += [
        compare(samples, form, f"{EMPTY_60} on serve", key=key, name=f"all-hit {form}", unit=UNIT, promise=promise)
        for form in (BY_BYTES, BY_BASE64)
    ]
    if BY_KEY_FAST_ONLY in samples:
        floor = f"{EMPTY} on serve"
        figures.append(
            compare(samples, BY_KEY_FAST_ONLY, floor, key=key, name=f"all-hit {BY_KEY_FAST_ONLY}", unit=UNIT)
        )
    figures += [
        Figure(f"router CPU, {name}", "us/request", float(_router_cpu(samples[name])))
        for name in (BY_KEY, BY_BYTES, BY_BASE64)
    ]
    figures.append(Figure(f"replica CPU, {EMPTY}", "us/request", float(_router_cpu(samples[f"{EMPTY} on serve"]))))
    figures.append(
        Figure(f"HAProxy CPU, {EMPTY}", "us/request", _cpu_of(samples[f"{EMPTY} on serve"], "haproxy")),
    )
    return figures


def _router_cpu(samples: list[dict[str, Any]]) -> float:
    return _cpu_of(samples, "router") or _cpu_of(samples, "empty app")


def _cpu_of(samples: list[dict[str, Any]], role: str) -> float:
    return median([{"cpu": sample["cpu_us_per_request"].get(role, 0.0)} for sample in samples], "cpu")


def _notes(samples: dict[str, list[dict[str, Any]]]) -> list[str]:
    return notes_on_load(samples)


def notes_on_load(samples: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Say where the load generator may have been the limit, and where answers were errors."""
    notes: list[str] = []
    for name, rounds in samples.items():
        busy = [sample["generator_cpu_share"] for sample in rounds if sample.get("generator_is_the_limit")]
        if busy:
            notes.append(f"{name}: the load generator used {max(busy):.0%} of a core and may have been the limit")
        errors = sum(sample.get("errors", 0) for sample in rounds)
        if errors:
            notes.append(f"{name}: {errors} answers were not 200")
    return notes
