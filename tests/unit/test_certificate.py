"""Certified thresholds: which one a sample allows, and the document that carries it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from router.certificate import GRID, Calibration, Certificate, Origin, Sample, certify, issue, samples_needed

ORIGIN = Origin(
    group="similarity/9-16",
    fast_model="ViT-B-32@1",
    accurate_model="ViT-L-14@2",
    source="audit log",
    created_at="2026-03-01T12:00:00Z",
    lost=3,
)


def sample(agreeing: list[float], differing: list[float]) -> Sample:
    """Margins on which the tiers agree, and on which they differ."""
    agrees = np.array([True] * len(agreeing) + [False] * len(differing), dtype=np.bool_)
    return Sample(np.array(agreeing + differing, dtype=np.float64), agrees)


def calibrate(drawn: Sample, target_agreement: float = 0.99, confidence: float = 0.95) -> Calibration:
    """Certify at the usual target."""
    return certify(drawn, target_agreement=target_agreement, confidence=confidence)


@pytest.fixture
def document() -> dict[str, Any]:
    """Return the certificate of 5,000 questions of which the 100 least sure ones are errors, as JSON reads."""
    drawn = sample([5.0] * 4900, [1.0] * 100)
    return issue(calibrate(drawn), ORIGIN, temperature=1.3).model_dump(mode="json")


def test_grid_falls_from_strict_to_never_escalating() -> None:
    """The loosest threshold is zero: no margin is under it."""
    assert list(GRID) == sorted(set(GRID), reverse=True)
    assert (GRID[0], GRID[4], GRID[-1]) == (64.0, 16.0, 0.0)


def test_perfect_agreement_needs_no_second_look() -> None:
    """Enough questions without an error certify every threshold, and the loosest is kept."""
    calibration = calibrate(sample([0.0] * 299, []))

    assert calibration.threshold == 0.0
    assert calibration.chosen is not None
    assert calibration.chosen.escalation_share == 0.0


def test_one_question_too_few_escalates_everything() -> None:
    """Without an error, and still too little to show anything."""
    calibration = calibrate(sample([0.0] * 298, []))

    assert calibration.threshold is None
    assert not any(point.passed for point in calibration.points)


def test_empty_sample_shows_nothing() -> None:
    """It escalates everything, and claims no agreement."""
    calibration = calibrate(sample([], []))

    assert (calibration.count, calibration.threshold) == (0, None)
    assert calibration.points[0].agreement == calibration.points[0].agreement_bound == 0.0
    assert issue(calibration, ORIGIN).escalation_share == 1.0


def test_threshold_stands_just_over_the_errors_it_cannot_afford() -> None:
    """Fifty errors at a margin of one are too many; a margin at the threshold itself is served."""
    calibration = calibrate(sample([5.0] * 950, [1.0] * 50))

    assert calibration.threshold == 1.125
    at_one = calibration.points[GRID.index(1.0)]
    assert (at_one.served_by_fast, at_one.errors, at_one.passed) == (1000, 50, False)
    assert (at_one.agreement, at_one.escalation_share) == (0.95, 0.0)
    assert calibration.chosen is not None
    assert (calibration.chosen.served_by_fast, calibration.chosen.errors) == (950, 0)
    assert calibration.chosen.escalation_share == pytest.approx(0.05)


def test_errors_that_are_affordable_are_afforded() -> None:
    """38 errors in 5,000 show that the rate is under 1 %, 39 do not."""
    few, many = calibrate(sample([5.0] * 4962, [5.0] * 38)), calibrate(sample([5.0] * 4961, [5.0] * 39))

    assert few.threshold == 0.0
    assert few.chosen is not None
    assert few.chosen.agreement_bound > 0.99
    assert many.threshold == 5.125
    assert many.points[-1].agreement_bound < 0.99


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**16), target=st.floats(0.8, 0.999), confidence=st.floats(0.5, 0.99))
def test_calibration_is_sound_for_any_sample(seed: int, target: float, confidence: float) -> None:
    """What passes is the strict end of the grid, its bound keeps the target, and counts are those of a plain loop."""
    rng = np.random.default_rng(seed)
    margin = rng.exponential(4.0, 400)
    drawn = Sample(margin, rng.random(400) > 0.3 * np.exp(-margin))

    calibration = calibrate(drawn, target, confidence)

    passed = [point.passed for point in calibration.points]
    assert passed == sorted(passed, reverse=True)
    for point in calibration.points[:: len(GRID) // 8]:
        assert point.served_by_fast == sum(margin >= point.threshold)
        assert point.errors == sum((margin >= point.threshold) & ~drawn.agrees)
    if calibration.chosen is not None:
        assert calibration.chosen.agreement_bound >= target - 1e-9
        assert calibration.chosen == [point for point in calibration.points if point.passed][-1]


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**16), targets=st.tuples(st.floats(0.8, 0.999), st.floats(0.8, 0.999)), data=st.booleans())
def test_stricter_promise_never_escalates_less(seed: int, targets: tuple[float, float], *, data: bool) -> None:
    """More agreement, or more confidence, costs second looks."""
    rng = np.random.default_rng(seed)
    drawn = Sample(rng.exponential(4.0, 500), rng.random(500) > 0.05)
    loose, strict = sorted(targets)

    if data:
        one, other = calibrate(drawn, loose).threshold, calibrate(drawn, strict).threshold
    else:
        one, other = calibrate(drawn, loose, loose).threshold, calibrate(drawn, loose, strict).threshold

    assert other is None or (one is not None and one <= other)


@pytest.mark.parametrize(
    ("target", "confidence", "count"), [(0.99, 0.95, 299), (0.95, 0.95, 59), (0.9, 0.9, 22), (0.5, 0.5, 1)]
)
def test_samples_needed_is_the_smallest_that_certifies(target: float, confidence: float, count: int) -> None:
    """299 for the default promise; one less is not enough."""
    assert samples_needed(target, confidence) == count
    assert calibrate(sample([0.0] * count, []), target, confidence).threshold == 0.0
    assert calibrate(sample([0.0] * (count - 1), []), target, confidence).threshold is None


@pytest.mark.parametrize(
    ("margin", "agrees", "named"),
    [
        (np.zeros(2), np.ones(3, dtype=bool), "equal length"),
        (np.zeros((2, 2)), np.ones((2, 2), dtype=bool), "one dimension"),
        (np.array([np.nan]), np.ones(1, dtype=bool), "finite"),
        (np.array([-1.0]), np.ones(1, dtype=bool), "from zero"),
        (np.zeros(1), np.ones(1), "booleans"),
    ],
)
def test_sample_refuses_what_is_none(margin: Any, agrees: Any, named: str) -> None:
    """Shapes, types and margins that no judge gives."""
    with pytest.raises(ValueError, match=named):
        Sample(margin, agrees)


@pytest.mark.parametrize("grid", [(), (1.0, 1.0), (1.0, 2.0), (1.0, -1.0), (float("inf"), 1.0), (float("nan"), 1.0)])
def test_grid_that_is_no_sequence_is_refused(grid: tuple[float, ...]) -> None:
    """It falls strictly, ends at zero or before, and is finite."""
    with pytest.raises(ValueError, match="grid"):
        certify(sample([1.0], []), target_agreement=0.9, confidence=0.9, grid=grid)


@pytest.mark.parametrize(("target", "confidence"), [(1.0, 0.95), (0.0, 0.95), (0.99, 1.0), (0.99, float("nan"))])
def test_promise_out_of_range_is_refused(target: float, confidence: float) -> None:
    """Certainty can't be sampled."""
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        calibrate(sample([1.0], []), target, confidence)
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        samples_needed(target, confidence)


def test_certificate_carries_what_it_rests_on(document: dict[str, Any]) -> None:
    """Counts at each threshold, and those at the chosen one."""
    certificate = Certificate.model_validate(document)

    assert (certificate.threshold, certificate.count, certificate.errors) == (1.125, 5000, 0)
    assert certificate.served_by_fast == 4900
    assert certificate.escalation_share == pytest.approx(0.02)
    assert (len(certificate.errors_at), certificate.errors_at[-1], certificate.served_at[-1]) == (len(GRID), 100, 5000)
    assert certificate.agreement_bound == pytest.approx(0.05 ** (1 / 5000))
    assert (certificate.group, certificate.lost, certificate.temperature) == ("similarity/9-16", 3, 1.3)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**16), count=st.integers(0, 2000), target=st.floats(0.8, 0.999))
def test_certificate_survives_json(seed: int, count: int, target: float) -> None:
    """Whatever the sample: equal again, and of the same id."""
    rng = np.random.default_rng(seed)
    drawn = Sample(rng.exponential(4.0, count), rng.random(count) > 0.02)
    certificate = issue(calibrate(drawn, target), ORIGIN)

    read = Certificate.model_validate_json(certificate.model_dump_json())

    assert read == certificate
    assert read.id == certificate.id


def test_id_is_a_hash_of_the_content(document: dict[str, Any]) -> None:
    """Another group is another document."""
    one = Certificate.model_validate(document)
    other = Certificate.model_validate(document | {"group": "similarity/2-8"})

    assert one.id != other.id
    assert one.id.startswith("c-")
    assert len(one.id) == 14


def set_threshold(value: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Move the threshold, with the counts that the grid has there."""

    def change(document: dict[str, Any]) -> dict[str, Any]:
        at = document["grid"].index(value)
        counts = {"errors": document["errors_at"][at], "served_by_fast": document["served_at"][at]}
        return {"threshold": value, **counts}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_threshold(0.5), "threshold: 100 errors in 5000 do not certify 0.5"),
        (lambda _: {"target_agreement": 0.9999}, "0 errors in 5000 do not certify 1.125 at agreement 0.9999"),
        (lambda _: {"confidence": 1.0}, "confidence"),
        (lambda _: {"threshold": 1.1}, "threshold: 1.1 is not in the grid"),
        (lambda _: {"threshold": None}, "served_by_fast, errors: are not those of the grid"),
        (lambda _: {"errors": 1}, "served_by_fast, errors: are not those of the grid"),
        (lambda _: {"served_by_fast": 4901}, "served_by_fast, errors: are not those of the grid"),
        (lambda _: {"agreement_bound": 0.9999}, "agreement_bound, escalation_share: do not follow"),
        (lambda _: {"escalation_share": 0.01}, "agreement_bound, escalation_share: do not follow"),
        (lambda _: {"count": 4999}, "errors_at, served_at, count: must be in this order"),
        (lambda d: {"served_at": [0] * len(d["grid"])}, "errors_at, served_at, count: must be in this order"),
        (lambda d: {"errors_at": d["errors_at"][::-1]}, "errors_at: must not fall"),
        (lambda d: {"served_at": d["served_at"][::-1]}, "served_at: must not fall"),
        (lambda d: {"errors_at": d["errors_at"][1:]}, "must be equally long"),
        (lambda d: {"grid": d["grid"][::-1]}, "grid: must fall"),
        (lambda _: {"threshold": float("nan")}, "finite"),
        (lambda _: {"temperature": 0.0}, "greater than 0"),
        (lambda _: {"created_at": "yesterday"}, "UTC"),
        (lambda _: {"created_at": "2026-03-01T12:00:00"}, "UTC"),
        (lambda _: {"created_at": "2026-03-01T12:00:00+01:00"}, "UTC"),
        (lambda _: {"source": "hearsay"}, "audit log"),
        (lambda _: {"group": ""}, "group"),
        (lambda _: {"treshold": 1.0}, "treshold"),
    ],
)
def test_document_that_was_tampered_with_is_refused(
    document: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    """Each number is bound by the others, and the message says which is not."""
    with pytest.raises(ValidationError, match=message):
        Certificate.model_validate(document | change(document))


def test_certificate_holds_for_its_models_alone(document: dict[str, Any]) -> None:
    """Another revision of either voids it."""
    certificate = Certificate.model_validate(document)

    assert certificate.holds_for("ViT-B-32@1", "ViT-L-14@2")
    assert not certificate.holds_for("ViT-B-32@2", "ViT-L-14@2")
    assert not certificate.holds_for("ViT-B-32@1", "ViT-L-14@3")


@pytest.mark.parametrize(
    ("target", "confidence", "expected"),
    [(0.99, 0.95, True), (0.98, 0.9, True), (0.995, 0.95, False), (0.99, 0.99, False)],
)
def test_certificate_certifies_what_asks_no_more(
    document: dict[str, Any], target: float, confidence: float, *, expected: bool
) -> None:
    """In agreement and in confidence."""
    assert Certificate.model_validate(document).certifies(target, confidence) is expected
