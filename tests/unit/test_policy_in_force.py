"""Which certificate speaks for a question, and what happens where none does."""

import math

import pytest

from router.policy import Policy
from router.policy_in_force import ESCALATE_ALL, Bar, Models, PolicyInForce, Standing, route_of
from tests.policies import ACCURATE_NAME, FAST_NAME, GROUP, make_certificate

MODELS = Models(FAST_NAME, ACCURATE_NAME)
CERTIFICATE = make_certificate(2.0)
AIMING = Policy(target_agreement=0.99, certificates=(CERTIFICATE,))


def bar(policy: PolicyInForce, models: Models = MODELS, group: str = GROUP) -> Bar:
    """Where second looks begin for similarity questions."""
    return policy.bar(route_of(group), group, models.fast, models.accurate)


def test_threshold_is_the_bar_whatever_the_certificates_say() -> None:
    """Without a target there is nothing to certify."""
    policy = PolicyInForce(Policy(threshold=0.5, certificates=(CERTIFICATE,)))

    assert bar(policy) == Bar(0.5)
    assert bar(policy, Models(None, None)) == Bar(0.5)


def test_certificate_that_holds_is_the_bar() -> None:
    """Its threshold, and its name for the record."""
    assert bar(PolicyInForce(AIMING)) == Bar(2.0, CERTIFICATE.id, 0.99, CERTIFICATE.temperature)


def test_target_without_any_certificate_escalates_everything() -> None:
    """An uncertified policy is the strict one."""
    assert bar(PolicyInForce(Policy(target_agreement=0.9))) == Bar(ESCALATE_ALL)
    assert math.isinf(ESCALATE_ALL)


@pytest.mark.parametrize(
    "models",
    [
        Models(FAST_NAME + "x", ACCURATE_NAME),
        Models(FAST_NAME, ACCURATE_NAME + "x"),
        Models(ACCURATE_NAME, FAST_NAME),
        Models(None, ACCURATE_NAME),
        Models(FAST_NAME, None),
        Models(None, None),
    ],
)
def test_certificate_of_other_models_is_void(models: Models) -> None:
    """Either tier's other revision voids it, and so does a tier that has not come up yet."""
    policy = PolicyInForce(AIMING)

    assert policy.standing(CERTIFICATE, models) == "void"
    assert bar(policy, models) == Bar(ESCALATE_ALL)


def test_certificate_is_void_only_until_the_models_are_its_own_again() -> None:
    """What was found for one pair of models is not kept for another."""
    policy = PolicyInForce(AIMING)

    found = [bar(policy, models).threshold for models in (MODELS, Models("new", ACCURATE_NAME), MODELS)]

    assert found == [2.0, ESCALATE_ALL, 2.0]


@pytest.mark.parametrize("aim", [{"target_agreement": 0.995}, {"target_agreement": 0.99, "confidence": 0.99}])
def test_certificate_that_promises_less_than_is_asked_is_too_weak(aim: dict[str, float]) -> None:
    """A smaller share, or less surely."""
    policy = PolicyInForce(Policy.model_validate({**aim, "certificates": [CERTIFICATE]}))

    assert policy.standing(CERTIFICATE, MODELS) == "too_weak"
    assert bar(policy) == Bar(ESCALATE_ALL)


def test_certificate_that_promises_more_than_is_asked_holds() -> None:
    """Its own target is the one that is watched."""
    policy = PolicyInForce(Policy(target_agreement=0.9, confidence=0.9, certificates=(CERTIFICATE,)))

    assert bar(policy) == Bar(2.0, CERTIFICATE.id, 0.99, CERTIFICATE.temperature)


def test_certificate_is_measured_by_its_own_routes_rule() -> None:
    """A route that asks for more makes it too weak there."""
    demanding = Policy.model_validate(
        {"target_agreement": 0.9, "routes": {"similarity": {"target_agreement": 0.999}}, "certificates": [CERTIFICATE]}
    )

    assert PolicyInForce(demanding).standing(CERTIFICATE, MODELS) == "too_weak"


def test_certificate_speaks_for_no_other_group() -> None:
    """Two texts are not three, and a choice is not a match."""
    policy = PolicyInForce(AIMING)

    assert [bar(policy, group=group).threshold for group in ("similarity/3-4", "similarity:threshold/2")] == [
        ESCALATE_ALL,
        ESCALATE_ALL,
    ]


def test_alarm_escalates_everything() -> None:
    """What the monitor has given up is no bar any more."""
    policy = PolicyInForce(AIMING, alarms=[CERTIFICATE.id])

    assert policy.standing(CERTIFICATE, MODELS) == "alarm"
    assert bar(policy) == Bar(ESCALATE_ALL)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_newest_of_several_certificates_speaks(is_reversed: bool) -> None:  # noqa: FBT001 - a parameter
    """Wherever it stands in the list: the older ones are of traffic that has passed."""
    older = make_certificate(1.0, created_at="2026-01-01T00:00:00+00:00")
    newer = make_certificate(4.0, created_at="2026-02-01T00:00:00+00:00")
    certificates = (newer, older) if is_reversed else (older, newer)

    assert bar(PolicyInForce(Policy(target_agreement=0.99, certificates=certificates))).certificate == newer.id


def test_newest_is_told_by_time_and_not_by_how_it_is_written() -> None:
    """ISO 8601 has several ways to write one moment, whose order as text is another."""
    older = make_certificate(1.0, created_at="2026-01-01T00:00:00Z")
    newer = make_certificate(4.0, created_at="2026-01-01T00:00:00.5+00:00")

    assert bar(PolicyInForce(Policy(target_agreement=0.99, certificates=(older, newer)))).certificate == newer.id


def test_newest_that_could_certify_nothing_escalates_everything() -> None:
    """The latest sample allowed no threshold at all: an older one is no reason to be less strict."""
    older = make_certificate(1.0, created_at="2026-01-01T00:00:00Z")
    newer = make_certificate(None, created_at="2026-02-01T00:00:00Z")

    assert bar(PolicyInForce(Policy(target_agreement=0.99, certificates=(older, newer)))) == Bar(ESCALATE_ALL)


def test_alarm_of_the_newest_does_not_bring_back_an_older_one() -> None:
    """Every item takes a second look until recalibrated, however many certificates lie about."""
    older = make_certificate(1.0, created_at="2026-01-01T00:00:00Z")
    newer = make_certificate(4.0, created_at="2026-02-01T00:00:00Z")

    policy = PolicyInForce(Policy(target_agreement=0.99, certificates=(older, newer)), alarms=[newer.id])

    assert bar(policy) == Bar(ESCALATE_ALL)


def test_calibrated_anew_an_old_alarm_is_over() -> None:
    """The alarm is the old certificate's; the new one speaks."""
    older = make_certificate(1.0, created_at="2026-01-01T00:00:00Z")
    newer = make_certificate(4.0, created_at="2026-02-01T00:00:00Z")

    policy = PolicyInForce(Policy(target_agreement=0.99, certificates=(older, newer)), alarms=[older.id])

    assert bar(policy).certificate == newer.id


def test_weaker_newer_certificate_does_not_hide_a_sufficient_one() -> None:
    """Calibrated for two targets, the policy goes by the one that it asks for."""
    strong = make_certificate(4.0, target=0.99, created_at="2026-01-01T00:00:00Z")
    weak = make_certificate(1.0, target=0.9, created_at="2026-02-01T00:00:00Z")

    assert bar(PolicyInForce(Policy(target_agreement=0.99, certificates=(strong, weak)))).certificate == strong.id


def test_void_newer_certificate_does_not_hide_one_of_these_models() -> None:
    """Rolled back to the models before, their certificate counts again."""
    mine = make_certificate(4.0, created_at="2026-01-01T00:00:00Z")
    others = make_certificate(1.0, models=("new@1", ACCURATE_NAME), created_at="2026-02-01T00:00:00Z")

    assert bar(PolicyInForce(Policy(target_agreement=0.99, certificates=(mine, others)))).certificate == mine.id


@pytest.mark.parametrize(
    ("models", "alarms", "standing"),
    [(MODELS, [], "holds"), (Models("new", ACCURATE_NAME), [CERTIFICATE.id], "void"), (MODELS, ["c-other"], "holds")],
)
def test_standing_says_first_what_matters_most(models: Models, alarms: list[str], standing: Standing) -> None:
    """Void before alarm; another's alarm is none."""
    assert PolicyInForce(AIMING, alarms).standing(CERTIFICATE, models) == standing
