"""What operators ask of the policy: as it stands, whether another is valid, what another would do, what was before."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgpack
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cache.errors import JournalUnavailable
from cache.journal import Entry, Journal
from router.agreement_monitor import recent_agreement
from router.agreement_watch import AgreementWatch
from router.audit_log import LOG, AuditLog
from router.audit_record import AuditRecord, read_record
from router.certificate import Certificate
from router.dry_run import Costs, DryRun, dry_run
from router.embedder import Embedder
from router.errors import InvalidRequest, Unavailable
from router.http import MAX_PARAM_CHARS
from router.policy import Policy
from router.policy_history import HISTORY, HISTORY_KEPT
from router.policy_in_force import Models, PolicyInForce

PER_READ = 10_000
MAX_RECORDS = 200_000


class DryRunRequest(BaseModel):
    """A policy to try on what was recorded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: dict[str, Any] = Field(description="The policy document, certificates in it.")
    records: int = Field(default=50_000, ge=1, le=MAX_RECORDS, description="So many of the newest audit records.")


@dataclass(frozen=True, slots=True)
class PolicyAdmin:
    """The operators' side of the policy."""

    fast: Embedder
    accurate: Embedder
    journal: Journal
    log: AuditLog
    watch: AgreementWatch

    @property
    def models(self) -> Models:
        """Both tiers' models, by their full names."""
        return Models(self.fast.full_name, self.accurate.full_name)

    def describe(self, policy: PolicyInForce) -> dict[str, Any]:
        """The policy in force, its certificates and how each stands, and the audit."""
        return {
            "version": policy.version,
            "policy": policy.policy.model_dump(mode="json", exclude={"certificates"}),
            "models": asdict(self.models),
            "certificates": [self._describe(policy, one) for one in policy.policy.certificates],
            "audit": {"written": self.log.written, "dropped": self.log.dropped},
        }

    def validate(self, document: dict[str, Any]) -> dict[str, Any]:
        """Check a policy document as `apply` would.

        Raises:
            InvalidRequest: It is not valid; `param` is the key.
        """
        policy = PolicyInForce(_policy(document), self.watch.state.alarms)
        return {"valid": True, **self.describe(policy)}

    async def dry_run(self, request: DryRunRequest, current: PolicyInForce) -> dict[str, Any]:
        """Replay the newest records under a policy.

        Raises:
            InvalidRequest: The policy is not valid.
            Unavailable: The audit log can't be read.
        """
        proposed = PolicyInForce(_policy(request.policy), self.watch.state.alarms)
        entries = await self._read_last(LOG, request.records)
        costs = Costs(self.fast.calls.image_ms, self.accurate.calls.image_ms)
        report = await asyncio.to_thread(_replay, entries, proposed, current, self.models, costs)
        return {
            "versions": {"current": current.version, "proposed": proposed.version},
            "certified": report.is_certified,
            **asdict(report),
        }

    async def history(self) -> dict[str, Any]:
        """What was applied, newest first.

        Raises:
            Unavailable: The journal can't be reached.
        """
        entries = await self._read_last(HISTORY, HISTORY_KEPT)
        return {"data": [applied for applied in map(_read_applied, entries) if applied is not None]}

    async def audit_page(self, after: str, limit: int) -> dict[str, Any]:
        """Records of the audit log, oldest first, of those after a position.

        Raises:
            Unavailable: The journal can't be reached.
        """
        try:
            entries = await self.journal.read(LOG, after=after, limit=limit)
        except JournalUnavailable as error:
            raise Unavailable("the journal can't be reached", retry_after_s=1) from error
        except ValueError as error:
            raise InvalidRequest("after: expected the position of an earlier answer", "after") from error
        records = [record for record in map(_as_json, entries) if record is not None]
        return {"data": records, "next": entries[-1].position if entries else None}

    def _describe(self, policy: PolicyInForce, certificate: Certificate) -> dict[str, Any]:
        facts = certificate.model_dump(mode="json", exclude={"grid", "errors_at", "served_at"})
        state = self.watch.state.certificates.get(certificate.id)
        facts |= {"id": certificate.id, "standing": policy.standing(certificate, self.models), "audit": None}
        if state is not None:
            agreement, bound = recent_agreement(state, certificate.confidence)
            facts["audit"] = {
                "audits": state.audits,
                "disagreements": state.disagreements,
                "recent_agreement": agreement,
                "recent_agreement_bound": bound,
                "is_alarmed": state.is_alarmed,
            }
        return facts

    async def _read_last(self, log: str, limit: int) -> list[Entry]:
        try:
            return await self.journal.read_last(log, limit)
        except JournalUnavailable as error:
            raise Unavailable("the journal can't be reached", retry_after_s=1) from error


def _policy(document: dict[str, Any]) -> Policy:
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        param = ".".join(str(part) for part in first["loc"])[:MAX_PARAM_CHARS] or None
        raise InvalidRequest(f"{param or 'policy'}: {first['msg']}"[:300], param) from error


def _replay(
    entries: Sequence[Entry], proposed: PolicyInForce, current: PolicyInForce, models: Models, costs: Costs
) -> DryRun:
    return dry_run([record for record in map(_read, entries) if record is not None], proposed, current, models, costs)


def _read(entry: Entry) -> AuditRecord | None:
    try:
        return read_record(entry.record)
    except ValueError:
        return None


def _read_applied(entry: Entry) -> object:
    """An entry of the history as it was written, None where it is none."""
    try:
        return json.loads(entry.record)
    except ValueError:
        return None


def _as_json(entry: Entry) -> dict[str, Any] | None:
    """A record with whatever fields it has, None where it is none."""
    if _read(entry) is None:
        return None
    fields: dict[str, Any] = msgpack.unpackb(entry.record)
    # JSON has no infinity; every item takes a second look.
    threshold = fields.get("threshold")
    return {**fields, "position": entry.position, "threshold": None if threshold == float("inf") else threshold}
