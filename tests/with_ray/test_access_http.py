"""Access to a real service: keys over HTTP and in the environment, rotated while it runs; tenants who share nothing."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from secondlook import Client, RateLimited, RetryPolicy
from secondlook.key_store import add_key, remove_key
from secondlook.watchdog import MARKER
from tests.deployment_files import write_deployment_file
from tests.faults.processes import titled
from tests.keys import ADMIN, OTHER, USER, bearer, entry
from tests.pictures import as_base64, captions, picture
from tests.service_process import REPOSITORY, RunningService, ServiceNotReady, processes_of, run_service

SLOW, ENVIRONMENT = "sl_" + "slow" * 11, "sl_" + "from-the-environment" * 2
PATIENCE_S = 15.0
Answer = dict[str, Any]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tenants' keys, an admin's, and one with a small quota."""
    file = tmp_path_factory.mktemp("access") / "keys.yaml"
    add_key(file, entry(USER, "acme-1", tenant="acme"))
    add_key(file, entry(OTHER, "zeta-1", tenant="zeta"))
    add_key(file, entry(ADMIN, "ops-1", tenant="ops", role="admin"))
    add_key(file, entry(SLOW, "slow-1", tenant="slow", quota={"requests_per_s": 0.5, "burst": 2}))
    return file


@pytest.fixture(scope="module")
def service(keys: Path) -> Iterator[RunningService]:
    """A service that goes by them."""
    access = {"keys_file": "keys.yaml", "cors_origins": ["https://app.example.com"]}
    changes = {"cache": {"url": f"embedded:{keys.parent / 'cache'}"}, "access": access}
    config = write_deployment_file(keys.parent / "service.yaml", changes)
    with run_service(config, environment={"SECONDLOOK_API_KEY": ENVIRONMENT}) as service:
        yield service


@pytest.fixture
def ask(service: RunningService) -> Iterator[Callable[..., httpx.Response]]:
    """Asks about a seed's picture with a key."""
    with httpx.Client(base_url=service.base_url, timeout=60) as client:

        def asked(key: str, seed: int, image: Answer | None = None) -> httpx.Response:
            images = [image or {"image": as_base64(picture(seed))}]
            body = {"images": images, "texts": captions(seed), "tier": "fast"}
            return client.post("/v1/similarity", json=body, headers=bearer(key))

        yield asked


def code(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an error."""
    return response.status_code, response.json()["error"]["code"]


def eventually(holds: Callable[[], bool], service: RunningService) -> None:
    """Wait until something holds."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at, service.output
        time.sleep(0.1)


def run(service: RunningService, *command: str, **keys: str) -> subprocess.CompletedProcess[str]:
    """Run a command against the service with keys in its environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHONPATH": str(REPOSITORY), **keys}
    return subprocess.run(
        [sys.executable, "-m", "secondlook", *command, "--url", service.base_url],
        env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_nothing_but_health_is_open(service: RunningService) -> None:
    """401 without a key, also of a body of megabytes; 403 for a user's on an operator's route; CORS by exact origin."""
    with httpx.Client(base_url=service.base_url, timeout=60) as client:
        open_ones = [client.get(path).status_code for path in ("/healthz", "/readyz")]
        closed = [
            client.get(path) for path in ("/v1/models", "/admin/status", "/openapi.json", "/docs", "/", "/nowhere")
        ]
        large = client.post("/v1/similarity", content=b"x" * 6_000_000)
        forbidden = client.get("/admin/status", headers=bearer(USER))
        allowed = client.get("/admin/status", headers={"X-Api-Key": ADMIN})
        preflight = client.options(
            "/v1/similarity", headers={"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
        )

    assert open_ones == [200, 200]
    assert [code(one) for one in (*closed, large)] == [(401, "unauthorized")] * 7
    assert closed[0].headers["www-authenticate"] == "Bearer"
    assert len(closed[0].headers.get_list("x-request-id")) == 1
    assert code(forbidden) == (403, "forbidden")
    assert allowed.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example.com"


def test_tenants_can_not_tell_what_others_have_sent(ask: Callable[..., httpx.Response]) -> None:
    """Neither by a hit nor by a key; answers are the same."""
    (mine,) = ask(USER, 1).json()["data"]
    (again,) = ask(USER, 1).json()["data"]
    (theirs,) = ask(OTHER, 1).json()["data"]
    by_key = ask(OTHER, 1, {"key": mine["key"]})

    assert again["tiering"]["cache"]["image"] == "hit"
    assert by_key.json()["error"]["code"] == "unknown_key"
    assert theirs["tiering"]["cache"] == mine["tiering"]["cache"] == {"image": "miss", "texts": {"hit": 0, "miss": 6}}
    assert mine["key"].startswith("i:02")
    assert theirs["key"] != mine["key"]
    assert theirs["best"] == mine["best"]


def test_quota_is_the_keys_own(service: RunningService, ask: Callable[..., httpx.Response]) -> None:
    """429 with a time after which it is let in; other keys notice nothing, and the client waits by itself."""
    answers = [ask(SLOW, 2) for _ in range(5)]
    other = ask(USER, 2)
    with Client(service.base_url, api_key=SLOW, retry=RetryPolicy(attempts=1)) as client, pytest.raises(RateLimited):
        client.models()
    with Client(service.base_url, api_key=SLOW, deadline_s=20) as client:
        assert client.models()

    assert [one.status_code for one in answers] == [200, 200, 429, 429, 429]
    assert code(answers[-1]) == (429, "rate_limited")
    assert answers[-1].headers["retry-after"] in ("1", "2")
    assert other.status_code == 200


def test_keys_rotate_without_a_restart(service: RunningService, keys: Path, ask: Callable[..., httpx.Response]) -> None:
    """A new key works within seconds, a revoked one does not; a broken file changes nothing."""
    before = replicas(service)
    newer = "sl_" + "newer" * 9
    add_key(keys, entry(newer, "acme-2", tenant="acme"))
    eventually(lambda: ask(newer, 3).status_code == 200, service)
    assert ask(USER, 3).json()["data"][0]["tiering"]["cache"]["image"] == "hit"  # one tenant, two keys

    remove_key(keys, "acme-2")
    eventually(lambda: ask(newer, 3).status_code == 401, service)
    good = keys.read_text()
    keys.write_text("keys: [")
    time.sleep(2.5)
    still = ask(USER, 3)
    keys.write_text(good)

    assert still.status_code == 200
    assert replicas(service) == before != set()


def test_commands_take_keys_from_the_environment(service: RunningService, tmp_path: Path) -> None:
    """The service's own as well; without one they say what is missing."""
    file = tmp_path / "picture.png"
    file.write_bytes(picture(4))

    asked = run(service, "query", str(file), "a star", "a circle", SECONDLOOK_API_KEY=ENVIRONMENT)
    status = run(service, "status", SECONDLOOK_API_KEY=USER, SECONDLOOK_ADMIN_KEY=ADMIN)
    history = run(service, "policy", "history", SECONDLOOK_ADMIN_KEY=ADMIN)
    none, users = run(service, "status"), run(service, "status", SECONDLOOK_API_KEY=USER)

    assert [one.returncode for one in (asked, status, history)] == [0, 0, 0], asked.stderr + status.stderr
    assert (none.returncode, users.returncode) == (1, 1)
    assert "[unauthorized]" in none.stderr
    assert "[forbidden]" in users.stderr


def test_logs_have_neither_keys_nor_content(service: RunningService, ask: Callable[..., httpx.Response]) -> None:
    """Whatever Ray, Serve, HAProxy and the service itself have written so far, and what the launcher has said."""
    text, wrong = "a text that nobody should find in a log", "sl_wrong-key-of-somebody"
    with httpx.Client(base_url=service.base_url, timeout=60) as client:
        for key in (USER, ADMIN, wrong):
            body = {"images": [as_base64(picture(5)), "?"], "texts": [text, "another"]}
            client.post("/v1/similarity", json=body, headers=bearer(key))
            client.post("/v1/similarity", content=text.encode(), headers={"X-Api-Key": key})
            client.get(f"/{text}", headers=bearer(key))
    ask(SLOW, 5)
    secrets = [one.encode() for one in (USER, OTHER, ADMIN, SLOW, ENVIRONMENT, wrong, text, as_base64(picture(5))[:60])]
    (folder,) = {_folder_of(pid) for pid in processes_of(service)} - {None}
    assert folder is not None

    logs = [file for file in folder.rglob("*") if file.is_file() and file.suffix in {".log", ".out", ".err", ".cfg"}]
    found = {(file.name, one) for file in logs for one in secrets if one in file.read_bytes()}

    assert len(logs) > 5
    assert found == set()
    assert not [one for one in secrets if one.decode() in service.output]


def test_service_without_keys_is_not_opened_to_a_network(tmp_path: Path) -> None:
    """It ends before Ray is started, and says what to do."""
    config = write_deployment_file(tmp_path / "service.yaml", {})
    began = time.monotonic()

    with pytest.raises(ServiceNotReady, match="secondlook keys new"), run_service(config, "--host", "0.0.0.0"):
        pass

    assert time.monotonic() - began < 30


def replicas(service: RunningService) -> set[int]:
    """The replicas' processes."""
    return titled(processes_of(service), "ServeReplica:")


def _folder_of(pid: int) -> Path | None:
    """The folder of the service that a process is part of."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    found = [one.partition(b"=")[2].decode() for one in environment if one.startswith(f"{MARKER}=".encode())]
    return Path(found[0]) if found else None
