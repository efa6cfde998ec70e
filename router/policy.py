"""The policy: when to take a second look, and what to do when one can't be had."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from router.certificate import Certificate

DegradedMode = Literal["answer", "fail"]
RouteName = Literal["similarity", "classify", "score", "rerank", "search"]
# One of them says when a second look is due; a route that names one of them does not inherit the others.
_AIMS = ("threshold", "target_agreement")
DEFAULT_THRESHOLD = 1.0


def or_path(schema: dict[str, Any]) -> None:
    """Say in a JSON Schema that a file may hold the path of another file instead."""
    own = dict(schema)
    schema.clear()
    schema["anyOf"] = [own, {"type": "string"}]
    for note in ("title", "description", "default"):
        if note in own:
            schema[note] = own.pop(note)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RouteRule(_Strict):
    """What one route does otherwise than the rest of the policy; what it leaves out is the policy's."""

    threshold: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="Margin below which a second look is taken here."
    )
    target_agreement: float | None = Field(default=None, ge=0.5, lt=1, description="The target here.")
    confidence: float | None = Field(default=None, ge=0.5, lt=1, description="The certificate's confidence here.")
    escalation_budget: float | None = Field(default=None, ge=0, le=1, description="Share of second looks here.")
    escalations_per_s: float | None = Field(default=None, gt=0, description="Second looks per second here.")
    degraded: DegradedMode | None = Field(default=None, description="What to do here without the accurate tier.")
    audit_share: float | None = Field(default=None, ge=0, le=1, description="Share of audited items here.")
    deadline_s: float | None = Field(default=None, gt=0, description="Seconds that a request may take here.")

    @model_validator(mode="after")
    def _has_one_aim(self) -> Self:
        if self.threshold is not None and self.target_agreement is not None:
            raise ValueError("give either a threshold or a target_agreement")
        return self


class Rule(_Strict):
    """What one route goes by, everything filled in."""

    threshold: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Margin (difference of the two best logits) below which a second look is taken; 0: never. "
        "1.0 where neither this nor a target is given.",
    )
    target_agreement: float | None = Field(
        default=None,
        ge=0.5,
        lt=1,
        description="In place of a threshold: the share of answers that are to agree with the accurate tier's. The "
        "threshold is then the certificate's; without a certificate that holds, every item takes a second look.",
    )
    confidence: float = Field(
        default=0.95, ge=0.5, lt=1, description="How sure the certificate has to be of the target."
    )
    escalation_budget: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of decided items that may take a second look, over the last minute.",
    )
    escalations_per_s: float | None = Field(
        default=None, gt=0, description="Second looks per second that one router may take; unset: no such bound."
    )
    degraded: DegradedMode = Field(
        default="answer",
        description="When the accurate tier can't answer: `answer` with the fast tier's decision, marked, or "
        "`fail` with 503.",
    )
    audit_share: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of decided items, drawn by lot, on which the other tier is asked too, in the background.",
    )
    deadline_s: float | None = Field(
        default=None, gt=0, description="Seconds that a request may take; unset: `router.deadline_s`."
    )


class Policy(Rule):
    """One policy document. Frozen: a change is a new policy with a new version."""

    routes: Mapping[RouteName, RouteRule] = Field(default={}, description="What single routes do otherwise.")
    certificates: tuple[Certificate, ...] = Field(
        default=(),
        json_schema_extra=or_path,
        description="What the targets rest on, as `secondlook calibrate` writes it: a list, or in a file the path of "
        "one beside it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_threshold(cls, document: Any) -> Any:
        if isinstance(document, dict) and all(document.get(aim) is None for aim in _AIMS):
            return {**document, "threshold": DEFAULT_THRESHOLD}
        return document

    @model_validator(mode="after")
    def _has_one_aim(self) -> Self:
        if self.threshold is not None and self.target_agreement is not None:
            raise ValueError("give either a threshold or a target_agreement")
        return self

    @cached_property  # read for every answer
    def version(self) -> str:
        """Content hash of the document: equal documents have equal versions."""
        # Sorted: equal routes can stand in any order.
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return "p-" + hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def rule(self, route: str) -> Rule:
        """What `route` goes by: its own rule, and the policy's where that says nothing."""
        return self._rules.get(route, self)

    @cached_property
    def _rules(self) -> dict[str, Rule]:
        return {route: _merged(self, own) for route, own in self.routes.items()}


def _merged(policy: Policy, own: RouteRule) -> Rule:
    inherited = {name: getattr(policy, name) for name in Rule.model_fields}
    said = own.model_dump(exclude_none=True)
    if said.keys() & set(_AIMS):
        inherited |= dict.fromkeys(_AIMS)
    return Rule.model_validate({**inherited, **said})
