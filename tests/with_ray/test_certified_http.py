"""The certified cascade from end to end: calibrate, apply, serve, drift, alarm, calibrate anew; in short.

`python -m bench --only certified` is the long form, with figures.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bench.scene_questions import SceneQuestion, Served, scene_questions, serve, write_questions
from tests.deployment_files import write_deployment_file
from tests.service_process import REPOSITORY, RunningService, run_service

TARGET = 0.93
SAMPLE, FRESH = 400, 250
HARDEST = 15
MOST_HARD = 1500
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """The quick start's models, every decision audited."""
    folder = tmp_path_factory.mktemp("certified")
    file = write_deployment_file(
        folder / "service.yaml",
        {"cache": {"url": f"embedded:{folder / 'cache'}"}, "policy": {"audit_share": 1.0}},
    )
    with run_service(file) as service:
        yield service


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that names a target and where its certificates are."""
    file = tmp_path_factory.mktemp("policy") / "policy.yaml"
    document = {"target_agreement": TARGET, "audit_share": 1.0, "certificates": "certificates.json"}
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


def secondlook(service: RunningService, *arguments: str) -> tuple[int, str]:
    """Run a command against the service."""
    command = [sys.executable, "-m", "secondlook", *arguments, "--url", service.base_url]
    done = subprocess.run(command, check=False, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, timeout=120)
    return done.returncode, done.stdout


def certificate(service: RunningService) -> dict[str, Any]:
    """The one certificate, as the service describes it."""
    (described,) = httpx.get(f"{service.base_url}/admin/policy").json()["certificates"]
    assert isinstance(described, dict)
    return described


def written(service: RunningService) -> int:
    """How many audits have been written down, lost ones included."""
    return int(httpx.get(f"{service.base_url}/admin/policy").json()["audit"]["written"])


def wait_for_audits(service: RunningService, count: int) -> None:
    """Wait until the audit has caught up: it yields to callers, and loses what it can't keep up with."""
    give_up_at = time.monotonic() + PATIENCE_S
    while written(service) < count:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def agreement(service: RunningService, questions: Sequence[SceneQuestion], served: Sequence[Served]) -> float:
    """The share of answers that are the accurate tier's."""
    accurate = serve(service.base_url, questions, "accurate")
    return sum(one.best == other.best for one, other in zip(served, accurate, strict=True)) / len(served)


def test_policy_with_a_target_looks_twice_at_everything_until_it_is_certified(
    service: RunningService, policy: Path
) -> None:
    """And its dry run says so, with exit code 1."""
    questions = list(scene_questions(20, 11))

    secondlook(service, "policy", "apply", str(policy))
    code, said = secondlook(service, "policy", "dry-run", str(policy), "--json")

    assert {one.tier for one in serve(service.base_url, questions)} == {"accurate"}
    assert (code, json.loads(said)["certified"]) == (1, False)


def test_calibrated_policy_keeps_its_target_with_fewer_second_looks(service: RunningService, policy: Path) -> None:
    """Calibrated cold, applied, served; each answer names the policy that decided it."""
    questions = write_questions(policy.parent / "scenes", scene_questions(SAMPLE, 12))
    code, _ = secondlook(service, "calibrate", str(policy), "--questions", str(questions))
    assert code == 0
    _, done = secondlook(service, "policy", "apply", str(policy), "--json")

    fresh = list(scene_questions(FRESH, 13))
    served = serve(service.base_url, fresh)

    assert {one.policy for one in served} == {json.loads(done)["version"]}
    assert certificate(service)["standing"] == "holds"
    assert 0 < sum(one.tier == "fast" for one in served) < FRESH
    assert agreement(service, fresh, served) >= TARGET


def test_harder_questions_raise_the_alarm_and_everything_is_looked_at_twice(service: RunningService) -> None:
    """Agreement is back over the target without anybody's doing."""
    for seed in range(100, 100 + MOST_HARD // 100):
        before = written(service)
        serve(service.base_url, list(scene_questions(100, seed, HARDEST)))
        wait_for_audits(service, before + 100)
        if certificate(service)["standing"] == "alarm":
            break
    give_up_at = time.monotonic() + PATIENCE_S
    while certificate(service)["standing"] != "alarm":
        assert time.monotonic() < give_up_at, certificate(service)
        time.sleep(0.2)

    questions = list(scene_questions(50, 14, HARDEST))
    served = serve(service.base_url, questions)

    assert {one.tier for one in served} == {"accurate"}
    assert agreement(service, questions, served) == 1.0


def test_new_certificate_from_audited_traffic_ends_the_alarm(service: RunningService, policy: Path) -> None:
    """It rests on what was served meanwhile, and asks for more second looks than the one before."""
    before = certificate(service)

    code, _ = secondlook(service, "calibrate", str(policy))
    assert code == 0
    secondlook(service, "policy", "apply", str(policy))

    after = certificate(service)
    assert (after["standing"], after["source"]) == ("holds", "audit log")
    assert after["threshold"] > before["threshold"]


def test_rolled_back_certificate_is_still_given_up(service: RunningService) -> None:
    """An alarm is of the certificate, not of the moment."""
    secondlook(service, "policy", "rollback")

    assert certificate(service)["standing"] == "alarm"
