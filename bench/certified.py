"""Scenario `certified`: calibrate over HTTP, serve fresh questions, then harder ones until the audit's alarm."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from bench.figures import Figure, Findings, Promise
from bench.load_process import REPOSITORY
from bench.scenario import Options, say
from bench.scene_questions import SceneQuestion, Served, scene_questions, serve, write_questions
from demo.evaluate import HARD
from tests.deployment_files import write_deployment_file
from tests.service_process import run_service

TARGET, CONFIDENCE = 0.98, 0.95
QUESTIONS = 5000
AFTER_ALARM = 1000
HARDER = 15
"""Captions that differ in one thing: with 15 of 16 instead of 5 the served answers differ about twice as often."""
CALIBRATION_SEED, FRESH_SEED, HARDER_SEED, LATER_SEED = 4001, 4002, 4003, 4004
CHUNK = 250
AUDIT_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Questions that were served, beside what the accurate tier says of each."""

    served: Sequence[Served]
    accurate: Sequence[Served]

    @property
    def agreement(self) -> float:
        """Share of answers, degraded ones apart, that are the accurate tier's."""
        kept = [
            one.best == other.best for one, other in zip(self.served, self.accurate, strict=True) if not one.degraded
        ]
        return sum(kept) / len(kept)

    @property
    def escalation(self) -> float:
        """Share that took a second look."""
        return sum(one.tier == "accurate" for one in self.served) / len(self.served)

    @property
    def degraded(self) -> int:
        """Answers that were marked."""
        return sum(one.degraded is not None for one in self.served)


Audited = tuple[Stretch, dict[str, Any]]
"""What was served, and what the audit knew afterwards."""


def measure_certified(options: Options) -> Findings:
    """Calibrate, serve, drift; the quick start's models, with every decision audited."""
    file = write_deployment_file(
        options.folder / "certified.yaml",
        {"cache": {"url": f"embedded:{options.folder / 'certified-cache'}"}, "policy": {"audit_share": 0.0}},
    )
    policy = _write_policy(options.folder / "policy.yaml")
    with run_service(file) as service:
        say(f"certified: calibrating on {QUESTIONS} questions")
        questions = write_questions(options.folder / "scenes", scene_questions(QUESTIONS, CALIBRATION_SEED))
        calibration = _calibrate(service.base_url, policy, questions)
        _command("policy", "apply", str(policy), "--url", service.base_url)
        say(f"certified: serving {QUESTIONS} fresh questions")
        fresh = _serve(service.base_url, list(scene_questions(QUESTIONS, FRESH_SEED)))
        quiet = _audit(service.base_url, len(fresh.served))
        say("certified: serving harder questions until the alarm")
        drifted, alarm = _until_alarm(service.base_url)
        say(f"certified: serving {AFTER_ALARM} more")
        later = _serve(service.base_url, list(scene_questions(AFTER_ALARM, LATER_SEED, HARDER)))
    samples = {
        "calibration": [calibration],
        "fresh": [_document(fresh, quiet)],
        "harder": [_document(drifted, alarm)],
        "after the alarm": [_document(later, None)],
    }
    return Findings(_figures(calibration, (fresh, quiet), (drifted, alarm), later), samples, _notes())


def _figures(
    calibration: dict[str, Any],
    fresh: tuple[Stretch, dict[str, Any]],
    drifted: tuple[Stretch, dict[str, Any]],
    later: Stretch,
) -> list[Figure]:
    (calm, quiet), (hard, alarm) = fresh, drifted
    chosen = calibration["chosen"]
    return [
        Figure("certified: margin below which a second look is due", "logits", chosen["threshold"]),
        Figure("  second looks in the sample", "%", 100 * chosen["escalation_share"]),
        Figure("  agreement at least", "%", 100 * chosen["agreement_bound"]),
        Figure(
            f"{len(calm.served)} fresh questions: agreement",
            "%",
            100 * calm.agreement,
            promise=Promise("ours", at_least=100 * TARGET),
        ),
        Figure("  second looks", "%", 100 * calm.escalation, promise=Promise("ours", at_most=99.9)),
        Figure("  degraded", "answers", calm.degraded),
        Figure("  false alarms", "", float(quiet["is_alarmed"]), promise=Promise("ours", at_most=0)),
        Figure("harder questions: audits until the alarm", "", alarm["audits"] - quiet["audits"]),
        Figure("  alarms", "", float(alarm["is_alarmed"]), promise=Promise("ours", at_least=1)),
        Figure("  agreement before it", "%", 100 * hard.agreement),
        Figure(
            "  agreement after it",
            "%",
            100 * later.agreement,
            promise=Promise("ours", at_least=100 * TARGET),
        ),
        Figure("  second looks after it", "%", 100 * later.escalation),
    ]


def _notes() -> list[str]:
    return [
        f"target {TARGET:.0%} at {CONFIDENCE:.0%} confidence",
        "every decision is audited: the monitor sees in minutes what it sees in hours of an audit of 1 %",
        f"of 16 captions {HARD} differ in one thing from the true one, of the harder {HARDER}",
    ]


def _write_policy(file: Path) -> Path:
    document = {
        "target_agreement": TARGET,
        "confidence": CONFIDENCE,
        "audit_share": 1.0,
        "certificates": "policy.certificates.json",
    }
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


def _calibrate(base_url: str, policy: Path, questions: Path) -> dict[str, Any]:
    said = _command("calibrate", str(policy), "--questions", str(questions), "--url", base_url, "--json")
    (group,) = json.loads(said)["groups"]
    return {name: group[name] for name in ("group", "count", "lost", "chosen", "temperature", "calibration_error")}


def _command(*arguments: str) -> str:
    command = [sys.executable, "-m", "secondlook", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return done.stdout


def _serve(base_url: str, questions: Sequence[SceneQuestion]) -> Stretch:
    served = serve(base_url, questions)
    return Stretch(served, serve(base_url, questions, "accurate"))


def _until_alarm(base_url: str) -> tuple[Stretch, dict[str, Any]]:
    """Serve in chunks, at most as many as the fresh ones were."""
    served: list[Served] = []
    accurate: list[Served] = []
    audits = _audit(base_url, 0)["audits"]
    for number in range(QUESTIONS // CHUNK):
        stretch = _serve(base_url, list(scene_questions(CHUNK, HARDER_SEED + 1000 * number, HARDER)))
        served += stretch.served
        accurate += stretch.accurate
        state = _audit(base_url, audits + len(served))
        if state["is_alarmed"]:
            break
    return Stretch(served, accurate), state


def _audit(base_url: str, audits: int) -> dict[str, Any]:
    """Wait until the audit has counted so many items, or raised the alarm; return what it knows."""
    give_up_at = time.monotonic() + AUDIT_PATIENCE_S
    while True:
        (certificate,) = httpx.get(f"{base_url}/admin/policy").json()["certificates"]
        state: dict[str, Any] = certificate["audit"] or {"audits": 0, "is_alarmed": False}
        if state["audits"] >= audits or state["is_alarmed"] or time.monotonic() > give_up_at:
            return state
        time.sleep(0.2)


def _document(stretch: Stretch, audit: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "questions": len(stretch.served),
        "agreement": stretch.agreement,
        "escalation": stretch.escalation,
        "degraded": stretch.degraded,
        "policies": sorted({one.policy for one in stretch.served}),
        "audit": audit,
    }
