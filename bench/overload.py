"""Scenario `overload`: misses at up to ten times of what the service can answer, from independent callers."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from bench.figures import Figure, Findings, Promise
from bench.load_process import RequestSet, Target, closed_loop, open_loop
from bench.payloads import image_embedding
from bench.photographs import photographs
from bench.scenario import Options, say
from bench.tier_service import model, tier_service, wait_until_idle

ARCHITECTURE = "ViT-B-32"
USUAL_LOAD = 0.8
FLOODS = (1, 3, 10)
JUDGED_FLOOD = 3
"""At which the rejections' latency is promised."""
CONNECTIONS = 256
"""As many callers at most wait for an answer at the same time."""
SATURATING_CONNECTIONS = 24
MOST_PER_S = 60
RECOVERY_S = 10.0
SLOW_SHARE = 0.1
OK, SHED = "200", "503"


def measure_overload(options: Options) -> Findings:
    """Measure capacity, then usual load, then floods; after the last one, how soon latency is as usual again."""
    with tier_service(options.folder, model(ARCHITECTURE)) as target:
        capacity = _capacity(options, target)
        say(f"overload: capacity {capacity:.1f} images/s; usual load, {options.flood_s:.0f} s")
        first = 1_000_000
        usual = _flood(options, target, USUAL_LOAD * capacity, options.flood_s, first)
        floods: dict[int, dict[str, Any]] = {}
        recoveries: list[float] = []
        for factor in FLOODS:
            first += 1_000_000
            say(f"overload: {factor} times of it, {options.flood_s:.0f} s")
            floods[factor] = _flood(options, target, factor * capacity, options.flood_s, first)
            say("overload: usual load again")
            after = _flood(options, target, USUAL_LOAD * capacity, RECOVERY_S, first + 500_000)
            recoveries.append(recovery_s(after["timeline"], usual["by_status"][OK]["p99_ms"] / 1e3))
            wait_until_idle(target)
        # The machine may have become faster or slower meanwhile.
        capacity = (capacity + _capacity(options, target)) / 2
    samples = {"usual load": [usual], **{f"{factor} times": [flood] for factor, flood in floods.items()}}
    for rounds in samples.values():
        del rounds[0]["timeline"]
    notes = [f"{name}: answered {rounds[0]['statuses']}" for name, rounds in samples.items()]
    return Findings(list(_figures(capacity, usual, floods, recoveries)), samples, notes)


def recovery_s(timeline: list[tuple[float, float, int]], usual_p99_s: float) -> float:
    """Seconds after which nine in ten, of what is due in a second, are answered within the usual p99.

    One in a hundred is slower at usual load too, and they come in bursts, as queues do: what a flood leaves behind
    delays everybody.

    Args:
        timeline: When each request was due, what it took, and its status.
        usual_p99_s: What is usual.
    """
    by_second: defaultdict[int, list[bool]] = defaultdict(list)
    for at, latency, status in timeline:
        by_second[int(at)].append(str(status) != OK or latency > usual_p99_s)
    late = [second for second, slow in by_second.items() if sum(slow) > SLOW_SHARE * len(slow)]
    return max(late, default=-1) + 1.0


def _capacity(options: Options, target: Target) -> float:
    count = int(MOST_PER_S * (options.seconds + 2))
    requests = RequestSet.write(options.folder, [image_embedding(one) for one in photographs(count)], once=True)
    sample = closed_loop(target, requests, connections=SATURATING_CONNECTIONS, seconds=options.seconds, warm_up_s=2.0)
    wait_until_idle(target)
    requests.path.unlink()
    return sample.rate


def _flood(options: Options, target: Target, rate: float, seconds: float, first: int) -> dict[str, Any]:
    count = int(rate * (seconds + 2)) + 10
    requests = RequestSet.write(options.folder, [image_embedding(one) for one in photographs(count, first)], once=True)
    sample = open_loop(
        target,
        requests,
        seconds=seconds,
        rate=rate,
        connections=CONNECTIONS,
        is_random=True,
        at_begin=lambda: None,
    )
    requests.path.unlink()
    return {**sample.as_document(), "timeline": sample.figures["timeline"]}


def _figures(
    capacity: float, usual: dict[str, Any], floods: dict[int, dict[str, Any]], recoveries: list[float]
) -> Iterator[Figure]:
    yield Figure("capacity, closed loop, before and after", "images/s", capacity)
    normal = usual["by_status"][OK]
    yield Figure(f"p99 at {USUAL_LOAD} of capacity", "ms", normal["p99_ms"])
    for factor, flood in floods.items():
        good, accepted = flood["requests_per_s"], flood["by_status"][OK]["p99_ms"]
        promise = Promise("ratio", at_least=0.9)
        name = f"goodput at {factor} times of capacity"
        yield Figure(name, "images/s", good, capacity, "capacity", good / capacity, promise)
        promise = Promise("ratio", at_most=3)
        yield Figure(
            "  p99 of what was accepted",
            "ms",
            accepted,
            normal["p99_ms"],
            "usual",
            accepted / normal["p99_ms"],
            promise,
        )
        if SHED in flood["by_status"]:
            shed, is_judged = flood["by_status"][SHED], factor == JUDGED_FLOOD
            for quantile, bound_ms in (("p50_ms", 5), ("p99_ms", 50)):
                bound = Promise("ours", at_most=bound_ms) if is_judged else None
                yield Figure(f"  {quantile[:3]} of what was shed", "ms", shed[quantile], promise=bound)
        others = sum(count for status, count in flood["statuses"].items() if status not in (OK, SHED))
        yield Figure("  neither answered nor shed", "requests", others, promise=Promise("ours", at_most=0))
    yield Figure("latency is as usual again after a flood", "s", max(recoveries), promise=Promise("ours", at_most=3))
