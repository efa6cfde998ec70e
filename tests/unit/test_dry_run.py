"""Recorded traffic under a policy that is not in force."""

import pytest

from router.audit_record import AuditRecord
from router.binomial import upper_bound
from router.dry_run import Costs, DryRun, Replay, dry_run
from router.policy import Policy
from router.policy_in_force import Models, PolicyInForce
from tests.policies import ACCURATE_NAME, FAST_NAME, GROUP, RECORD, make_certificate

MODELS = Models(FAST_NAME, ACCURATE_NAME)
COSTS = Costs(fast_ms=2.0, accurate_ms=30.0)
CERTIFICATE = make_certificate(2.0)
CURRENT = Policy(threshold=0.0)


def traffic() -> list[AuditRecord]:
    """A hundred questions over 50 s: half of them unsure, of which 10 differ; of the sure ones 2 differ."""
    unsure = [RECORD._replace(margin=1.0, agrees=i >= 10) for i in range(50)]
    sure = [RECORD._replace(margin=3.0, agrees=i >= 2) for i in range(50)]
    return [record._replace(at=100.0 + i * 50 / 99) for i, record in enumerate([*unsure, *sure])]


def replay(
    proposed: Policy, records: list[AuditRecord] | None = None, current: Policy = CURRENT, costs: Costs = COSTS
) -> DryRun:
    """Replay traffic under a policy, beside the current one."""
    asked = traffic() if records is None else records
    return dry_run(asked, PolicyInForce(proposed), PolicyInForce(current), MODELS, costs)


def only(report: DryRun) -> Replay:
    """What the proposed policy makes of the one group."""
    (proposed,) = report.proposed
    return proposed


def test_threshold_decides_what_takes_a_second_look() -> None:
    """And what of the disagreements is left."""
    report = only(replay(Policy(threshold=2.0)))

    assert (report.group, report.items, report.threshold) == (GROUP, 100, 2.0)
    assert report.escalation_share == pytest.approx(0.5)
    assert report.agreement == pytest.approx(0.98)
    assert report.agreement_bound == pytest.approx(1 - upper_bound(2, 100, 0.05))
    assert (report.is_certified, report.certificate, report.target_agreement) == (None, None, None)


def test_current_policy_stands_beside_it() -> None:
    """On the same records."""
    (current,) = replay(Policy(threshold=2.0)).current

    assert current.escalation_share == 0.0
    assert current.agreement == pytest.approx(0.88)


def test_margin_at_the_threshold_takes_no_second_look() -> None:
    """As in the cascade."""
    assert only(replay(Policy(threshold=1.0))).escalation_share == 0.0


def test_target_without_a_certificate_escalates_everything_and_is_not_certified() -> None:
    """Full agreement at full price, and still not what was asked for."""
    report = replay(Policy(target_agreement=0.99))

    one = only(report)
    assert (one.threshold, one.escalation_share, one.agreement) == (None, 1.0, 1.0)
    assert (one.is_certified, report.is_certified) == (False, False)


def test_certificate_that_holds_certifies() -> None:
    """Its threshold is replayed."""
    report = replay(Policy(target_agreement=0.99, certificates=(CERTIFICATE,)))

    one = only(report)
    assert (one.threshold, one.certificate, one.is_certified) == (2.0, CERTIFICATE.id, True)
    assert report.is_certified


def test_one_group_without_a_certificate_is_enough_to_fail() -> None:
    """A target is kept everywhere or not at all."""
    records = [*traffic(), RECORD._replace(group="similarity/9-16")]

    report = replay(Policy(target_agreement=0.99, certificates=(CERTIFICATE,)), records)

    assert {one.group: one.is_certified for one in report.proposed} == {GROUP: True, "similarity/9-16": False}
    assert not report.is_certified


def test_given_up_certificate_certifies_nothing() -> None:
    """The monitor's alarm holds for proposals too."""
    policy = Policy(target_agreement=0.99, certificates=(CERTIFICATE,))

    report = dry_run(traffic(), PolicyInForce(policy, [CERTIFICATE.id]), PolicyInForce(CURRENT), MODELS, COSTS)

    assert (report.is_certified, report.proposed[0].escalation_share) == (False, 1.0)


def test_budget_turns_second_looks_into_degraded_answers() -> None:
    """What is over the share is marked, not escalated."""
    report = only(replay(Policy(threshold=2.0, escalation_budget=0.2)))

    assert report.escalation_share == pytest.approx(0.2)
    assert report.degraded_share == pytest.approx(0.3)


def test_rate_bounds_second_looks_by_the_traffic_that_was_recorded() -> None:
    """Two items a second, of which a half a second may be looked at twice."""
    report = only(replay(Policy(threshold=2.0, escalations_per_s=0.5)))

    assert report.items_per_s == pytest.approx(2.0)
    assert report.escalation_share == pytest.approx(0.25)
    assert report.accurate_items_per_s == pytest.approx(0.5)


def test_each_record_stands_for_as_many_items_as_its_share_says() -> None:
    """Of one in ten audited, the traffic was ten times as much; the shares are the same."""
    seldom = only(replay(Policy(threshold=2.0), [record._replace(share=0.1) for record in traffic()]))

    assert seldom.items_per_s == pytest.approx(20.0)
    assert seldom.escalation_share == pytest.approx(0.5)


def test_lost_audits_are_traffic_too() -> None:
    """They were decided; only what the other tier would have said is not known."""
    lost = [RECORD._replace(at=110.0, margin=None, confidence=None, agrees=None, lost="busy")] * 100

    report = replay(Policy(threshold=2.0), [*traffic(), *lost])

    one = only(report)
    assert (one.items, one.lost) == (100, 100)
    assert one.items_per_s == pytest.approx(4.0)
    assert (report.records, report.lost) == (200, {"busy": 100})


def test_cost_is_of_both_tiers_for_a_million_items() -> None:
    """Every item on the fast one, the escalated ones on the accurate one too."""
    cost = only(replay(Policy(threshold=2.0))).replica_hours_per_million

    assert cost == pytest.approx(1e6 * (2.0 + 0.5 * 30.0) / 3.6e6)


@pytest.mark.parametrize("costs", [Costs(None, 30.0), Costs(2.0, None)])
def test_cost_that_is_not_known_is_not_guessed(costs: Costs) -> None:
    """A tier that has not encoded an image yet has no price."""
    assert only(replay(Policy(threshold=2.0), costs=costs)).replica_hours_per_million is None


def test_records_of_other_models_are_told_and_not_replayed() -> None:
    """They say nothing of what serves now."""
    report = replay(Policy(threshold=2.0), [*traffic(), RECORD._replace(fast_model="old@1", at=100.0)])

    assert (report.records, report.from_other_models, only(report).items) == (101, 1, 100)


def test_route_is_replayed_under_its_own_rule() -> None:
    """As it would be served."""
    records = [*traffic(), RECORD._replace(group="classify/2", margin=1.0)]

    report = replay(Policy.model_validate({"threshold": 0, "routes": {"classify": {"threshold": 5}}}), records)

    assert {one.group: one.escalation_share for one in report.proposed} == {GROUP: 0.0, "classify/2": 1.0}


@pytest.mark.parametrize("records", [[], [RECORD._replace(fast_model="old@1")]])
def test_without_records_nothing_is_certified(records: list[AuditRecord]) -> None:
    """An empty log is no evidence."""
    report = replay(Policy(target_agreement=0.99, certificates=(CERTIFICATE,)), records)

    assert (report.proposed, report.seconds, report.is_certified) == ((), 0.0, False)


def test_single_record_has_no_rate() -> None:
    """There is no time between one record and itself."""
    report = only(replay(Policy(threshold=2.0, escalations_per_s=1.0), [RECORD]))

    assert (report.items, report.items_per_s, report.accurate_items_per_s) == (1, 0.0, 0.0)


def test_tier_that_has_not_come_up_matches_no_record() -> None:
    """Nothing is replayed between a model and none."""
    report = dry_run(traffic(), PolicyInForce(CURRENT), PolicyInForce(CURRENT), Models(FAST_NAME, None), COSTS)

    assert (report.proposed, report.from_other_models) == ((), 100)


def test_second_looks_are_expected_to_be_shed_as_often_as_they_were() -> None:
    """Half of those that were asked for on the records got none."""
    records = [record._replace(degraded="accurate_shed") for record in traffic()]
    records += [record._replace(escalated=True, served="accurate") for record in traffic()]

    one = only(replay(Policy(threshold=2.0), records))

    assert one.degraded_share == pytest.approx(one.escalation_share / 2)
