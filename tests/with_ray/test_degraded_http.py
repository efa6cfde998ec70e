"""503 and degraded answers over real HTTP: a tier that sheds, and an accurate replica that is killed."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.deployment_files import write_deployment_file
from tests.faults.processes import titled
from tests.pictures import as_base64, captions, picture
from tests.service_process import RunningService, processes_of, run_service

TIGHT: dict[str, Any] = {
    "router": {
        "admission": {"fast": {"max_items": 12}, "accurate": {"max_items": 12}},
        "deadline_s": 3.0,
        "breaker": {"consecutive_failures": 1, "open_s": 60.0},
    },
    "policy": {"threshold": 1000.0},  # everything takes a second look
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with narrow bounds."""
    folder = tmp_path_factory.mktemp("tight")
    changes = {**TIGHT, "cache": {"url": f"embedded:{folder / 'cache'}"}}
    with run_service(write_deployment_file(folder / "service.yaml", changes)) as service:
        yield service


@pytest.fixture(scope="module")
def tight_client(service: RunningService) -> Iterator[httpx.Client]:
    """An HTTP client of that service."""
    with httpx.Client(base_url=service.base_url, timeout=60) as client:
        yield client


def ask(client: httpx.Client, seed: int, **fields: object) -> httpx.Response:
    """Compare a seed's picture with its captions."""
    body = {"images": [as_base64(picture(seed))], "texts": captions(seed), **fields}
    return client.post("/v1/similarity", json=body)


def kill_replica(service: RunningService, deployment: str) -> None:
    """SIGKILL the replica of one deployment."""
    (replica,) = titled(processes_of(service), f"ServeReplica:secondlook:{deployment}")
    os.kill(replica, signal.SIGKILL)


def test_more_items_than_may_wait_are_shed_at_once(tight_client: httpx.Client) -> None:
    """503 with Retry-After, and nothing of the request was begun."""
    body = {"images": [as_base64(picture(70))], "texts": [f"text {n}" for n in range(20)]}

    response = tight_client.post("/v1/similarity", json=body)

    assert response.status_code == 503
    assert response.json()["error"]["code"] == "overloaded"
    assert int(response.headers["retry-after"]) >= 1


def test_lost_accurate_tier_degrades_answers_and_says_so(service: RunningService, tight_client: httpx.Client) -> None:
    """After kill -9: the fast answer, marked with why; whoever insists on the accurate tier is told 503."""
    assert ask(tight_client, 71).json()["data"][0]["tiering"]["escalated"] is True
    kill_replica(service, "Accurate")

    first, second, pinned = ask(tight_client, 72), ask(tight_client, 73), ask(tight_client, 74, tier="accurate")

    for response in (first, second):
        tiering = response.json()["data"][0]["tiering"]
        assert response.status_code == 200
        assert (tiering["tier"], tiering["escalated"]) == ("fast", False)
        assert tiering["degraded"] in {"accurate_timeout", "accurate_open"}
        assert response.headers["x-degraded"] == tiering["degraded"]
    assert second.headers["x-degraded"] == "accurate_open"
    assert (pinned.status_code, pinned.json()["error"]["code"]) == (503, "unavailable")
    assert pinned.headers["retry-after"]


def test_service_stays_ready_without_the_accurate_tier(tight_client: httpx.Client) -> None:
    """It answers, degraded."""
    assert tight_client.get("/readyz").status_code == 200
