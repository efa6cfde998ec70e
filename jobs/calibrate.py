"""From samples of both tiers' answers to certificates: which threshold keeps a policy's target, at what cost. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from jobs.both_tiers import Pair
from router.audit_sample import GroupSample
from router.certificate import (
    Calibration,
    Certificate,
    Origin,
    Sample,
    Source,
    certify,
    issue,
    samples_needed,
)
from router.group import group_of
from router.policy import Policy, RouteName
from router.policy_in_force import Models, route_of
from router.reliability import Bin, expected_calibration_error, fit_temperature, reliability
from router.reliability import calibrate as calibrated


@dataclass(frozen=True, slots=True)
class GroupResult:
    """What one group's sample allows.

    `certificate` is None where not even the strictest threshold is shown to keep the target: every item goes on taking
    a second look. `raw` and `fitted` compare the fast tier's confidence with how often it agrees, before and after the
    temperature.
    """

    group: str
    calibration: Calibration
    lost: int
    needed: int
    certificate: Certificate | None
    temperature: float
    raw: tuple[Bin, ...]
    fitted: tuple[Bin, ...]

    @property
    def raw_error(self) -> float:
        """Expected calibration error of the confidence as the model gives it."""
        return expected_calibration_error(self.raw)

    @property
    def fitted_error(self) -> float:
        """Expected calibration error of the calibrated confidence."""
        return expected_calibration_error(self.fitted)


def calibrate(
    samples: Iterable[GroupSample], policy: Policy, models: Models, source: Source, now: datetime, seed: int | None
) -> list[GroupResult]:
    """Calibrate every group for which the policy names a target."""
    results = []
    for group in samples:
        rule = policy.rule(route_of(group.group))
        if rule.target_agreement is None:
            continue
        calibration = certify(group.sample, target_agreement=rule.target_agreement, confidence=rule.confidence)
        temperature = fit_temperature(group.confidence, group.sample.agrees)
        origin = Origin(
            group=group.group,
            fast_model=models.fast or "",
            accurate_model=models.accurate or "",
            source=source,
            created_at=now.isoformat(timespec="seconds"),
            lost=group.lost,
            seed=seed,
        )
        fitted = np.array([calibrated(one, temperature) for one in group.confidence.tolist()], dtype=np.float64)
        results.append(
            GroupResult(
                group=group.group,
                calibration=calibration,
                lost=group.lost,
                needed=samples_needed(rule.target_agreement, rule.confidence),
                certificate=issue(calibration, origin, temperature) if calibration.chosen else None,
                temperature=temperature,
                raw=reliability(group.confidence, group.sample.agrees),
                fitted=reliability(fitted, group.sample.agrees),
            )
        )
    return results


def merged(old: Sequence[Certificate], results: Sequence[GroupResult]) -> list[Certificate]:
    """The certificates to keep: the new ones, and the old ones of groups that were not calibrated anew."""
    calibrated_groups = {result.group for result in results}
    kept = [one for one in old if one.group not in calibrated_groups]
    new = [result.certificate for result in results if result.certificate is not None]
    return sorted([*kept, *new], key=lambda one: one.group)


def cold_samples(pairs: Sequence[Pair], asked: int, route: RouteName) -> list[GroupSample]:
    """Sort answers by group. Questions that got no two answers are counted as lost to every group: whose is unknown."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(group_of(route, pair.candidates, has_threshold=False), []).append(pair)
    lost = asked - len(pairs)
    return [_cold_sample(group, groups[group], lost) for group in sorted(groups)]


def _cold_sample(group: str, pairs: Sequence[Pair], lost: int) -> GroupSample:
    return GroupSample(
        group=group,
        sample=Sample(
            margin=np.array([pair.margin for pair in pairs], dtype=np.float64),
            agrees=np.array([pair.agrees for pair in pairs], dtype=np.bool_),
        ),
        confidence=np.array([pair.confidence for pair in pairs], dtype=np.float64),
        shed_share=0.0,
        lost=lost,
        share=1.0,
    )
