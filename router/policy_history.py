"""Which policies were applied, when and from where: a log that all of a deployment's processes share."""

import logging
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cache.journal import Entry, Journal
from router.policy import Policy

logger = logging.getLogger(__name__)
HISTORY = "policy-history"
HISTORY_KEPT = 1000
Action = Literal["start", "apply", "rollback", "reload"]


class Applied(BaseModel):
    """One policy that was put in force."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    at: str = Field(description="When, in UTC, ISO 8601.")
    action: Action = Field(description="What put it in force.")
    version: str = Field(description="The policy's version.")
    file_version: str = Field(description="Version of what the deployment file said at that time.")
    note: str = Field(default="", description="What the operator says of it.")
    policy: dict[str, Any] = Field(description="The whole document, certificates included.")

    def document(self) -> Policy:
        """The policy itself; raises ValidationError where a later version reads it otherwise."""
        return Policy.model_validate(self.policy)


async def read_history(journal: Journal, limit: int = HISTORY_KEPT) -> list[Applied]:
    """What was applied, newest first, without what can't be read; raises as the journal does."""
    entries = await journal.read_last(HISTORY, limit)
    return [applied for applied in map(_read, entries) if applied is not None]


def _read(entry: Entry) -> Applied | None:
    try:
        return Applied.model_validate_json(entry.record)
    except ValidationError:
        logger.warning("an entry of the policy history can't be read")
        return None


async def remember(journal: Journal, applied: Applied) -> None:
    """Add to the history; raises as the journal does."""
    await journal.append(HISTORY, [applied.model_dump_json().encode()], keep=HISTORY_KEPT)


def policy_at_start(file_policy: Policy, history: list[Applied]) -> Policy:
    """Which policy a service begins with: its file's, unless another has been applied since the file said so.

    What was applied to a running service outlives its restart, until somebody edits the file.
    """
    newest = history[0] if history else None
    if newest is None or newest.file_version != file_policy.version:
        return file_policy
    return newest.document()
