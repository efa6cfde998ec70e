"""The policy: when to take a second look, and what to do when one can't be had."""

import hashlib
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

DegradedMode = Literal["answer", "fail"]


class Policy(BaseModel):
    """One policy document. Frozen: a change is a new policy with a new version."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="Margin (difference of the two best logits) below which a second look is taken; 0: never.",
    )
    escalation_budget: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of decided items that may take a second look, over the last minute.",
    )
    degraded: DegradedMode = Field(
        default="answer",
        description="When the accurate tier can't answer: `answer` with the fast tier's decision, marked, or "
        "`fail` with 503.",
    )

    @cached_property  # read for every answer
    def version(self) -> str:
        """Content hash of the document: equal documents have equal versions."""
        canonical = self.model_dump_json().encode()
        return "p-" + hashlib.sha256(canonical).hexdigest()[:12]
