"""One process that uses the cache as a router does, and times it: `python -m bench.cache_worker`.

A case as JSON on standard input, its figures on standard output. A lookup is everything from the text to the
vector: digest, key, lookup and decoding.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import orjson
import uvloop
from numpy.typing import NDArray

from bench.latency import Latency
from cache.config import CacheConfig
from cache.keys import ContentHasher, EmbeddingSpace, namespace, storage_key
from cache.open import open_cache
from cache.two_level import EmbeddingCache, Entry, Lookup
from router.breaker import CircuitBreaker

DIM = 512
SECRET = b"a secret of the benchmarks"
WARM_UP_S = 0.2
FILL_STEP = 256
L1_ENTRIES = 1_000
L1_STEP = 1_000
MAX_QUEUED = 4096
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Case:
    """What to do with which store, for how long, over how many keys."""

    kind: Literal["fill", "lookup", "l1", "write"]
    url: str
    key_space: int
    seconds: float = 1.0
    callers: int = 1
    keys: int = 1


class Texts:
    """The inputs: numbered texts, asked for in an order that never repeats a short stretch."""

    def __init__(self, count: int) -> None:
        self._hasher = ContentHasher(SECRET)
        space = EmbeddingSpace("text", "bench", "1", "none", "fp32", "")
        self._namespace = namespace(space)
        self.texts = [f"a text of ordinary length, number {number}" for number in range(count)]
        order = np.random.default_rng(0).permutation(count).tolist()
        self._order: Iterator[int] = itertools.cycle(order)

    def next(self, count: int) -> list[str]:
        """Return the next texts."""
        return [self.texts[number] for number in itertools.islice(self._order, count)]

    def key(self, text: str) -> bytes:
        """Return a text's storage key."""
        return storage_key(self._namespace, self._hasher.text(text))

    def lookup(self, text: str) -> Lookup:
        """Return what to ask for a text."""
        return Lookup(self.key(text), DIM, len(text))


async def fill(cache: EmbeddingCache, texts: Texts, _case: Case) -> dict[str, float]:
    """Write every text's vector."""
    vectors = _vectors(FILL_STEP)
    for start in range(0, len(texts.texts), FILL_STEP):
        some = texts.texts[start : start + FILL_STEP]
        cache.put(Entry(texts.key(t), v, len(t)) for t, v in zip(some, vectors, strict=False))
        if not await cache.flush(30):
            raise TimeoutError("the store does not take what it is given")
    return {"written": cache.counts().written_behind, "dropped": cache.counts().dropped_writes}


async def look_up(cache: EmbeddingCache, texts: Texts, case: Case) -> dict[str, float]:
    """Let concurrent callers look up as fast as they are answered."""
    await _call(cache, texts, case, time.perf_counter() + WARM_UP_S)
    began, cpu_began = time.perf_counter(), time.process_time()
    results = await _call(cache, texts, case, began + case.seconds)
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    found = sum(hits for hits, _, _ in results)
    asked = sum(keys for _, keys, _ in results)
    return {
        "keys_per_s": found / elapsed,
        "cpu_us_per_key": cpu * 1e6 / max(found, 1),
        "missed_share": 1 - found / max(asked, 1),
        **Latency.of([latency for _, _, latencies in results for latency in latencies]).as_figures(),
    }


async def _call(
    cache: EmbeddingCache, texts: Texts, case: Case, until: float
) -> Sequence[tuple[int, int, list[float]]]:
    async def call() -> tuple[int, int, list[float]]:
        hits = asked = 0
        latencies: list[float] = []
        while (began := time.perf_counter()) < until:
            some = texts.next(case.keys)
            found = await cache.get_many([texts.lookup(text) for text in some])
            latencies.append(time.perf_counter() - began)
            hits += case.keys - found.count(None)
            asked += case.keys
        return hits, asked, latencies

    return await asyncio.gather(*[call() for _ in range(case.callers)])


async def hit_l1(cache: EmbeddingCache, texts: Texts, case: Case) -> dict[str, float]:
    """Look up what the in-process level holds, one text at a time."""
    some = texts.texts[:L1_ENTRIES]
    cache.put(Entry(texts.key(t), v, len(t)) for t, v in zip(some, _vectors(L1_ENTRIES), strict=True))
    times_us: list[float] = []
    until = time.perf_counter() + case.seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        for text in texts.texts[:L1_STEP]:
            await cache.get_many([texts.lookup(text)])
        times_us.append((time.perf_counter() - began) * 1e6 / L1_STEP)
    counts = cache.counts()
    return {
        "us_per_hit": float(np.median(times_us)),
        "best_us_per_hit": min(times_us),
        "missed_share": counts.misses / max(1, counts.l1_hits + counts.misses),
    }


async def write(cache: EmbeddingCache, texts: Texts, case: Case) -> dict[str, float]:
    """Put vectors as fast as the queue drains, never more than it holds."""
    vectors = _vectors(FILL_STEP)
    entries = [
        [Entry(texts.key(t), v, len(t)) for t, v in zip(texts.next(FILL_STEP), vectors, strict=True)] for _ in range(20)
    ]
    began, cpu_began = time.perf_counter(), time.process_time()
    put = 0
    for some in itertools.cycle(entries):
        if time.perf_counter() >= began + case.seconds:
            break
        while cache.counts().queued_writes > MAX_QUEUED:
            await asyncio.sleep(0)
        cache.put(some)
        put += len(some)
    await cache.flush(10)
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    counts = cache.counts()
    return {
        "writes_per_s": counts.written_behind / elapsed,
        "cpu_us_per_write": cpu * 1e6 / max(put, 1),
        "dropped": counts.dropped_writes,
    }


def _vectors(count: int) -> list[NDArray[np.float32]]:
    rows = np.random.default_rng(1).standard_normal((count, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    vectors = [row.copy() for row in rows]
    for vector in vectors:
        vector.flags.writeable = False
    return vectors


KINDS: dict[str, Callable[[EmbeddingCache, Texts, Case], Awaitable[dict[str, float]]]] = {
    "fill": fill,
    "lookup": look_up,
    "l1": hit_l1,
    "write": write,
}


async def _run(case: Case) -> dict[str, float]:
    # Without an in-process level every lookup reaches the store; the case of that level has one, and no store.
    # redis-benchmark waits as long as it takes, so the lookups here do nearly so.
    config = CacheConfig(url=case.url, lookup_timeout_s=1, l1_bytes=64 * MIB if case.kind == "l1" else 0)
    cache = await open_cache(config, CircuitBreaker)
    try:
        return await KINDS[case.kind](cache, Texts(case.key_space), case)
    finally:
        await cache.close()


def main() -> None:
    """Run the case on standard input."""
    case = Case(**orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(_run(case))) + b"\n")


if __name__ == "__main__":
    main()
