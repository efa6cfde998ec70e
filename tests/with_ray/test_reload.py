"""SIGHUP: what has changed in the deployment file is applied in place, and nobody's request fails for it."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deployment_files import write_deployment_file
from tests.faults.processes import titled
from tests.pictures import as_base64, captions, picture
from tests.service_process import RunningService, processes_of, run_service

PATIENCE_S = 15.0
APPLICATIONS = 10


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the deployment file lies."""
    return tmp_path_factory.mktemp("reload") / "service.yaml"


@pytest.fixture(scope="module")
def service(file: Path) -> Iterator[RunningService]:
    """A service that follows the file."""
    with run_service(write(file)) as service:
        yield service


def write(file: Path, **changes: Any) -> Path:
    """Write the file with a cache beside it, and changes."""
    return write_deployment_file(file, {"cache": {"url": f"embedded:{file.parent / 'cache'}"}, **changes})


def replicas(service: RunningService) -> set[int]:
    """The replicas' processes."""
    return titled(processes_of(service), "ServeReplica:")


def reload(service: RunningService) -> None:
    """Ask for it."""
    os.kill(service.pid, signal.SIGHUP)


def wait_for_threshold(service: RunningService, threshold: float) -> None:
    """Wait until the router decides by this threshold."""
    give_up_at = time.monotonic() + PATIENCE_S
    while httpx.get(f"{service.base_url}/admin/status").json()["policy"]["threshold"] != threshold:
        assert time.monotonic() < give_up_at, service.output
        time.sleep(0.05)


def wait_for_line(service: RunningService, text: str) -> None:
    """Wait until the service has said something."""
    give_up_at = time.monotonic() + PATIENCE_S
    while text not in service.output:
        assert time.monotonic() < give_up_at, service.output
        time.sleep(0.05)


@contextmanager
def under_load(service: RunningService) -> Iterator[list[int]]:
    """Ask distinct questions one after the other meanwhile; yields the statuses of the answers."""
    statuses: list[int] = []
    stopping = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=service.base_url, timeout=30) as client:
            while not stopping.is_set():
                seed = 1000 + len(statuses)
                body = {"images": [as_base64(picture(seed))], "texts": captions(seed)}
                statuses.append(client.post("/v1/similarity", json=body).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield statuses
    finally:
        stopping.set()
        asking.join(60)


def test_policies_are_applied_in_place_under_load(service: RunningService, file: Path) -> None:
    """Ten in a row: every question is answered, and no replica is replaced."""
    before = replicas(service)

    with under_load(service) as statuses:
        for number in range(APPLICATIONS):
            write(file, policy={"threshold": 10.0 + number})
            reload(service)
            wait_for_threshold(service, 10.0 + number)

    assert set(statuses) == {200}
    assert len(statuses) > APPLICATIONS
    assert replicas(service) == before


def test_queue_bounds_and_scaling_are_applied_in_place(service: RunningService, file: Path) -> None:
    """A second fast replica comes, and the first stays."""
    before = replicas(service)
    write(file, tiers={"fast": {"autoscaling": {"min_replicas": 2, "max_replicas": 2}, "max_queued_requests": 5}})

    reload(service)
    give_up_at = time.monotonic() + 60
    while len(replicas(service)) <= len(before):
        assert time.monotonic() < give_up_at, service.output
        time.sleep(0.2)

    assert before < replicas(service)


def test_file_that_is_not_valid_changes_nothing(service: RunningService, file: Path) -> None:
    """It is told which key is wrong, and the service goes on."""
    write(file, policy={"treshold": 1.0})

    reload(service)
    wait_for_line(service, "policy.treshold")

    assert "not applied" in service.output
    assert httpx.get(f"{service.base_url}/readyz").status_code == 200


def test_change_that_would_replace_replicas_is_refused_whole(service: RunningService, file: Path) -> None:
    """Together with what could have been applied."""
    threshold = httpx.get(f"{service.base_url}/admin/status").json()["policy"]["threshold"]
    write(file, policy={"threshold": 77.0}, limits={"texts": 9})

    reload(service)
    wait_for_line(service, "would replace replicas")

    assert "limits.texts" in service.output
    assert httpx.get(f"{service.base_url}/admin/status").json()["policy"]["threshold"] == threshold
