"""Two replicas of everything, under load: one is killed or stands still, and hardly anybody notices."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.deployment_files import write_deployment_file
from tests.faults.chaos import CALM_S, again_and_again, report
from tests.faults.judge import Judge
from tests.faults.load import Load, ask, degraded, new_seed, not_answered, overdue, percentile_ms, wait_until
from tests.faults.processes import controllers, end_if_running, haproxies, kill, replicas, stop, wait_for_replacement
from tests.service_process import RunningService, run_service

DEPLOYMENTS = ("Router", "Fast", "Accurate")
PAIR = {"autoscaling": {"min_replicas": 2, "max_replicas": 2}, "resources": {"num_cpus": 0.1}}
HEALTH = {"health": {"period_s": 1.0, "timeout_s": 2.0}, "graceful_shutdown_s": 3}
STUCK_DEADLINE_S = 2.0
INGRESS_BACK_WITHIN_S = 15.0
DISCONNECTED = {"ConnectError", "ReadError", "RemoteProtocolError"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the deployment file lies."""
    return tmp_path_factory.mktemp("pairs") / "service.yaml"


def write(file: Path, **fast: object) -> Path:
    """Write the file: two of each, and everything takes a second look."""
    changes = {
        "tiers": {"fast": {**PAIR, **HEALTH, **fast}, "accurate": {**PAIR, **HEALTH}},
        "router": PAIR,
        "policy": {"threshold": 1000.0},
        "cache": {"url": f"embedded:{file.parent / 'cache'}"},
    }
    return write_deployment_file(file, changes)


@pytest.fixture(scope="module")
def service(file: Path) -> Iterator[RunningService]:
    """A service with two replicas of each deployment, all of them up."""
    with run_service(write(file)) as service:
        wait_until(lambda: all(len(replicas(service, one)) == 2 for one in DEPLOYMENTS), 60, "two replicas of each")
        wait_until(lambda: all(is_answered(service) for _ in range(8)), 60, "an answer from each")
        yield service


def is_answered(service: RunningService) -> bool:
    """Whether a question on a connection of its own gets its second look."""
    with httpx.Client(base_url=service.base_url, timeout=20) as client:
        return ask(client, new_seed(), 10).is_second_look


@again_and_again
@pytest.mark.parametrize("deployment", ["Fast", "Accurate"])
def test_killed_replica_of_two_costs_at_most_what_was_in_flight(
    service: RunningService, judge: Judge, deployment: str, attempt: int
) -> None:
    """Everybody is answered in time and rightly; those who were on it may have to do without a second look."""
    before = replicas(service, deployment)
    with Load(service.base_url) as load:
        load.go_on(CALM_S)
        lost = min(before)
        kill(lost)
        replaced_s = wait_for_replacement(service, deployment, before, lost)
        load.go_on(CALM_S)

    report(
        f"{deployment} killed: {len(load.exchanges)} questions, {len(degraded(load.exchanges))} degraded, "
        f"p99 {percentile_ms(load.exchanges, 0.99):.0f} ms, new process after {replaced_s:.1f} s"
    )
    assert not_answered(load.exchanges) == []
    assert len(degraded(load.exchanges)) <= load.clients
    assert overdue(load.exchanges, load.deadline_s) == []
    assert judge.wrong(load.exchanges) == []


@again_and_again
def test_killed_router_of_two_costs_at_most_what_was_in_flight_on_it(
    service: RunningService, judge: Judge, attempt: int
) -> None:
    """The ingress sends on to the other at once, and the lost one is replaced."""
    before = replicas(service, "Router")
    with Load(service.base_url) as load:
        load.go_on(CALM_S)
        lost = min(before)
        killed_at = time.monotonic()
        kill(lost)
        replaced_s = wait_for_replacement(service, "Router", before, lost)
        load.go_on(CALM_S)

    failed = not_answered(load.exchanges)
    report(
        f"Router killed: {len(load.exchanges)} questions, failed {[str(one) for one in failed]}, "
        f"new process after {replaced_s:.1f} s"
    )
    assert len(failed) <= load.clients
    assert not_answered(load.since(killed_at + 0.1)) == []
    assert overdue(load.exchanges, load.deadline_s) == []
    assert judge.wrong(load.exchanges) == []


@again_and_again
def test_stuck_fast_replica_of_two_is_replaced_and_nobody_hangs(
    service: RunningService, judge: Judge, attempt: int
) -> None:
    """It stands still with its connections open: its questions end with their deadline, the others are answered."""
    before = replicas(service, "Fast")
    stuck = min(before)
    with Load(service.base_url, deadline_s=STUCK_DEADLINE_S) as load:
        load.go_on(CALM_S)
        stopped_at = time.monotonic()
        stop(stuck)
        try:
            replaced_s = wait_for_replacement(service, "Fast", before, stuck)
        finally:
            end_if_running(stuck)
        replaced_at = time.monotonic()
        load.go_on(CALM_S)

    meanwhile = [one for one in load.since(stopped_at) if one.began_at < replaced_at]
    failed = not_answered(load.exchanges)
    report(
        f"Fast stuck: replaced after {replaced_s:.1f} s; meanwhile {len(meanwhile)} questions, {len(failed)} failed "
        f"{Counter(str(one.status) for one in failed)}, longest {max(one.took_s for one in load.exchanges):.2f} s"
    )
    assert overdue(load.exchanges, STUCK_DEADLINE_S) == []
    assert {one.status for one in load.exchanges} <= {200, 408}
    assert len(failed) <= 2 * load.clients
    assert not_answered(load.since(replaced_at)) == []
    assert judge.wrong(load.exchanges) == []


@again_and_again
def test_killed_ingress_comes_back(service: RunningService, judge: Judge, attempt: int) -> None:
    """Until HAProxy runs again connections are refused; until it knows the routers it says 503; then all is well."""
    (lost,) = haproxies(service)
    with Load(service.base_url) as load:
        load.go_on(CALM_S)
        killed_at = time.monotonic()
        kill(lost)
        wait_until(lambda: any(one.status == 200 for one in load.since(killed_at)), 60, "an answer")
        back_s = time.monotonic() - killed_at
        load.go_on(CALM_S)

    failed = not_answered(load.exchanges)
    report(f"HAProxy killed: back after {back_s:.1f} s; {Counter(one.fault or one.status for one in failed)}")
    assert {one.fault for one in failed} <= {*DISCONNECTED, ""}
    assert all(one.body["error"]["code"] == "unavailable" for one in failed if one.status)
    assert all(one.headers["retry-after"] == "1" for one in failed if one.status)
    assert not_answered(load.since(killed_at + back_s)) == []
    assert back_s < INGRESS_BACK_WITHIN_S
    assert judge.wrong(load.exchanges) == []


@again_and_again
def test_killed_controller_is_not_missed(service: RunningService, judge: Judge, attempt: int) -> None:
    """Who decides what is to run is gone for some seconds; what runs goes on."""
    before = {name: replicas(service, name) for name in DEPLOYMENTS}
    (lost,) = controllers(service)
    with Load(service.base_url) as load:
        load.go_on(CALM_S)
        kill(lost)
        back_s = wait_until(lambda: bool(controllers(service) - {lost}), 60, "a new controller")
        load.go_on(2 * CALM_S)

    report(f"controller killed: {len(load.exchanges)} questions, new process after {back_s:.1f} s")
    assert not_answered(load.exchanges) == []
    assert degraded(load.exchanges) == []
    assert judge.wrong(load.exchanges) == []
    assert {name: replicas(service, name) for name in DEPLOYMENTS} == before


def test_downscale_under_load_fails_nobody(service: RunningService, file: Path, judge: Judge) -> None:
    """SIGHUP with one fast replica where there were two: the one that goes finishes what it has."""
    assert len(replicas(service, "Fast")) == 2
    write(file, autoscaling={"min_replicas": 1, "max_replicas": 1})
    with Load(service.base_url) as load:
        load.go_on(CALM_S)
        os.kill(service.pid, signal.SIGHUP)
        gone_s = wait_until(lambda: len(replicas(service, "Fast")) == 1, 60, "one fast replica")
        load.go_on(CALM_S)

    report(f"downscale: gone after {gone_s:.1f} s, {len(load.exchanges)} questions")
    assert not_answered(load.exchanges) == []
    assert degraded(load.exchanges) == []
    assert judge.wrong(load.exchanges) == []


def test_sigterm_under_load_answers_whoever_was_let_in(service: RunningService, judge: Judge) -> None:
    """The last test of this service: it drains. Later questions find the door closed."""
    with Load(service.base_url, clients=8, keeps_connections=False) as load:
        load.go_on(CALM_S)
        asked_at = time.monotonic()
        os.kill(service.pid, signal.SIGTERM)
        code = service.process.wait(60)
        ended_s = time.monotonic() - asked_at

    in_flight = load.at(asked_at)
    turned_away = Counter(one.fault or one.status for one in not_answered(load.exchanges))
    report(f"SIGTERM: {len(in_flight)} in flight, ended after {ended_s:.1f} s; turned away: {turned_away}")
    assert code == 0
    assert not_answered(in_flight) == []
    assert set(turned_away) <= DISCONNECTED
    assert judge.wrong(load.exchanges) == []
