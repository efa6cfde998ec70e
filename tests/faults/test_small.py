"""Little room: a full disk under the embedded store, damaged entries there, more requests than can be held."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import lmdb
import pytest

from tests.deployment_files import write_deployment_file
from tests.faults.chaos import CALM_S, IS_LONG, again_and_again, report
from tests.faults.flood import flood
from tests.faults.judge import Judge
from tests.faults.load import (
    Load,
    ask,
    new_seed,
    not_answered,
    overdue,
    percentile_ms,
    question,
    wait_until,
)
from tests.faults.processes import kill, replicas, wait_for_replacement
from tests.faults.small_disk import SmallDisk, small_disk
from tests.service_process import REPOSITORY, RunningService, run_service

FEW = {"floor": 8, "initial": 8, "ceiling": 16}
DEADLINE_S = 3.0
RATE = 250.0
FLOOD_S = 20.0 if IS_LONG else 4.0
HEALTHZ_WITHIN_S = 0.5
MOVED_CLOCK = Path(__file__).parent / "moved_clock"
HOUR_S = 3600

OPEN_AND_ASK = """
import asyncio, pathlib, resource, sys
from cache.embedded_store import EmbeddedStore

async def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
    store = await EmbeddedStore.open(pathlib.Path(sys.argv[1]), 1 << 30)
    await store.put_many([(b"key", bytes(500))])
    print(store.is_open, await store.get_many([b"key"]))
    await store.close()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    """Where the store lies."""
    with small_disk(tmp_path_factory.mktemp("small") / "disk") as disk:
        yield disk


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the seconds by which the wall clock of the service's Python processes is moved."""
    file = tmp_path_factory.mktemp("clock") / "moved_by_s"
    file.write_text("0")
    return file


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, disk: SmallDisk, clock: Path) -> Iterator[RunningService]:
    """A service that holds few items, and whose every hit comes from the store."""
    changes = {
        "router": {"admission": {tier: {"images": FEW, "texts": FEW} for tier in ("fast", "accurate")}},
        "cache": {"url": f"embedded:{disk.folder / 'cache'}", "l1_bytes": 0},
    }
    file = write_deployment_file(tmp_path_factory.mktemp("small-service") / "service.yaml", changes)
    environment = {"PYTHONPATH": f"{REPOSITORY}:{MOVED_CLOCK}", "SECONDLOOK_TEST_CLOCK": str(clock)}
    with run_service(file, environment=environment) as service:
        yield service


@pytest.fixture
def client(service: RunningService) -> Iterator[httpx.Client]:
    """An HTTP client of that service."""
    with httpx.Client(base_url=service.base_url, timeout=30) as client:
        yield client


def cache_status(client: httpx.Client) -> dict[str, Any]:
    """What the router says of its cache."""
    status: dict[str, Any] = client.get("/admin/status").json()["cache"]
    return status


def is_hit(client: httpx.Client, seed: int) -> bool:
    """Whether a seed's picture is found."""
    answer = ask(client, seed, DEADLINE_S)
    assert answer.status == 200, str(answer)
    return bool(answer.tiering["cache"]["image"] == "hit")


def store_file(disk: SmallDisk) -> Path:
    """The store's file; the journal beside it has one too."""
    (file,) = [one for one in disk.folder.rglob("data.mdb") if not one.parent.name.endswith(".journal")]
    return file


def test_full_disk_costs_writes_and_no_request(
    service: RunningService, client: httpx.Client, disk: SmallDisk, judge: Judge
) -> None:
    """Everybody is answered while nothing can be stored; what was stored is found; with room, storing goes on."""
    known, new = new_seed(), new_seed()
    wait_until(lambda: is_hit(client, known), 10, "a hit before the fault")
    dropped = cache_status(client)["shared"]["dropped_writes"]
    file = store_file(disk)
    with Load(service.base_url, clients=1) as load:
        load.go_on(CALM_S)
        disk.fill(file, replicas(service, "Router"))
        wait_until(lambda: cache_status(client)["shared"]["dropped_writes"] > dropped, 30, "a write that finds no room")
        found_when_full = is_hit(client, known)
        load.go_on(CALM_S)
        disk.clear(replicas(service, "Router"))
        back_s = wait_until(lambda: is_hit(client, new), 30, "a hit on what was stored afterwards")

    dropped = cache_status(client)["shared"]["dropped_writes"] - dropped
    kind = "file system" if disk.is_mounted else "bound on the file"
    report(f"full {kind}: {len(load.exchanges)} questions, {dropped} writes dropped, stored again after {back_s:.1f} s")
    assert found_when_full
    assert not_answered(load.exchanges) == []
    assert judge.wrong(load.exchanges) == []


def test_store_that_is_opened_on_a_full_disk_is_an_outage(tmp_path: Path) -> None:
    """A router that starts there goes on without it; it does not die."""
    with small_disk(tmp_path / "disk") as disk:
        if disk.is_mounted:
            disk.fill(disk.folder, ())
        most = "-1" if disk.is_mounted else "0"
        command = [sys.executable, "-c", OPEN_AND_ASK, str(disk.folder / "cache"), most]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)

    assert (ended.returncode, ended.stdout) == (0, "False [None]\n"), ended.stderr


def damage(folder: Path) -> int:
    """Flip a bit at the end of whatever is long enough to be a vector; returns how many."""
    damaged = 0
    with lmdb.open(str(folder), max_dbs=3) as environment:
        for name in (b"a", b"b"):
            table = environment.open_db(name)
            with environment.begin(db=table, write=True) as transaction:
                for key, value in list(transaction.cursor()):
                    if len(value) > 100:
                        transaction.put(key, value[:-1] + bytes([value[-1] ^ 1]))
                        damaged += 1
    return damaged


def test_damaged_entries_of_the_store_are_misses(client: httpx.Client, disk: SmallDisk, judge: Judge) -> None:
    """They cost a computation, and no answer is other than the model's."""
    seeds = [new_seed() for _ in range(10)]
    wait_until(lambda: all(is_hit(client, seed) for seed in seeds), 20, "hits before the damage")
    corrupt = cache_status(client)["corrupt"]
    file = store_file(disk)

    damaged = damage(file.parent)
    answers = [ask(client, seed, DEADLINE_S) for seed in seeds]

    assert damaged >= 7 * len(seeds)
    assert [answer.tiering["cache"] for answer in answers] == [{"image": "miss", "texts": {"hit": 0, "miss": 6}}] * 10
    assert cache_status(client)["corrupt"] - corrupt >= 7 * len(seeds)
    assert judge.wrong(answers) == []


def test_flood_is_answered_or_refused_at_once(service: RunningService, judge: Judge) -> None:
    """Several times what can be computed: 200 or 503 with the contract's body, in time; and /healthz stays quick."""
    first = new_seed()
    bodies = [question(first)] + [question(new_seed()) for _ in range(int(RATE * FLOOD_S) - 1)]
    with ThreadPoolExecutor(1) as sender:
        sending = sender.submit(flood, service.base_url, "/v1/similarity", bodies, RATE, DEADLINE_S)
        health = []
        with httpx.Client(base_url=service.base_url, timeout=10) as client:
            while not sending.done():
                began_at = time.monotonic()
                assert client.get("/healthz").status_code == 200
                health.append(time.monotonic() - began_at)
                time.sleep(0.05)
        exchanges = sending.result()

    answered = [replace(one, seed=first + one.seed) for one in exchanges if one.status == 200]
    refused = [one for one in exchanges if one.status == 503]
    report(
        f"flood of {RATE:.0f}/s: {len(answered)} answered (p50 {percentile_ms(answered, 0.5):.0f}, p99 "
        f"{percentile_ms(answered, 0.99):.0f} ms), {len(refused)} refused (p50 {percentile_ms(refused, 0.5):.0f}, "
        f"p99 {percentile_ms(refused, 0.99):.0f} ms); /healthz at most {max(health) * 1e3:.0f} ms"
    )
    assert {one.status for one in exchanges} == {200, 503}, [
        str(one) for one in exchanges if one.status not in (200, 503)
    ]
    assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
    assert {one.body["error"]["code"] for one in refused} == {"overloaded"}
    assert {frozenset(one.body["error"]) for one in refused} == {frozenset({"message", "type", "code", "param"})}
    assert overdue(exchanges, DEADLINE_S) == []
    assert max(health) < HEALTHZ_WITHIN_S
    assert judge.wrong(answered) == []


@again_and_again
def test_wall_clock_that_jumps_changes_nothing(
    service: RunningService, client: httpx.Client, clock: Path, judge: Judge, attempt: int
) -> None:
    """An hour ahead and back again, under load: nobody is late or refused, and what dies is still replaced."""
    known = new_seed()
    wait_until(lambda: is_hit(client, known), 10, "a hit before the jumps")
    before = {name: replicas(service, name) for name in ("Router", "Fast", "Accurate")}
    with Load(service.base_url, clients=1, deadline_s=DEADLINE_S) as load:
        for hours in (1, 0):
            clock.write_text(str(hours * HOUR_S))
            load.go_on(2 * CALM_S)
            assert is_hit(client, known)
        assert {name: replicas(service, name) for name in before} == before

    (lost,) = replicas(service, "Accurate")
    kill(lost)
    replaced_s = wait_for_replacement(service, "Accurate", {lost}, lost)

    report(
        f"clock moved: {len(load.exchanges)} questions, p99 {percentile_ms(load.exchanges, 0.99):.0f} ms; "
        f"a replica that is killed afterwards is replaced after {replaced_s:.1f} s"
    )
    assert not_answered(load.exchanges) == []
    assert overdue(load.exchanges, DEADLINE_S) == []
    assert judge.wrong(load.exchanges) == []
