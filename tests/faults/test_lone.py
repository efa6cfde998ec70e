"""One replica of each tier and a Redis at the end of a link: the accurate one is lost, Redis is slow, clients leave."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.deployment_files import write_deployment_file
from tests.faults.chaos import CALM_S, again_and_again, report
from tests.faults.flood import flood
from tests.faults.judge import Judge
from tests.faults.load import (
    Exchange,
    Load,
    ask,
    degraded,
    new_seed,
    not_answered,
    overdue,
    percentile_ms,
    picture_of,
    wait_until,
)
from tests.faults.processes import kill, replicas
from tests.faults.slow_link import SlowLink
from tests.pictures import as_base64
from tests.redis_server import RedisServer
from tests.service_process import RunningService, run_service

MANY_TEXTS = 20_000
SECOND_LOOKS_WITHIN_S = 10.0
HITS_WITHIN_S = 10.0
LIST_TEXTS = 256
STEP_S = 10.0
SCALING = {
    "min_replicas": 1,
    "max_replicas": 2,
    "target_ongoing_requests": 1.5,
    "upscale_delay_s": 0.5,
    "downscale_delay_s": 3.0,
    "look_back_s": 1.0,
}


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis, empty."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def link(redis_server: RedisServer) -> Iterator[SlowLink]:
    """How the service reaches it."""
    with SlowLink(redis_server.port) as link:
        yield link


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the deployment file lies."""
    return tmp_path_factory.mktemp("lone") / "service.yaml"


def write(file: Path, link: SlowLink, **fast: object) -> Path:
    """Write the file: everything takes a second look, every hit comes from Redis, and lists may be long."""
    changes = {
        "limits": {"texts": MANY_TEXTS},
        "router": {"admission": {"fast": {"max_items": 2 * MANY_TEXTS}}},
        "tiers": {"fast": fast},
        "policy": {"threshold": 1000.0},
        "cache": {"url": f"redis://127.0.0.1:{link.port}/0", "l1_bytes": 0},
    }
    return write_deployment_file(file, changes)


@pytest.fixture(scope="module")
def service(file: Path, link: SlowLink) -> Iterator[RunningService]:
    """A service of that file."""
    with run_service(write(file, link)) as service:
        yield service


@pytest.fixture
def client(service: RunningService) -> Iterator[httpx.Client]:
    """An HTTP client of that service."""
    with httpx.Client(base_url=service.base_url, timeout=30) as client:
        yield client


def tier_status(client: httpx.Client, tier: str) -> dict[str, Any]:
    """What the router says of one tier."""
    status: dict[str, Any] = client.get("/admin/status").json()["tiers"][tier]
    return status


@again_and_again
def test_killed_only_accurate_replica_degrades_answers_until_it_is_back(
    service: RunningService, judge: Judge, attempt: int
) -> None:
    """Nobody is refused, what lacks its second look says so, and second looks come back by themselves."""
    with Load(service.base_url) as load:
        load.go_on(CALM_S)
        (lost,) = replicas(service, "Accurate")
        killed_at = time.monotonic()
        kill(lost)
        wait_until(lambda: bool(replicas(service, "Accurate") - {lost}), 60, "a new accurate replica")
        returned_at = time.monotonic()
        wait_until(lambda: all_are_second_looks(load.last(CALM_S)), 60, "second looks, and nothing else")
        looked_at = time.monotonic() - CALM_S

    answered = load.exchanges
    report(
        f"only accurate replica killed: {len(answered)} questions, {len(degraded(answered))} degraded, new process "
        f"after {returned_at - killed_at:.1f} s, all looked at twice after {looked_at - returned_at:.1f} s more"
    )
    assert not_answered(answered) == []
    assert all(one.is_second_look or one.is_degraded for one in answered)
    assert looked_at - returned_at < SECOND_LOOKS_WITHIN_S
    assert overdue(answered, load.deadline_s) == []
    assert judge.wrong(answered) == []


def all_are_second_looks(exchanges: list[Exchange]) -> bool:
    """Whether there are any, and the accurate tier gave each."""
    return len(exchanges) > 3 and all(one.is_second_look for one in exchanges)


def is_all_hits(client: httpx.Client, seed: int) -> bool:
    """Whether nothing of a question had to be computed."""
    cache = ask(client, seed, 10).tiering.get("cache", {})
    return bool(cache.get("image") == "hit" and cache["texts"]["miss"] == 0)


@pytest.mark.parametrize("fault", ["slow", "hung"])
def test_slow_redis_costs_hits_and_no_request(
    service: RunningService,
    client: httpx.Client,
    redis_server: RedisServer,
    link: SlowLink,
    judge: Judge,
    fault: str,
) -> None:
    """Each reply 400 ms late, or none at all: everybody is answered as fast as without a cache; hits come back."""
    known = new_seed()
    wait_until(lambda: is_all_hits(client, known), 20, "hits before the fault")
    with Load(service.base_url) as load:
        load.go_on(CALM_S)
        began_at = time.monotonic()
        if fault == "slow":
            link.delay_s = 0.2
        else:
            redis_server.pause()
        load.go_on(2 * CALM_S)
        ended_at = time.monotonic()
        link.delay_s = 0.0
        redis_server.resume()
        back_s = wait_until(lambda: is_all_hits(client, known), HITS_WITHIN_S, "hits after the fault")

    before = [one for one in load.exchanges if one.ended_at < began_at]
    during = [one for one in load.since(began_at) if one.ended_at < ended_at]
    report(
        f"Redis {fault}: {len(during)} questions; p50 {percentile_ms(before, 0.5):.0f} ms before and "
        f"{percentile_ms(during, 0.5):.0f} ms meanwhile, p99 {percentile_ms(before, 0.99):.0f} and "
        f"{percentile_ms(during, 0.99):.0f} ms; hits {back_s:.1f} s after its end"
    )
    assert not_answered(load.exchanges) == []
    assert degraded(load.exchanges) == []
    assert percentile_ms(during, 0.5) < percentile_ms(before, 0.5) + 100
    assert judge.wrong(load.exchanges) == []


def test_client_that_leaves_a_long_list_stops_its_work(service: RunningService, client: httpx.Client) -> None:
    """A body larger than the ingress's buffer, 20,000 texts: two seconds after it has left nothing is held for it."""
    texts = [f"{new_seed()} red circles and a blue star" for _ in range(MANY_TEXTS)]
    body = json.dumps({"input": texts, "model": "fast"}).encode()
    before = tier_status(client, "fast")
    assert before["held_items"] == 0
    with leave_after(service, "/v1/embeddings", body) as connection:
        held = wait_until(lambda: tier_status(client, "fast")["held_items"] > 0, 10, "the list is being worked on")
        time.sleep(0.3)
        connection.close()

    gone_s = wait_until(lambda: tier_status(client, "fast")["held_items"] == 0, 2, "nothing is held")

    after = tier_status(client, "fast")
    report(
        f"client left: held after {held:.2f} s, nothing held {gone_s:.2f} s after; "
        f"{after['items'] - before['items']} of {MANY_TEXTS} texts sent, {after['abandoned'] - before['abandoned']} not"
    )
    assert after["abandoned"] > before["abandoned"]
    assert after["items"] - before["items"] < MANY_TEXTS
    assert after["breaker"] == "closed"


def leave_after(service: RunningService, path: str, body: bytes) -> socket.socket:
    """Send a request over a connection of its own, which the caller closes."""
    url = urlsplit(service.base_url)
    connection = socket.create_connection((url.hostname, url.port), timeout=10)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def listing(texts: int) -> bytes:
    """A question whose texts nobody has asked about: work for the fast tier, and little for anything else."""
    seed = new_seed()
    body = {"images": [as_base64(picture_of(0))], "texts": [f"{n} red circles and {seed}" for n in range(texts)]}
    return json.dumps({**body, "tier": "fast"}).encode()


def capacity_of_one(service: RunningService) -> float:
    """Lists per second that one replica answers."""
    with httpx.Client(base_url=service.base_url, timeout=30, headers={"content-type": "application/json"}) as client:
        bodies = [listing(LIST_TEXTS) for _ in range(20)]
        began_at = time.monotonic()
        for body in bodies:
            assert client.post("/v1/similarity", content=body).status_code == 200
        return len(bodies) / (time.monotonic() - began_at)


def test_load_brings_a_second_fast_replica_and_calm_takes_it_away(
    service: RunningService, file: Path, link: SlowLink
) -> None:
    """From idle to three times what one replica can do, and back, with nobody at the controls."""
    write(file, link, autoscaling=SCALING)
    os.kill(service.pid, signal.SIGHUP)
    wait_until(lambda: "applied in place" in service.output, 15, "the scaling bounds are applied")
    rate = 3 * capacity_of_one(service)
    bodies = [listing(LIST_TEXTS) for _ in range(int(rate * STEP_S))]
    assert len(replicas(service, "Fast")) == 1

    with ThreadPoolExecutor(1) as sender:
        began_at = time.monotonic()
        sending = sender.submit(flood, service.base_url, "/v1/similarity", bodies, rate, 5.0)
        started_s = wait_until(lambda: len(replicas(service, "Fast")) == 2, 30, "a second fast replica")
        exchanges = sending.result()
    ended_at = time.monotonic()
    gone_s = wait_until(lambda: len(replicas(service, "Fast")) == 1, 60, "the second fast replica goes")

    answered = [one for one in exchanges if one.status == 200]
    report(
        f"{rate:.0f} lists/s, three times one replica's: second replica's process after {started_s:.1f} s, gone "
        f"{gone_s:.1f} s after the {ended_at - began_at:.0f} s of load; {len(answered)} of {len(exchanges)} answered"
    )
    # A list that was let in just before its time was up ends with it.
    assert {one.status for one in exchanges} <= {200, 408, 503}
    assert overdue(exchanges, 5.0) == []
