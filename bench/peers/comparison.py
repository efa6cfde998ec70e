"""Scenario `peers`: one model served by us and by other servers, one image or one text per request, nothing cached."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.figures import Figure, Findings, Promise, compare
from bench.ingress import notes_on_load
from bench.load_process import RequestSet, Sample, Target, closed_loop
from bench.payloads import caption
from bench.peers.apis import APIS, KINDS, OURS, OURS_INT8, Kind
from bench.peers.exactness import answered, exactness, reference
from bench.peers.model import WEIGHTS
from bench.peers.servers import running
from bench.photographs import photograph
from bench.scenario import Options, say

CONNECTIONS = 32
WARM_UP_S = 4.0
# More than any of the servers can do: no request is sent twice.
MOST_PER_S: dict[Kind, float] = {"text": 1000.0, "image": 120.0}
TEXT_PROMISE = Promise("ratio", at_least=3)
IMAGE_PROMISE = Promise("ratio", at_least=1.2)
COSINE_PROMISE = Promise("ours", at_least=0.9999)
KEY, CPU = "requests_per_s", "cpu_ms_per_request"
Samples = dict[str, list[dict[str, Any]]]


def measure_peers(options: Options) -> Findings:
    """Measure every server in turn, one running at a time, in every round."""
    if not (options.peers / WEIGHTS).exists():
        raise FileNotFoundError(f"{options.peers}: run `python -m bench.peers.setup {options.peers}` first")
    expected = reference(options.peers)
    say("peers: writing the requests")
    counts = {kind: math.ceil(most * (options.seconds + WARM_UP_S + 1)) for kind, most in MOST_PER_S.items()}
    photographs = [photograph(number) for number in range(counts["image"])]
    requests = {name: _requests(options, name, counts["text"], photographs) for name in APIS}
    del photographs
    samples: Samples = {measure_name(name, kind): [] for kind in KINDS for name in APIS}
    exact: Samples = {f"{name}: exactness": [] for name in APIS}
    for number in range(options.rounds):
        # Who comes first in a round alternates: the machine is not the same at its two ends.
        for name in list(APIS) if number % 2 == 0 else list(reversed(APIS)):
            say(f"peers: round {number + 1}, {name}")
            with running(name, options.peers, options.folder) as target:
                exact[f"{name}: exactness"].append(exactness(answered(target, APIS[name]), expected))
                for kind in KINDS:
                    sample = _measure(options, target, requests[name][kind])
                    spent = {CPU: sum(sample.cpu_us.values()) / 1e3}
                    samples[measure_name(name, kind)].append({**sample.as_document(), **spent})
    notes = [f"{name} {_in_words(rounds[-1])}" for name, rounds in exact.items()]
    notes += [_cores(samples), *notes_on_load(samples)]
    return Findings(figures(samples, exact), {**samples, **exact}, notes)


def measure_name(server: str, kind: Kind) -> str:
    """Return what one measure is called in the report."""
    return f"{server}: one {kind} per request"


def figures(samples: Samples, exact: Samples) -> list[Figure]:
    """Return requests/s and CPU of ours beside each peer, and the exactness of all."""
    peers = [name for name in APIS if name not in (OURS, OURS_INT8)]
    found = [_beside(samples, OURS, peer, "text", TEXT_PROMISE) for peer in peers]
    found += [_beside(samples, OURS, peer, "image", IMAGE_PROMISE) for peer in peers]
    found += [_beside(samples, OURS_INT8, peer, kind, None) for kind in KINDS for peer in (OURS, *peers)]
    found += [_cpu_beside(samples, peer, kind) for kind in KINDS for peer in (OURS_INT8, *peers)]
    for name in APIS:
        promise = COSINE_PROMISE if name == OURS else None
        for kind in KINDS:
            least = min(sample[f"{kind}_cosine"] for sample in exact[f"{name}: exactness"])
            found.append(Figure(f"{name}: least cosine to open_clip, {kind}s", "", least, promise=promise))
    return found


def _beside(samples: Samples, one: str, other: str, kind: Kind, promise: Promise | None) -> Figure:
    return compare(
        samples,
        measure_name(one, kind),
        measure_name(other, kind),
        key=KEY,
        name=f"{one} beside {other}, {kind}s",
        unit=f"{kind}s/s",
        promise=promise,
    )


def _cpu_beside(samples: Samples, peer: str, kind: Kind) -> Figure:
    """Return what a peer spends beside what we do: on a shared machine it tells more than requests/s."""
    name = f"CPU of {peer} beside {OURS}, {kind}s"
    return compare(samples, measure_name(peer, kind), measure_name(OURS, kind), key=CPU, name=name, unit=f"ms/{kind}")


def _cores(samples: Samples) -> str:
    """Say how much of the machine each server got: where it differs, requests/s are no comparison."""
    got = {name: [sample[CPU] * sample[KEY] / 1e3 for sample in rounds] for name, rounds in samples.items()}
    return "cores used: " + "; ".join(
        f"{name} {', '.join(f'{cores:.2f}' for cores in rounds)}" for name, rounds in got.items()
    )


def _requests(options: Options, name: str, texts: int, photographs: Sequence[bytes]) -> dict[Kind, RequestSet]:
    api = APIS[name]
    bodies: dict[Kind, list[bytes]] = {
        "text": [api.text(caption(number)) for number in range(texts)],
        "image": [api.image(file) for file in photographs],
    }
    return {kind: RequestSet.write(options.folder, requests, once=True) for kind, requests in bodies.items()}


def _measure(options: Options, target: Target, requests: RequestSet) -> Sample:
    """Measure after a warm-up that is thrown away: servers that learn how to batch have then learnt."""
    unsent = requests.unused()
    closed_loop(target, unsent, connections=CONNECTIONS, seconds=WARM_UP_S)
    return closed_loop(target, unsent, connections=CONNECTIONS, seconds=options.seconds)


def _in_words(sample: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.6f}" for name, value in sample.items())
