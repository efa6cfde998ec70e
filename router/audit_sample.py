"""From audit records to a sample that a certificate may rest on. Pure: records in, arrays out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.audit_record import AuditRecord
from router.certificate import Sample

THINNING_SEED = 20_260_101


@dataclass(frozen=True, slots=True, eq=False)
class GroupSample:
    """The audited questions of one group, between two models, each drawn with the same chance.

    Arrays have the shape (questions,). `lost` were drawn as well and have no second answer.
    """

    group: str
    sample: Sample
    confidence: NDArray[np.float64]
    shed_share: float
    """Of the items that wanted a second look and were allowed one, those that the accurate tier did not give it."""
    lost: int
    share: float
    """Every question's chance to be drawn."""

    @property
    def weight(self) -> float:
        """How many decided items one question stands for."""
        return 1.0 / self.share


def group_samples(records: Iterable[AuditRecord], models: tuple[str, str]) -> tuple[GroupSample, ...]:
    """Sort records by group, only those between `models` (the full names of the fast and the accurate one).

    Where they were drawn with different chances, those drawn with a higher one are thinned out by lot to the lowest:
    so each question of the traffic had the same chance, which exact bounds need.
    """
    by_group: dict[str, list[AuditRecord]] = {}
    for record in records:
        if (record.fast_model, record.accurate_model) == models:
            by_group.setdefault(record.group, []).append(record)
    return tuple(_group_sample(group, by_group[group]) for group in sorted(by_group))


def losses(records: Iterable[AuditRecord]) -> dict[str, int]:
    """Count the lost audits by why they were lost."""
    return dict(Counter(record.lost for record in records if record.lost is not None))


def _shed_share(records: Sequence[AuditRecord]) -> float:
    looked = sum(record.escalated for record in records)
    shed = sum(record.degraded is not None and record.degraded != "budget" for record in records)
    return shed / (looked + shed) if shed else 0.0


def _group_sample(group: str, records: Sequence[AuditRecord]) -> GroupSample:
    share = min(record.share for record in records)
    drawn = np.random.default_rng(THINNING_SEED).random(len(records))
    kept = [record for record, luck in zip(records, drawn, strict=True) if luck * record.share < share]
    answered = [record for record in kept if record.lost is None]
    return GroupSample(
        group=group,
        sample=Sample(
            margin=np.array([record.margin for record in answered], dtype=np.float64),
            agrees=np.array([record.agrees for record in answered], dtype=np.bool_),
        ),
        confidence=np.array([record.confidence for record in answered], dtype=np.float64),
        shed_share=_shed_share(kept),
        lost=len(kept) - len(answered),
        share=share,
    )
