"""The launcher with real processes: side by side, draining, leaving nothing behind, failing in a line."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.service_process import REPOSITORY, RunningService, ServiceNotReady, processes_of, run_command

TOY = [sys.executable, str(REPOSITORY / "tests" / "toy_launcher.py")]
GONE_WITHIN_S = 20.0


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[RunningService, RunningService]]:
    """Two services that were started in the same moment."""
    with ExitStack() as held, ThreadPoolExecutor(2) as starters:
        first, second = starters.map(lambda _: held.enter_context(run_command(TOY)), range(2))
        yield first, second


def still_running(processes: dict[int, str]) -> dict[int, str]:
    """Those of `processes` that have not ended within a while."""
    give_up_at = time.monotonic() + GONE_WITHIN_S
    while left := {pid: name for pid, name in processes.items() if Path(f"/proc/{pid}").exists()}:
        if time.monotonic() > give_up_at:
            break
        time.sleep(0.1)
    return left


def folder_of(service: RunningService) -> Path:
    """The service's own folder, as its processes know it."""
    for pid in processes_of(service):
        for variable in Path(f"/proc/{pid}/environ").read_text().split("\0"):
            if variable.startswith("SECONDLOOK_SERVICE_DIR="):
                return Path(variable.partition("=")[2])
    raise AssertionError("no process carries the marker")


def test_sigterm_drains_one_service_while_the_other_goes_on(pair: tuple[RunningService, RunningService]) -> None:
    """The request in flight is answered, a new one is refused, no process and no file remains."""
    first, second = pair
    processes, folder = processes_of(first), folder_of(first)
    with ThreadPoolExecutor(1) as client:
        in_flight = client.submit(httpx.get, f"{first.base_url}/sleep/3", timeout=30)
        time.sleep(1)

        os.kill(first.pid, signal.SIGTERM)

        time.sleep(1)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{first.base_url}/readyz")
        assert in_flight.result().text == '"slept"'
    assert first.process.wait(30) == 0
    assert len(processes) > 5
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes)
    assert not folder.exists()
    assert httpx.get(f"{second.base_url}/readyz").status_code == 200


def test_killed_launcher_takes_everything_with_it(pair: tuple[RunningService, RunningService]) -> None:
    """SIGKILL gives the launcher no chance, so somebody else cleans up."""
    _, second = pair
    processes, folder = processes_of(second), folder_of(second)

    os.kill(second.pid, signal.SIGKILL)

    assert still_running(processes) == {}
    assert not folder.exists()


def test_application_that_cannot_start_is_explained_in_a_line() -> None:
    """The replica's own error is what the launcher says, not Ray's pages about it."""
    with pytest.raises(ServiceNotReady) as caught, run_command([*TOY, "--broken"]):
        pass

    lines = str(caught.value).splitlines()
    assert "ended with 1" in lines[0]
    assert "the model is made of cheese" in lines[-1]
    assert len(lines) <= 5
