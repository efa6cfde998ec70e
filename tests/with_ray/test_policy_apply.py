"""`secondlook policy` against a running service of two routers: in place, under load, and remembered.

One service for the whole file; its tests leave it as able to serve as they found it. The last ones stop it.
"""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from router.policy_file import load_policy
from tests.deployment_files import write_deployment_file
from tests.faults.chaos import IS_LONG, report
from tests.faults.load import texts_of, wait_until
from tests.faults.processes import controllers, kill, replicas, wait_for_replacement
from tests.pictures import as_base64, picture
from tests.service_process import REPOSITORY, RunningService, run_service

TIERS = ("Router", "Fast", "Accurate")
IN_FORCE_S = 5.0
FRESH_CONNECTIONS = 40
APPLICATIONS = 50 if IS_LONG else 8
FILES_THRESHOLD = 1.0
NOT_NOW = {503, 408}
"""A tier is away, or does not come back before the deadline."""
PICTURES = [picture(seed) for seed in range(8)]


@dataclass(slots=True)
class Bench:
    """The service, its deployment file, and a folder for policies."""

    folder: Path
    service: RunningService

    @property
    def file(self) -> Path:
        """The deployment file that the service was started from."""
        return self.folder / "service.yaml"

    def policy(self, text: str) -> Path:
        """Write a policy's own file."""
        file = self.folder / "policy.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `secondlook policy` against the service."""
        command = [sys.executable, "-m", "secondlook", "policy", *map(str, arguments), "--url", self.service.base_url]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )

    def apply(self, file: Path, *arguments: str) -> dict[str, Any]:
        """Apply a file, which must succeed."""
        done = self.run("apply", file, "--json", *arguments)
        assert done.returncode == 0, done.stderr + self.service.output
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def get(self, path: str) -> Any:
        """Ask some router."""
        return httpx.get(f"{self.service.base_url}{path}", timeout=30).raise_for_status().json()

    def versions(self) -> set[str]:
        """Policy versions that routers go by, over many connections: each may lead to another router."""
        return {self.get("/admin/policy")["version"] for _ in range(FRESH_CONNECTIONS)}

    def replicas(self) -> dict[str, set[int]]:
        """Every deployment's processes."""
        return {name: replicas(self.service, name) for name in TIERS}

    def wait_until_everywhere(self, version: str, timeout_s: float = IN_FORCE_S) -> float:
        """Wait until every router goes by a version; returns the seconds that it took."""
        began = time.monotonic()
        while self.versions() != {version}:
            assert time.monotonic() - began < timeout_s, (version, self.versions(), self.service.output)
        return time.monotonic() - began


@dataclass(slots=True)
class Asked:
    """What came of the questions under load."""

    statuses: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    versions: list[set[str]] = field(default_factory=list)
    """Of each answer, those that its items name."""


@contextmanager
def under_load(service: RunningService, clients: int = 2) -> Iterator[Asked]:
    """Ask questions of three images meanwhile, that nobody has asked before."""
    asked, stopping, seeds = Asked(), threading.Event(), itertools.count(time.monotonic_ns() % 10**9)

    def ask() -> None:
        with httpx.Client(base_url=service.base_url, timeout=60) as client:
            while not stopping.is_set():
                seed = next(seeds)
                images = [as_base64(PICTURES[(seed + i) % len(PICTURES)] + seed.to_bytes(8, "big")) for i in range(3)]
                try:
                    response = client.post("/v1/similarity", json={"images": images, "texts": texts_of(seed)})
                except httpx.HTTPError as error:
                    asked.faults.append(repr(error))
                    continue
                asked.statuses.append(response.status_code)
                if response.status_code == 200:
                    asked.versions.append(named_versions(response))
                stopping.wait(0.02)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        stopping.set()
        for thread in threads:
            thread.join(60)


def named_versions(response: httpx.Response) -> set[str]:
    """The policy versions that an answer names for its items."""
    return {item["tiering"]["policy"] for item in response.json()["data"]}


def write(folder: Path, **changes: Any) -> Path:
    """Write the deployment file: two routers, a store beside it, and changes."""
    two = {"autoscaling": {"min_replicas": 2, "max_replicas": 2}}
    base = {"cache": {"url": f"embedded:{folder / 'cache'}"}, "router": two, "policy": {"threshold": FILES_THRESHOLD}}
    return write_deployment_file(folder / "service.yaml", {**base, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service's files lie."""
    return tmp_path_factory.mktemp("policy")


@pytest.fixture(scope="module")
def bench(folder: Path) -> Iterator[Bench]:
    """The one service."""
    with run_service(write(folder)) as service:
        bench = Bench(folder, service)
        deadline = time.monotonic() + 60
        while len(replicas(service, "Router")) < 2:
            assert time.monotonic() < deadline, service.output
            time.sleep(0.1)
        yield bench


def test_policy_is_applied_under_load_without_a_failed_request(bench: Bench) -> None:
    """No replica is replaced, and each answer names one version, old or new, for all of its items."""
    before, old = bench.replicas(), bench.versions()
    file = bench.policy("threshold: 11\n")

    with under_load(bench.service) as asked:
        answer = bench.apply(file)
        took_s = bench.wait_until_everywhere(answer["version"])
        time.sleep(0.5)

    new = load_policy(file).version
    assert answer == {**answer, "version": new, "applied": True, "in_place": ["policy.threshold"], "rolls": []}
    assert (asked.faults, set(asked.statuses)) == ([], {200})
    assert {len(named) for named in asked.versions} == {1}
    assert set().union(*asked.versions) == {*old, new}
    assert bench.replicas() == before
    assert took_s < IN_FORCE_S


def test_every_router_has_the_policy_when_apply_returns(bench: Bench) -> None:
    """In force on every replica is what it says: no connection finds the old one."""
    for number in range(3):
        answer = bench.apply(bench.policy(f"threshold: {20 + number}\n"))
        assert bench.versions() == {answer["version"]}


def test_invalid_file_changes_nothing_and_names_the_key(bench: Bench) -> None:
    """Nothing has been sent to the service."""
    before = bench.versions()

    done = bench.run("apply", bench.policy("threshold: 3\nroutes: {similarity: {treshold: 1}}\n"))

    assert done.returncode == 1
    assert "routes.similarity.treshold: unknown key; allowed here:" in done.stderr
    assert bench.versions() == before


def test_applied_policy_decides(bench: Bench) -> None:
    """What was applied has its effect: everything, then nothing, takes a second look."""
    body = {"images": [as_base64(PICTURES[0] + b"effect")], "texts": texts_of(3)}
    tiers = []
    for text in ("threshold: 0\n", "target_agreement: 0.99\n"):
        bench.wait_until_everywhere(bench.apply(bench.policy(text))["version"])
        answer = httpx.post(f"{bench.service.base_url}/v1/similarity", json=body, timeout=30).json()
        tiers.append(answer["data"][0]["tiering"]["tier"])

    assert tiers == ["fast", "accurate"]


def test_same_policy_again_is_nothing_to_apply(bench: Bench) -> None:
    """And nothing new in the history."""
    file = bench.policy("threshold: 12\n")
    bench.apply(file)
    history = bench.get("/admin/policy/history")["data"]

    assert bench.apply(file)["applied"] is False
    assert bench.get("/admin/policy/history")["data"] == history


def test_history_over_http_is_what_was_applied(bench: Bench) -> None:
    """Newest first, with what the operator said of it, down to the start."""
    answer = bench.apply(bench.policy("threshold: 13\n"), "--note", "as agreed on Monday")

    history = bench.get("/admin/policy/history")["data"]

    newest, oldest = history[0], history[-1]
    assert (newest["version"], newest["action"], newest["note"]) == (answer["version"], "apply", "as agreed on Monday")
    assert newest["policy"]["threshold"] == 13
    assert (oldest["action"], oldest["policy"]["threshold"]) == ("start", FILES_THRESHOLD)


def test_rollback_returns_to_the_policy_before(bench: Bench) -> None:
    """In place, and as an entry of its own."""
    first = bench.apply(bench.policy("threshold: 14\n"))["version"]
    bench.apply(bench.policy("threshold: 15\n"))
    before = bench.replicas()

    done = bench.run("rollback", "--json", "--note", "too many second looks")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == first
    assert bench.wait_until_everywhere(first) < IN_FORCE_S
    assert bench.replicas() == before
    newest = bench.get("/admin/policy/history")["data"][0]
    assert (newest["action"], newest["version"], newest["note"]) == ("rollback", first, "too many second looks")


def test_rollback_to_a_version_by_its_name(bench: Bench) -> None:
    """The one that the service began with; one that never was is refused."""
    begun_with = bench.get("/admin/policy/history")["data"][-1]["version"]

    done = bench.run("rollback", "--to", begun_with)
    refused = bench.run("rollback", "--to", "p-000000000000")

    assert done.returncode == 0, done.stderr
    assert bench.wait_until_everywhere(begun_with) < IN_FORCE_S
    assert (refused.returncode, "no version p-000000000000" in refused.stderr) == (1, True)


def test_many_policies_are_applied_while_questions_come(bench: Bench) -> None:
    """One after the other, none fails a request, and no replica is replaced."""
    before = bench.replicas()
    applied: set[str] = bench.versions()

    with under_load(bench.service) as asked:
        for number in range(APPLICATIONS):
            applied.add(bench.apply(bench.policy(f"threshold: {30 + number}\n"))["version"])

    assert (asked.faults, set(asked.statuses)) == ([], {200})
    assert {len(named) for named in asked.versions} == {1}
    assert set().union(*asked.versions) <= applied
    assert bench.replicas() == before


def test_audit_records_hold_no_content(bench: Bench) -> None:
    """All items are drawn, both tiers' judgements are there, and nothing of what was asked."""
    bench.apply(bench.policy("threshold: 0.5\naudit_share: 1.0\n"))
    version = bench.get("/admin/policy")["version"]
    secret = "a caption that nobody else has written"
    body = {"images": [as_base64(PICTURES[0] + b"audited")], "texts": [*texts_of(1), secret]}
    httpx.post(f"{bench.service.base_url}/v1/similarity", json=body, timeout=30).raise_for_status()

    records: list[dict[str, Any]] = []
    give_up_at = time.monotonic() + 20
    while not records:
        assert time.monotonic() < give_up_at, bench.service.output
        page = bench.get("/admin/audit?limit=10000")["data"]
        records = [one for one in page if one["policy"] == version and one["share"] == 1.0]
        time.sleep(0.1)

    assert records[0]["lost"] is None
    assert isinstance(records[0]["agrees"], bool)
    assert records[0]["group"] == "similarity/5-8"
    assert not any(word in json.dumps(records) for word in (secret, texts_of(1)[0], as_base64(PICTURES[0])[:40]))


def test_router_that_was_killed_comes_back_with_the_applied_policy(bench: Bench) -> None:
    """Not with the one that it was first deployed with."""
    version = bench.apply(bench.policy("threshold: 16\n"))["version"]
    before = replicas(bench.service, "Router")
    lost = min(before)

    kill(lost)
    wait_for_replacement(bench.service, "Router", before, lost)

    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at:
        with httpx.Client(base_url=bench.service.base_url, timeout=10) as client:
            response = client.get("/admin/policy")
        assert response.status_code != 200 or response.json()["version"] == version
        if response.status_code == 200 and len(replicas(bench.service, "Router")) == 2:
            break
    assert bench.versions() == {version}


def test_apply_while_serves_controller_is_away_does_not_end_the_service(bench: Bench) -> None:
    """It is told, or done when the controller is back; asked again, it is done."""
    (controller,) = controllers(bench.service)
    file = bench.policy("threshold: 18\n")

    kill(controller)
    first = bench.run("apply", file)
    assert bench.service.process.poll() is None, bench.service.output
    wait_until(lambda: bool(controllers(bench.service) - {controller}), 60, "a new controller")
    give_up_at = time.monotonic() + 60
    while bench.run("apply", file).returncode != 0:
        assert time.monotonic() < give_up_at, bench.service.output

    report(f"apply without a controller ended with {first.returncode}: {first.stderr.strip()}")
    bench.wait_until_everywhere(load_policy(file).version)


def test_change_that_replaces_replicas_needs_to_be_allowed(bench: Bench) -> None:
    """Else it is refused whole, by the key's name."""
    version = bench.get("/admin/policy")["version"]
    write(bench.folder, limits={"texts": 9}, policy={"threshold": 17.0})
    before = bench.replicas()

    diff = bench.run("diff", bench.file, "--json")
    refused = bench.run("apply", bench.file)

    assert json.loads(diff.stdout)["rolls"] == ["limits.texts"]
    assert (refused.returncode, "limits.texts" in refused.stderr) == (1, True)
    assert bench.versions() == {version}
    assert bench.replicas() == before


def test_allowed_to_replace_replicas_it_does_so(bench: Bench) -> None:
    """A tier of one replica is away meanwhile: that is told, and no connection is cut."""
    write(bench.folder, limits={"texts": 9}, policy={"threshold": 17.0})
    before = bench.replicas()

    with under_load(bench.service, clients=1) as asked:
        answer = bench.apply(bench.file, "--allow-roll")
        bench.wait_until_everywhere(answer["version"])
        time.sleep(1)

    refused = sum(status in NOT_NOW for status in asked.statuses)
    report(f"{refused} of {len(asked.statuses)} requests were refused while every replica was replaced")
    body = {"images": [as_base64(PICTURES[0])], "texts": [f"text {i}" for i in range(10)]}
    assert httpx.post(f"{bench.service.base_url}/v1/similarity", json=body, timeout=30).status_code == 413
    assert (asked.faults, set(asked.statuses) - NOT_NOW) == ([], {200})
    assert asked.statuses[-1] == 200
    assert all(bench.replicas()[name].isdisjoint(before[name]) for name in TIERS)


def test_service_begins_again_with_what_was_applied_until_its_file_is_edited(bench: Bench) -> None:
    """Twice stopped and started: with the file of the first start, then with an edited one."""
    write(bench.folder)
    applied = bench.apply(bench.policy("threshold: 19\n"))["version"]
    bench.service.stop()
    thresholds = []

    for edited in (None, 21.0):
        if edited is not None:
            write(bench.folder, policy={"threshold": edited})
        with run_service(bench.file) as service:
            policy = Bench(bench.folder, service).get("/admin/policy")
            thresholds.append((policy["policy"]["threshold"], policy["version"] == applied))

    assert thresholds == [(19.0, True), (21.0, False)]
