"""The policy as it stands: which of its certificates hold for the tiers' present models."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from router.certificate import Certificate
from router.policy import Policy, Rule

ESCALATE_ALL = math.inf
Standing = Literal["holds", "void", "alarm", "too_weak"]
"""A certificate `holds`; is `void` because a tier's model has changed; has been given up by the monitor (`alarm`); or
certifies less than the policy asks for (`too_weak`)."""


class Bar(NamedTuple):
    """Where a question's second looks begin, and which certificate says so."""

    threshold: float
    """Margin below which a second look is due; infinite: always."""
    certificate: str | None = None
    target: float | None = None
    """The certificate's target agreement."""
    temperature: float | None = None
    """What the fast tier's confidence is divided by, as odds on a logarithmic scale, to be a probability."""


@dataclass(frozen=True, slots=True)
class Models:
    """`id@revision` of both tiers' models, None where a tier has not come up yet."""

    fast: str | None
    accurate: str | None


class PolicyInForce:
    """A policy, and the certificates that the monitor has given up. Swapped as a whole, never changed."""

    def __init__(self, policy: Policy, alarms: Iterable[str] = ()) -> None:
        self.policy = policy
        self.version = policy.version
        self.alarms = frozenset(alarms)
        self._bars: dict[tuple[str, str, str | None, str | None], Bar] = {}

    def rule(self, route: str) -> Rule:
        """What a route goes by."""
        return self.policy.rule(route)

    def bar(self, route: str, group: str, fast_model: str | None, accurate_model: str | None) -> Bar:
        """Where second looks begin for a group of questions, between these two models."""
        key = (route, group, fast_model, accurate_model)
        bar = self._bars.get(key)
        if bar is None:
            bar = self._bars[key] = self._find_bar(self.rule(route), group, Models(fast_model, accurate_model))
        return bar

    def standing(self, certificate: Certificate, models: Models) -> Standing:
        """Whether a certificate counts, and if not why."""
        if (models.fast, models.accurate) != (certificate.fast_model, certificate.accurate_model):
            return "void"
        if certificate.id in self.alarms:
            return "alarm"
        return "holds" if _is_enough(certificate, self.rule(route_of(certificate.group))) else "too_weak"

    def _find_bar(self, rule: Rule, group: str, models: Models) -> Bar:
        if rule.threshold is not None:
            return Bar(rule.threshold)
        heard = [
            one
            for one in self.policy.certificates
            if one.group == group and self.standing(one, models) in ("holds", "alarm")
        ]
        # Of several the newest speaks, also where it has been given up or certifies nothing: the older ones are of
        # traffic that has passed.
        newest = max(heard, key=_created, default=None)
        if newest is None or newest.threshold is None or newest.id in self.alarms:
            return Bar(ESCALATE_ALL)
        return Bar(newest.threshold, newest.id, newest.target_agreement, newest.temperature)


def _created(certificate: Certificate) -> datetime:
    """When, as a time: one moment can be written in several ways, which sort otherwise."""
    return datetime.fromisoformat(certificate.created_at)


def _is_enough(certificate: Certificate, rule: Rule) -> bool:
    return rule.target_agreement is None or certificate.certifies(rule.target_agreement, rule.confidence)


def route_of(group: str) -> str:
    """The route of a group, which its name begins with."""
    return group.partition("/")[0].partition(":")[0]
