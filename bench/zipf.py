"""Scenario `zipf`: the hit rate of popular and less popular inputs over HTTP, next to an ideal cache's."""

from pathlib import Path
from typing import Any

import numpy as np

from bench.figures import Figure, Findings, Promise
from bench.ideal_cache import popular_hits, unbounded_hits
from bench.load_process import RequestSet, Target, closed_loop
from bench.payloads import TEXTS_PER_REQUEST, ZIPF_IMAGES, ZIPF_TEXTS, ZipfDraw, zipf_draw, zipf_requests, zipf_shares
from bench.scenario import Options, say
from bench.services import our_service, status
from cache.local_lru import ENTRY_OVERHEAD_BYTES
from tests.redis_server import RedisServer

MAX_REQUESTS = 6_000
SEED = 11
SMALL_L1_BYTES = 2 * 2**20
DIMENSION = 256
"""Of the quick start's models."""
ENTRY_BYTES = 33 + 4 * DIMENSION + ENTRY_OVERHEAD_BYTES


def measure_zipf(options: Options) -> Findings:
    """Send the same traffic to a cache that holds everything and to one that holds a seventh of it."""
    draw = zipf_draw(MAX_REQUESTS, SEED)
    requests = RequestSet.write(options.folder, zipf_requests(draw, tier="fast"), once=True)
    seconds = options.seconds * options.rounds * 2
    with RedisServer() as server:
        say("zipf: starting the service with Redis")
        roomy = _hit_rate(options.folder, {"cache": {"url": server.url}}, requests.unused(), seconds)
    say("zipf: starting the service with a small in-process level alone")
    small = {"cache": {"url": "none:", "l1_bytes": SMALL_L1_BYTES}}
    bounded = _hit_rate(options.folder, small, requests.unused(), seconds)
    everything = accesses_by_popularity(draw)
    capacity = SMALL_L1_BYTES // ENTRY_BYTES
    ideals = {
        "a cache that holds everything (Redis)": (roomy, _share(everything, roomy["sent"], None)),
        f"a cache that holds {capacity:,} of {ZIPF_IMAGES + ZIPF_TEXTS:,}": (
            bounded,
            _share(everything, bounded["sent"], capacity),
        ),
    }
    return Findings(
        [figure for name, (sample, ideal) in ideals.items() for figure in _figures(name, sample["hit_rate"], ideal)],
        {name: [sample] for name, (sample, _) in ideals.items()},
    )


def accesses_by_popularity(draw: ZipfDraw) -> list[int]:
    """Return everything that was asked for, in order, numbered by popularity over images and texts together."""
    images = zipf_shares(ZIPF_IMAGES)
    texts = np.minimum(1.0, TEXTS_PER_REQUEST * zipf_shares(ZIPF_TEXTS))
    order = np.argsort(-np.concatenate([images, texts]), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    things = np.concatenate([draw.images[:, None], draw.texts + ZIPF_IMAGES], axis=1)
    return [int(number) for number in rank[things].ravel()]


def _hit_rate(folder: Path, changes: dict[str, Any], requests: RequestSet, seconds: float) -> dict[str, Any]:
    with our_service(folder, changes) as target:
        before = _counts(target)
        sample = closed_loop(target, requests, connections=4, seconds=seconds)
        spent = {name: count - before[name] for name, count in _counts(target).items()}
    hits = spent["l1_hits"] + spent["shared_hits"]
    return {
        **sample.as_document(),
        **spent,
        "sent": requests.used,
        "hit_rate": hits / max(1, hits + spent["misses"]),
    }


def _counts(target: Target) -> dict[str, int]:
    cache = status(target)["cache"]
    return {name: int(cache[name]) for name in ("l1_hits", "shared_hits", "misses")}


def _share(everything: list[int], requests: int, capacity: int | None) -> float:
    accesses = everything[: requests * (1 + TEXTS_PER_REQUEST)]
    hits = unbounded_hits(accesses) if capacity is None else popular_hits(accesses, capacity)
    return hits / max(1, len(accesses))


def _figures(name: str, hit_rate: float, ideal: float) -> list[Figure]:
    return [
        Figure(f"Zipf hit rate, {name}", "%", 100 * hit_rate, 100 * ideal, "an ideal cache", hit_rate / ideal),
        Figure("  short of the ideal by", "points", 100 * (ideal - hit_rate), promise=Promise("ours", at_most=2)),
    ]
