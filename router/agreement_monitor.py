"""Whether the cascade still keeps its target agreement: watches audited questions one by one. Pure: state in and out.

An e-CUSUM (Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection"): each
audit multiplies the evidence by a likelihood ratio e, what was seen at an error rate of q = 2 alpha over the same at
alpha, the rate that the target allows; evidence under 1 starts again from 1. While errors have a probability of at
most alpha, whatever came before, the expectation of e is at most 1, and then the mean number of audits to a false alarm
is at least LIMIT. No other assumption: neither independence nor a constant rate.

Made for a rate that doubles. Simulated with a target of 99 % (tests/statistics/test_monitor.py): at 2 % errors the
alarm comes after a median of 2,100 audits, at 1.5 % after four times as many; of runs of 20,000 audits at exactly 1 %,
the worst rate that is allowed, under 1 % see a false alarm.
"""

import math
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from router.binomial import upper_bound

# Evidence at which the alarm is raised; the guaranteed mean number of audits between false alarms.
LIMIT = 20_000.0
# The recent window: so many blocks of so many audits, the newest still filling.
BLOCKS, BLOCK_AUDITS = 20, 250


class Block(NamedTuple):
    """Consecutive audits."""

    audits: int
    errors: int


class MonitorState(BaseModel):
    """What the monitor remembers, of bounded size; it survives a restart as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    evidence: float = Field(default=0.0, description="Logarithm of the e-CUSUM.")
    audits: int = Field(default=0, ge=0)
    disagreements: int = Field(default=0, ge=0, description="Audits that the fast tier served otherwise.")
    is_alarmed: bool = Field(default=False, description="Latched: only a new calibration starts a new state.")
    recent: tuple[Block, ...] = Field(default=(), max_length=BLOCKS, description="Oldest first.")


def observe(state: MonitorState, *, is_error: bool, target_agreement: float) -> MonitorState:
    """Learn from one audited question.

    Args:
        state: As the audit before left it.
        is_error: The fast tier's decision was served and the accurate tier decides otherwise. A question that was
            escalated is an audit without error.
        target_agreement: That of the certificate.
    """
    evidence = max(state.evidence, 0.0) + log_ratio(target_agreement, is_error=is_error)
    return MonitorState(
        evidence=evidence,
        audits=state.audits + 1,
        disagreements=state.disagreements + is_error,
        is_alarmed=state.is_alarmed or evidence >= math.log(LIMIT),
        recent=_append(state.recent, is_error=is_error),
    )


def log_ratio(target_agreement: float, *, is_error: bool) -> float:
    """Return the logarithm of one audit's likelihood ratio, of twice the allowed error rate against the allowed."""
    if not 0 < target_agreement < 1:
        raise ValueError(f"target_agreement: {target_agreement} is not between 0 and 1")
    allowed = 1.0 - target_agreement
    doubled = min(2 * allowed, (1 + allowed) / 2)  # short of 1 where twice the rate is no rate
    return math.log(doubled / allowed) if is_error else math.log1p(-doubled) - math.log1p(-allowed)


def recent_agreement(state: MonitorState, confidence: float) -> tuple[float, float]:
    """Return agreement over the recent window and its lower bound (Clopper-Pearson); (0, 0) before any audit.

    The bound holds at `confidence` for one look, not for the lowest of many: for that there is the alarm.
    """
    audits = sum(block.audits for block in state.recent)
    errors = sum(block.errors for block in state.recent)
    if not audits:
        return 0.0, 0.0
    return 1.0 - errors / audits, 1.0 - upper_bound(errors, audits, 1.0 - confidence)


def _append(recent: tuple[Block, ...], *, is_error: bool) -> tuple[Block, ...]:
    if recent and recent[-1].audits < BLOCK_AUDITS:
        newest = recent[-1]
        return (*recent[:-1], Block(newest.audits + 1, newest.errors + is_error))
    return (*recent, Block(1, int(is_error)))[-BLOCKS:]
