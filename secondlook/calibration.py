"""Take the sample that a calibration rests on, from a running service."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx

from jobs.audit_pages import read_audits
from jobs.both_tiers import ask_both
from jobs.calibrate import cold_samples
from jobs.questions import FileQuestion
from router.audit_sample import GroupSample, group_samples
from router.dry_run import Costs
from router.policy import RouteName
from router.policy_in_force import Models
from secondlook.credentials import authorization
from secondlook.errors import CalibrationFailed
from secondlook.progress import progress
from secondlook.similarity import TIMEOUT_S, connect, fetch


def models_of(url: str) -> Models:
    """Ask the service for its models' full names.

    Raises:
        QueryFailed: No service there.
        CalibrationFailed: A tier has not come up.
    """
    with connect(url, is_admin=True) as client:
        models: dict[str, Any] = fetch(client, "GET", "/admin/policy", expects="models")["models"]
    if not models["fast"] or not models["accurate"]:
        raise CalibrationFailed("a tier of the service has not come up")
    return Models(models["fast"], models["accurate"])


def costs_of(url: str) -> Costs:
    """Ask the service what an image has lately taken on each tier's encoder; raises QueryFailed."""
    with connect(url, is_admin=True) as client:
        tiers = fetch(client, "GET", "/admin/status", expects="tiers")["tiers"]
    return Costs(tiers["fast"]["image_ms"], tiers["accurate"]["image_ms"])


def audited(url: str, models: Models, since: datetime | None) -> tuple[GroupSample, ...]:
    """Sample from the audit log; raises JobError where it can't be read."""
    with connect(url, is_admin=True) as client, progress("audit log", None) as advance:
        records = read_audits(client, advance, since)
    return group_samples(records, (models.fast or "", models.accurate or ""))


async def asked(url: str, questions: Sequence[FileQuestion], route: RouteName) -> tuple[GroupSample, ...]:
    """Sample by asking both tiers; raises JobError where they do not answer."""
    with progress("questions", len(questions)) as advance:
        headers = authorization(is_admin=False)
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_S) as client:
            pairs = await ask_both(client, questions, advance)
    return tuple(cold_samples(pairs, len(questions), route))
