"""What operators' routes answer, as OpenAPI says it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from router.policy_history import Applied

PAGE, MAX_PAGE = 1000, 10_000
"""Records of a page of the audit log: unless told otherwise, and at most."""


class TierStatus(BaseModel):
    """One tier, as one router replica sees it."""

    model: str | None
    breaker: Literal["closed", "open", "half_open"]
    held_items: int
    limits: dict[str, int]
    image_ms: float | None = Field(description="The encoder's time that an image has lately taken, in batches.")
    single_flight_joins: int
    items: int
    calls: int
    shed: int
    timed_out: int
    unreachable: int
    abandoned: int
    refused: int


class AuditState(BaseModel):
    """What the live audit has seen of a certificate."""

    audits: int
    disagreements: int
    recent_agreement: float
    recent_agreement_bound: float
    is_alarmed: bool


class CertificateStatus(BaseModel):
    """A certificate, without its counts, and whether it counts."""

    model_config = ConfigDict(extra="allow")

    id: str
    group: str
    fast_model: str
    accurate_model: str
    target_agreement: float
    confidence: float
    threshold: float | None
    agreement_bound: float
    escalation_share: float
    standing: Literal["holds", "void", "alarm", "too_weak"]
    audit: AuditState | None


class AuditCounts(BaseModel):
    """What this router has written of the audit log."""

    written: int
    dropped: int


class StatusAnswer(BaseModel):
    """The answer of /admin/status."""

    policy: dict[str, Any]
    requests: dict[str, int]
    tiers: dict[Literal["fast", "accurate"], TierStatus]
    cache: dict[str, Any]
    certificates: list[CertificateStatus] = []
    audit: AuditCounts | None = None


class PolicyAnswer(BaseModel):
    """A policy, certificates apart, and how each of those stands."""

    version: str
    policy: dict[str, Any]
    models: dict[Literal["fast", "accurate"], str | None]
    certificates: list[CertificateStatus]
    audit: AuditCounts


class ValidateAnswer(PolicyAnswer):
    """The policy that was sent, as it would be in force."""

    valid: Literal[True]


class ReplayAnswer(BaseModel):
    """One group of questions under one policy."""

    group: str
    threshold: float | None
    certificate: str | None
    target_agreement: float | None
    items: int
    lost: int
    escalation_share: float
    degraded_share: float
    agreement: float
    agreement_bound: float
    is_certified: bool | None
    items_per_s: float
    accurate_items_per_s: float
    replica_hours_per_million: float | None


class DryRunAnswer(BaseModel):
    """A proposed policy beside the one in force, on the same records."""

    versions: dict[Literal["current", "proposed"], str]
    certified: bool
    records: int
    from_other_models: int
    lost: dict[str, int]
    seconds: float
    current: list[ReplayAnswer]
    proposed: list[ReplayAnswer]


class HistoryAnswer(BaseModel):
    """Policies that were applied, newest first."""

    data: list[Applied]


class AuditRecordAnswer(BaseModel):
    """One audited item."""

    model_config = ConfigDict(extra="allow")

    position: str
    at: float
    group: str
    policy: str
    margin: float | None
    agrees: bool | None
    lost: str | None


class AuditAnswer(BaseModel):
    """A page of the audit log, oldest first; `next` is the `after` of the page that follows."""

    data: list[AuditRecordAnswer]
    next: str | None
