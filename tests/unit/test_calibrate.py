"""Calibration: from samples of both tiers' answers to certificates, whatever they came from."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from jobs.both_tiers import Pair
from jobs.calibrate import calibrate, cold_samples, merged
from jobs.risk_plot import write_risk_plot
from router.audit_sample import GroupSample
from router.certificate import Sample
from router.policy import Policy
from router.policy_in_force import Models, PolicyInForce

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MODELS = Models("fast@1", "accurate@1")
TARGET = Policy(target_agreement=0.95)


def group_sample(count: int = 1000, group: str = "similarity/9-16", seed: int = 3) -> GroupSample:
    """Questions on which the tiers differ the more often, the smaller the margin is."""
    chance = np.random.default_rng(seed)
    margin = chance.exponential(4.0, count)
    agrees = chance.random(count) > 0.3 * np.exp(-margin)
    confidence = 1 / (1 + np.exp(-margin))
    return GroupSample(group, Sample(margin, agrees), confidence, shed_share=0.0, lost=7, share=1.0)


def test_calibration_certifies_the_policys_target_for_these_models() -> None:
    """The certificate decides as soon as the policy carries it."""
    (result,) = calibrate([group_sample()], TARGET, MODELS, "cold", NOW, seed=1)

    assert result.certificate is not None
    policy = PolicyInForce(Policy(target_agreement=0.95, certificates=(result.certificate,)))
    bar = policy.bar("similarity", "similarity/9-16", MODELS.fast, MODELS.accurate)
    assert bar.threshold == result.calibration.threshold
    assert bar.certificate == result.certificate.id
    assert (result.certificate.lost, result.certificate.seed, result.certificate.source) == (7, 1, "cold")


def test_calibration_keeps_to_groups_whose_route_has_a_target() -> None:
    """A route that names a threshold needs none."""
    policy = Policy.model_validate({"target_agreement": 0.95, "routes": {"classify": {"threshold": 2}}})

    results = calibrate([group_sample(), group_sample(group="classify/2")], policy, MODELS, "audit log", NOW, None)

    assert [result.group for result in results] == ["similarity/9-16"]


def test_too_few_questions_certify_nothing_and_say_how_many_are_needed() -> None:
    """So that an operator knows to wait."""
    (result,) = calibrate([group_sample(20)], TARGET, MODELS, "cold", NOW, 1)

    assert result.certificate is None
    assert result.calibration.threshold is None
    assert result.needed == 59


def test_temperature_brings_confidence_nearer_to_the_share_that_agrees() -> None:
    """The fitted error is not above the raw one, on the sample itself."""
    (result,) = calibrate([group_sample(5000)], TARGET, MODELS, "cold", NOW, 1)

    assert result.temperature != 1.0
    assert result.fitted_error <= result.raw_error


def test_new_certificates_replace_those_of_their_group_only() -> None:
    """The others stay, also where the new calibration certified nothing."""
    old = calibrate([group_sample(), group_sample(group="classify/2")], TARGET, MODELS, "cold", NOW, 1)
    before = merged([], old)

    after = merged(before, calibrate([group_sample(20)], TARGET, MODELS, "cold", NOW, 1))

    assert [one.group for one in before] == ["classify/2", "similarity/9-16"]
    assert [one.group for one in after] == ["classify/2"]


def test_cold_answers_are_sorted_by_how_many_texts_there_were() -> None:
    """What got no two answers is lost to each group, because its group is not known for sure."""
    pairs = [Pair(candidates=count, margin=1.0, confidence=0.7, agrees=True) for count in (2, 12, 16, 2)]

    samples = cold_samples(pairs, asked=5, route="similarity")

    assert [(one.group, len(one.sample.margin), one.lost) for one in samples] == [
        ("similarity/2", 2, 1),
        ("similarity/9-16", 2, 1),
    ]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot_is_written_in_the_format_that_its_name_says(tmp_path: Path, suffix: str) -> None:
    """With a certificate and without one."""
    for count in (1000, 20):
        (result,) = calibrate([group_sample(count)], TARGET, MODELS, "cold", NOW, 1)
        file = tmp_path / f"{count}.{suffix}"

        write_risk_plot(file, result)

        assert (b"PNG" if suffix == "png" else b"<svg") in file.read_bytes()[:2000]
