"""The policy document: data with a version that is its content."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from router.policy import DEFAULT_THRESHOLD, Policy
from tests.policies import make_certificate

CERTIFICATE = make_certificate(2.0)
ROUTES = ("similarity", "classify", "score", "rerank", "search")
AIMS: st.SearchStrategy[dict[str, float]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"threshold": st.floats(0, 1e6)}),
    st.fixed_dictionaries({"target_agreement": st.floats(0.5, 0.999)}),
)
OTHERS = st.fixed_dictionaries(
    {},
    optional={
        "confidence": st.floats(0.5, 0.999),
        "escalation_budget": st.floats(0, 1),
        "escalations_per_s": st.floats(0.001, 1e6),
        "degraded": st.sampled_from(["answer", "fail"]),
        "audit_share": st.floats(0, 1),
        "deadline_s": st.floats(0.001, 1e6),
    },
)
RULES = st.builds(lambda aim, others: {**aim, **others}, AIMS, OTHERS)
DOCUMENTS = st.builds(
    lambda rule, routes, certificates: {**rule, "routes": routes, "certificates": certificates},
    RULES,
    st.dictionaries(st.sampled_from(ROUTES), RULES, max_size=3),
    st.lists(st.just(CERTIFICATE.model_dump(mode="json")), max_size=1),
)
POLICIES = st.builds(Policy.model_validate, DOCUMENTS)
OTHER_FIELDS = ("confidence", "escalation_budget", "escalations_per_s", "degraded", "audit_share", "deadline_s")


def test_policy_version_is_a_hash_of_its_content() -> None:
    """Equal documents have equal versions, whether a value was written or left at its default."""
    written = Policy.model_validate({"threshold": 1, "degraded": "answer"})

    assert written.version == Policy().version
    assert written.version.startswith("p-")


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 1.5},
        {"target_agreement": 0.99},
        {"confidence": 0.9},
        {"escalation_budget": 0.5},
        {"escalations_per_s": 5},
        {"degraded": "fail"},
        {"audit_share": 0.5},
        {"deadline_s": 3},
        {"routes": {"similarity": {"threshold": 2}}},
        {"certificates": [CERTIFICATE]},
    ],
)
def test_policy_version_changes_with_every_field(change: dict[str, object]) -> None:
    """No field is outside of the hash, routes and certificates included."""
    assert Policy.model_validate(change).version != Policy().version


def test_every_field_is_among_those_whose_change_was_tried() -> None:
    """A field that is added later joins the list above."""
    tried = set(Policy.model_fields)

    assert tried == {*OTHER_FIELDS, "threshold", "target_agreement", "routes", "certificates"}


def test_policy_refuses_unknown_keys() -> None:
    """A misspelt option is an error, not an option without effect."""
    with pytest.raises(ValidationError, match="treshold"):
        Policy.model_validate({"treshold": 2.0})


@pytest.mark.parametrize(
    "document",
    [
        {"threshold": -0.1},
        {"threshold": float("nan")},
        {"threshold": float("inf")},
        {"escalation_budget": 1.1},
        {"escalation_budget": -0.1},
        {"degraded": "maybe"},
        {"target_agreement": 1.0},
        {"target_agreement": 0.49},
        {"confidence": 1.0},
        {"escalations_per_s": 0},
        {"audit_share": 1.1},
        {"deadline_s": 0},
        {"routes": {"similarity": {"threshold": -1}}},
        {"routes": {"likeness": {}}},
        {"certificates": {}},
    ],
)
def test_policy_refuses_values_out_of_range(document: dict[str, object]) -> None:
    """Margins are finite and from zero, shares are shares, the modes are two and the routes known."""
    with pytest.raises(ValidationError):
        Policy.model_validate(document)


def test_policy_is_frozen() -> None:
    """A change is a new policy with a new version."""
    policy = Policy()

    with pytest.raises(ValidationError, match="frozen"):
        policy.threshold = 2.0


@settings(deadline=None)
@given(one=POLICIES, other=POLICIES)
def test_versions_are_equal_exactly_where_policies_are(one: Policy, other: Policy) -> None:
    """The version stands for the document, also after a way through JSON."""
    assert (one.version == other.version) == (one == other)
    assert Policy.model_validate_json(one.model_dump_json()).version == one.version


@settings(deadline=None, max_examples=50)
@given(policy=POLICIES, routes=st.permutations(ROUTES))
def test_version_does_not_depend_on_the_order_of_routes(policy: Policy, routes: list[str]) -> None:
    """Who sorts a file's routes has not changed the policy."""
    document = policy.model_dump(mode="json")
    document["routes"] = {route: document["routes"][route] for route in routes if route in document["routes"]}

    again = Policy.model_validate(document)

    assert again == policy
    assert again.version == policy.version


@pytest.mark.parametrize("where", ["policy", "route"])
def test_aims_are_exclusive(where: str) -> None:
    """A threshold and a target would each say when to look twice, and differ."""
    aims = {"threshold": 1.0, "target_agreement": 0.99}
    document: dict[str, Any] = aims if where == "policy" else {"routes": {"similarity": aims}}

    with pytest.raises(ValidationError, match="either a threshold or a target_agreement"):
        Policy.model_validate(document)


def test_policy_without_an_aim_has_the_default_threshold() -> None:
    """A policy that says nothing decides as it always did; one with a target has no threshold."""
    assert Policy().threshold == DEFAULT_THRESHOLD
    assert Policy.model_validate({"threshold": None}).threshold == DEFAULT_THRESHOLD
    assert Policy(target_agreement=0.99).threshold is None


def test_route_overrides_what_it_says_and_inherits_the_rest() -> None:
    """Key by key."""
    policy = Policy.model_validate(
        {
            "threshold": 3.0,
            "degraded": "fail",
            "audit_share": 0.2,
            "routes": {"classify": {"audit_share": 0.0, "deadline_s": 2.0}},
        }
    )

    rule, rest = policy.rule("classify"), policy.rule("similarity")

    assert (rule.threshold, rule.degraded, rule.audit_share, rule.deadline_s) == (3.0, "fail", 0.0, 2.0)
    assert (rest.threshold, rest.degraded, rest.audit_share, rest.deadline_s) == (3.0, "fail", 0.2, None)


@pytest.mark.parametrize(
    ("inherited", "own"),
    [
        ({"threshold": 3.0}, {"target_agreement": 0.99}),
        ({"target_agreement": 0.99}, {"threshold": 3.0}),
        ({}, {"target_agreement": 0.99}),
        ({"target_agreement": 0.9}, {"target_agreement": 0.99}),
    ],
)
def test_routes_own_aim_replaces_the_inherited_one(inherited: dict[str, float], own: dict[str, float]) -> None:
    """A route with a target does not keep the policy's threshold beside it, nor the other way round."""
    rule = Policy.model_validate({**inherited, "routes": {"score": own}}).rule("score")

    assert (rule.threshold, rule.target_agreement) == (own.get("threshold"), own.get("target_agreement"))


def test_route_without_an_aim_inherits_the_target_and_its_own_confidence() -> None:
    """How sure is no aim of its own."""
    rule = Policy.model_validate({"target_agreement": 0.9, "routes": {"score": {"confidence": 0.99}}}).rule("score")

    assert (rule.threshold, rule.target_agreement, rule.confidence) == (None, 0.9, 0.99)


def test_certificate_whose_counts_do_not_carry_it_is_refused() -> None:
    """An edited one makes the whole policy invalid."""
    forged = {**CERTIFICATE.model_dump(mode="json"), "threshold": 0.5}

    with pytest.raises(ValidationError, match=r"certificates\.0"):
        Policy.model_validate({"target_agreement": 0.99, "certificates": [forged]})


@settings(deadline=None, max_examples=50)
@given(policy=POLICIES)
def test_policy_survives_json_and_serves_way_to_replicas(policy: Policy) -> None:
    """As text and as a plain document, every rule and every certificate is the same again."""
    again = Policy.model_validate(policy.model_dump(mode="json"))

    assert again == policy == Policy.model_validate_json(policy.model_dump_json())
    assert [again.rule(route) for route in ROUTES] == [policy.rule(route) for route in ROUTES]
    assert [one.id for one in again.certificates] == [one.id for one in policy.certificates]
