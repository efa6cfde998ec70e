"""The policy document: data with a version that is its content."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from router.policy import Policy

POLICIES = st.builds(
    Policy,
    threshold=st.floats(0, 1e6, allow_nan=False),
    escalation_budget=st.floats(0, 1),
    degraded=st.sampled_from(["answer", "fail"]),
)


def test_policy_version_is_a_hash_of_its_content() -> None:
    """Equal documents have equal versions, whether a value was written or left at its default."""
    written = Policy.model_validate({"threshold": 1, "degraded": "answer"})

    assert written.version == Policy().version
    assert written.version.startswith("p-")


@pytest.mark.parametrize("change", [{"threshold": 1.5}, {"escalation_budget": 0.5}, {"degraded": "fail"}])
def test_policy_version_changes_with_every_field(change: dict[str, object]) -> None:
    """No field is outside of the hash."""
    assert Policy.model_validate(change).version != Policy().version


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
    ],
)
def test_policy_refuses_values_out_of_range(document: dict[str, object]) -> None:
    """A margin is a finite number from zero, a budget a share, and the modes are two."""
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
