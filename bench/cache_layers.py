"""Scenario `cache`: our cache, from text to vector, next to `redis-benchmark` on the same server."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from bench import redis_floor
from bench.cache_worker import DIM, Case
from bench.figures import Figure, Findings, Promise, compare, interleave, median
from bench.load_process import REPOSITORY
from bench.scenario import Options, say
from cache.codec import Codec
from tests.redis_server import RedisServer

KEY_SPACE = 20_000
TIMEOUT_S = 120.0
MISSED_LIMIT = 0.001
UNIT = "keys/s"
GET_1, GET_16 = "redis-benchmark GET -c 50 -P 1", "redis-benchmark GET -c 50 -P 16"
MGET_64, MGET_512 = "redis-benchmark MGET 64 -c 4", "redis-benchmark MGET 512 -c 4"
SET_16 = "redis-benchmark SET -c 50 -P 16"
# Name: callers, keys per lookup.
SHAPES = {
    "1 key, 1 caller": (1, 1),
    "1 key, 16 callers": (16, 1),
    "1 key, 50 callers": (50, 1),
    "1 key, 64 callers": (64, 1),
    "64 keys, 4 callers": (4, 64),
    "512 keys, 4 callers": (4, 512),
}
EMBEDDED_SHAPES = ("1 key, 50 callers", "64 keys, 4 callers", "512 keys, 4 callers")

Measure = Callable[[], dict[str, Any]]


def measure_cache(options: Options) -> Findings:
    """Measure lookups, hits of the in-process level, writes behind, and the embedded store."""
    has_floor = redis_floor.find_program() is not None
    value_bytes = _value_bytes()
    with RedisServer() as server:
        say(f"cache: filling Redis and an embedded store with {KEY_SPACE} embeddings of {DIM} numbers")
        embedded = f"embedded:{options.folder / 'cache'}"
        for url in (server.url, embedded):
            run_case(Case("fill", url, KEY_SPACE))
        redis_floor.fill(server, KEY_SPACE, value_bytes)
        measures = _our_measures(server.url, embedded, options.seconds)
        if has_floor:
            measures |= _floor_measures(server, value_bytes, options.seconds)
        say(f"cache: {options.rounds} rounds of {len(measures)} measures")
        samples = interleave(measures, options.rounds)
    notes = [] if has_floor else ["redis-benchmark is not installed: no floor to compare the cache with"]
    return Findings(
        [*(_against_redis(samples) if has_floor else []), *_own(samples)], samples, notes + _missed(samples)
    )


def run_case(case: Case) -> dict[str, Any]:
    """Run one case in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.cache_worker"],
        input=json.dumps(asdict(case)).encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=TIMEOUT_S,
        cwd=REPOSITORY,
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _value_bytes() -> int:
    """Size of a stored embedding, for redis-benchmark to move as many bytes."""
    return len(Codec("float16").encode(b"k" * 33, _zeros(), 40))


def _zeros() -> Any:
    import numpy as np  # noqa: PLC0415

    return np.zeros(DIM, dtype=np.float32)


def _our_measures(redis_url: str, embedded_url: str, seconds: float) -> dict[str, Measure]:
    def case(kind: Any, url: str, callers: int = 1, keys: int = 1) -> Measure:
        return partial(run_case, Case(kind, url, KEY_SPACE, seconds, callers, keys))

    measures = {f"redis, {name}": case("lookup", redis_url, *shape) for name, shape in SHAPES.items()}
    measures |= {f"embedded, {name}": case("lookup", embedded_url, *SHAPES[name]) for name in EMBEDDED_SHAPES}
    measures["in-process hit"] = case("l1", "none:")
    measures["write-behind"] = case("write", redis_url)
    return measures


def _floor_measures(server: RedisServer, value_bytes: int, seconds: float) -> dict[str, Measure]:
    commands = {
        GET_1: redis_floor.get(50, 1),
        GET_16: redis_floor.get(50, 16),
        MGET_64: redis_floor.mget(4, 64),
        MGET_512: redis_floor.mget(4, 512),
        SET_16: redis_floor.put(50, 16, value_bytes),
    }
    return {
        name: partial(redis_floor.measure, server, command, key_space=KEY_SPACE, seconds=seconds)
        for name, command in commands.items()
    }


def _against_redis(samples: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    against: list[tuple[str, str, float | None]] = [
        ("1 key, 50 callers", GET_1, 2.0),
        ("1 key, 50 callers", GET_16, 0.35),
        ("64 keys, 4 callers", MGET_64, 0.8),
        ("512 keys, 4 callers", MGET_512, None),
    ]
    return [
        compare(
            samples,
            f"redis, {shape}",
            floor,
            key="keys_per_s",
            name=f"cache on Redis, {shape}",
            unit=UNIT,
            promise=None if bound is None else Promise("ratio", at_least=bound),
        )
        for shape, floor, bound in against
    ]


def _own(samples: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    plain = [
        Figure(f"cache on Redis, {shape}", UNIT, median(samples[f"redis, {shape}"], "keys_per_s"))
        for shape in ("1 key, 1 caller", "1 key, 16 callers", "1 key, 64 callers")
    ]
    promised = [
        (
            "CPU per single-key hit, 50 callers",
            "us",
            "redis, 1 key, 50 callers",
            "cpu_us_per_key",
            Promise("ours", at_most=12),
        ),
        ("in-process hit with the text's digest", "us", "in-process hit", "us_per_hit", Promise("ours", at_most=6)),
        ("write-behind", "SET/s", "write-behind", "writes_per_s", Promise("ours", at_least=40_000)),
    ]
    own = [Figure(name, unit, median(samples[of], key), promise=promise) for name, unit, of, key, promise in promised]
    embedded = [
        compare(
            samples,
            f"embedded, {shape}",
            f"redis, {shape}",
            key="keys_per_s",
            name=f"embedded store, {shape}",
            unit=UNIT,
            promise=Promise("ratio", at_least=0.7),
        )
        for shape in EMBEDDED_SHAPES
    ]
    return [*plain, *own, *embedded]


def _missed(samples: dict[str, list[dict[str, Any]]]) -> list[str]:
    worst = {name: max(sample.get("missed_share", 0.0) for sample in rounds) for name, rounds in samples.items()}
    return [
        f"{name}: {share:.1%} of the keys were not found in time; only what was found is counted"
        for name, share in worst.items()
        if share > MISSED_LIMIT
    ]
