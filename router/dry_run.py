"""Replay recorded traffic under a policy that is not in force yet. Pure: records in, a report out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router.audit_record import AuditRecord
from router.audit_sample import GroupSample, group_samples, losses
from router.binomial import upper_bound
from router.policy import Rule
from router.policy_in_force import ESCALATE_ALL, Models, PolicyInForce, route_of

PER_MILLION = 1e6
HOUR_MS = 3.6e6


@dataclass(frozen=True, slots=True)
class Costs:
    """What an image takes on each tier's encoder, in milliseconds of one replica; None: not known."""

    fast_ms: float | None
    accurate_ms: float | None


@dataclass(frozen=True, slots=True)
class Replay:
    """What one group of questions would have been under a policy.

    Shares are of decided items. `agreement` is with the accurate tier, and `agreement_bound` its lower bound at the
    rule's confidence; an item with a second look agrees. `degraded_share` is of items whose second look the budget
    would have refused, or the accurate tier would not have given, as often as it did not on these records: those are
    marked, and outside of both. `replica_hours_per_million` is for images in batches.
    """

    group: str
    threshold: float | None
    """None: every item takes a second look."""
    certificate: str | None
    target_agreement: float | None
    items: int
    lost: int
    escalation_share: float
    degraded_share: float
    agreement: float
    agreement_bound: float
    is_certified: bool | None
    """Whether the target is certified; None where the policy names a threshold and no target."""
    items_per_s: float
    accurate_items_per_s: float
    replica_hours_per_million: float | None


@dataclass(frozen=True, slots=True)
class DryRun:
    """A proposed policy beside the one in force, on the same records."""

    records: int
    from_other_models: int
    """Records of models that serve no more: not replayed."""
    lost: dict[str, int]
    seconds: float
    """Between the first record and the last."""
    current: tuple[Replay, ...]
    proposed: tuple[Replay, ...]

    @property
    def is_certified(self) -> bool:
        """Whether every target of the proposed policy is certified on every group that has been seen."""
        return bool(self.proposed) and all(replay.is_certified is not False for replay in self.proposed)


def dry_run(
    records: Sequence[AuditRecord], proposed: PolicyInForce, current: PolicyInForce, models: Models, costs: Costs
) -> DryRun:
    """Replay the records under both policies."""
    names = (models.fast or "", models.accurate or "")
    samples = group_samples(records, names)
    times = [record.at for record in records]
    seconds = max(times) - min(times) if times else 0.0
    return DryRun(
        records=len(records),
        from_other_models=sum((one.fast_model, one.accurate_model) != names for one in records),
        lost=losses(records),
        seconds=seconds,
        current=tuple(_replay(one, current, models, costs, seconds) for one in samples),
        proposed=tuple(_replay(one, proposed, models, costs, seconds) for one in samples),
    )


def _replay(group: GroupSample, policy: PolicyInForce, models: Models, costs: Costs, seconds: float) -> Replay:
    route = route_of(group.group)
    rule = policy.rule(route)
    bar = policy.bar(route, group.group, models.fast, models.accurate)
    count = len(group.sample.margin)
    is_served_fast = group.sample.margin >= bar.threshold
    errors = int(np.count_nonzero(is_served_fast & ~group.sample.agrees))
    uncertain = 1.0 - np.count_nonzero(is_served_fast).item() / count if count else 1.0
    items_per_s = (count + group.lost) * group.weight / seconds if seconds else 0.0
    escalated = _within_budget(uncertain, rule, items_per_s)
    most_errors = upper_bound(errors, count, 1.0 - rule.confidence) if bar.threshold < ESCALATE_ALL else 0.0
    return Replay(
        group=group.group,
        threshold=bar.threshold if np.isfinite(bar.threshold) else None,
        certificate=bar.certificate,
        target_agreement=rule.target_agreement,
        items=count,
        lost=group.lost,
        escalation_share=escalated,
        degraded_share=uncertain - escalated + group.shed_share * escalated,
        agreement=1.0 - errors / count if count else 0.0,
        agreement_bound=1.0 - most_errors,
        is_certified=None if rule.target_agreement is None else bar.certificate is not None,
        items_per_s=items_per_s,
        accurate_items_per_s=escalated * items_per_s,
        replica_hours_per_million=_replica_hours(escalated, costs),
    )


def _within_budget(uncertain: float, rule: Rule, items_per_s: float) -> float:
    """The share of items that get the second look which `uncertain` of them want."""
    allowed = rule.escalation_budget
    if rule.escalations_per_s is not None and items_per_s > 0:
        allowed = min(allowed, rule.escalations_per_s / items_per_s)
    return min(uncertain, allowed)


def _replica_hours(escalated: float, costs: Costs) -> float | None:
    if costs.fast_ms is None or costs.accurate_ms is None:
        return None
    return PER_MILLION * (costs.fast_ms + escalated * costs.accurate_ms) / HOUR_MS
