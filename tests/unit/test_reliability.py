"""Reliability of confidence: the temperature that mends it, and the bins that show it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from router.reliability import COLDEST, HOTTEST, calibrate, expected_calibration_error, fit_temperature, reliability

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def overconfident(temperature: float, count: int = 20_000, seed: int = 1) -> tuple[Floats, Bools]:
    """Draw confidences whose logits are `temperature` times too large."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(1.5, 1.5, count)
    correct = rng.random(count) < 1 / (1 + np.exp(-honest))
    return 1 / (1 + np.exp(-honest * temperature)), correct


def always(confidence: float, count: int, *, correct: bool) -> tuple[Floats, Bools]:
    """Return equal decisions, all right or all wrong."""
    return np.full(count, confidence), np.full(count, correct)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 4.0])
def test_fit_finds_the_temperature_that_was_put_in(temperature: float) -> None:
    """Too timid, just right, and much too sure."""
    assert fit_temperature(*overconfident(temperature)) == pytest.approx(temperature, rel=0.05)


def test_fitted_temperature_mends_the_calibration_error() -> None:
    """Measured on other draws than those it was fitted on."""
    temperature = fit_temperature(*overconfident(3.0, seed=1))
    confidence, correct = overconfident(3.0, seed=2)
    mended = np.array([calibrate(value, temperature) for value in confidence.tolist()])

    assert expected_calibration_error(reliability(confidence, correct)) > 0.1
    assert expected_calibration_error(reliability(mended, correct)) < 0.02


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_sample_without_a_mistake_claims_what_its_size_can_show(count: int) -> None:
    """The rule of succession, (n + 1) / (n + 2), and not the coldest temperature of the range."""
    temperature = fit_temperature(*always(0.9, count, correct=True))

    assert temperature > COLDEST * 1.01
    assert calibrate(0.9, temperature) == pytest.approx((count + 1) / (count + 2), rel=1e-6)


def test_decisions_that_are_always_wrong_get_the_hottest() -> None:
    """The range ends there; no temperature turns a decision round."""
    assert fit_temperature(*always(0.9, 100, correct=False)) == pytest.approx(HOTTEST)


@pytest.mark.parametrize("confidence", [np.array([]), np.full(5, 0.5)])
def test_nothing_to_learn_from_changes_nothing(confidence: Floats) -> None:
    """No decision, or each with even odds: temperature one."""
    assert fit_temperature(confidence, np.ones(len(confidence), dtype=bool)) == 1.0


def test_fit_withstands_certainty_on_both_sides() -> None:
    """Confidences of exactly 0 and 1 have no finite odds."""
    temperature = fit_temperature(np.array([0.0, 1.0, 1.0, 1.0]), np.array([False, True, True, False]))

    assert COLDEST <= temperature <= HOTTEST


@settings(deadline=None)
@given(
    one=st.floats(0, 1), other=st.floats(0, 1), temperature=st.floats(COLDEST, HOTTEST), hotter=st.floats(1, HOTTEST)
)
def test_calibrate_is_sound_for_any_confidence(one: float, other: float, temperature: float, hotter: float) -> None:
    """A probability, in the order of the confidences; heat brings it nearer to even odds."""
    low, high = sorted((one, other))

    assert 0.0 <= calibrate(low, temperature) <= calibrate(high, temperature) <= 1.0
    assert abs(calibrate(one, hotter) - 0.5) <= abs(one - 0.5) + 1e-8


@settings(deadline=None)
@given(confidence=st.floats(0, 1))
def test_temperature_of_one_changes_nothing(confidence: float) -> None:
    """But for what is certain by rounding."""
    assert calibrate(confidence, 1.0) == pytest.approx(confidence, abs=2e-9)


def test_bins_compare_confidence_with_what_was_right() -> None:
    """Three decisions near 0.9 of which two are right; certainty belongs to the last bin; empty bins are left out."""
    low, last = reliability(np.array([0.12, 0.91, 0.95, 1.0]), np.array([False, True, False, True]))

    assert (low.lower, low.upper, low.count, low.correct_share) == (0.1, 0.2, 1, 0.0)
    assert (last.lower, last.upper, last.count) == (0.9, 1.0, 3)
    assert last.mean_confidence == pytest.approx(2.86 / 3)
    assert last.correct_share == pytest.approx(2 / 3)
    assert last.correct_low == pytest.approx(0.0943, abs=1e-4)  # Clopper-Pearson, 2 of 3 at 95 %
    assert last.correct_high == pytest.approx(0.9916, abs=1e-4)
    assert low.correct_low == 0.0
    assert low.correct_high == pytest.approx(0.975)


def test_number_of_bins_is_the_callers() -> None:
    """Half and half."""
    bins = reliability(np.array([0.1, 0.6]), np.array([True, True]), bins=2)

    assert [(each.lower, each.upper) for each in bins] == [(0.0, 0.5), (0.5, 1.0)]


def test_calibration_error_is_the_mean_distance() -> None:
    """Weighted by how many decisions are in a bin; nothing is no error."""
    bins = reliability(np.array([0.15, 0.85, 0.85, 0.85]), np.array([False, True, True, True]))

    assert expected_calibration_error(bins) == pytest.approx(0.15)
    assert expected_calibration_error(()) == 0.0


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**16), count=st.integers(0, 200), bins=st.integers(1, 20))
def test_every_decision_is_in_one_bin(seed: int, count: int, bins: int) -> None:
    """And each bin's share lies in its interval, its confidence between its edges."""
    rng = np.random.default_rng(seed)

    found = reliability(rng.random(count), rng.random(count) < 0.5, bins)

    assert sum(each.count for each in found) == count
    for each in found:
        assert each.lower - 1e-9 <= each.mean_confidence <= each.upper + 1e-9
        assert each.correct_low <= each.correct_share <= each.correct_high


@pytest.mark.parametrize(
    ("confidence", "correct", "named"),
    [
        (np.zeros(2), np.ones(3, dtype=bool), "equally many"),
        (np.zeros((1, 1)), np.ones((1, 1), dtype=bool), "one dimension"),
        (np.zeros(1), np.ones(1), "booleans"),
        (np.array([math.nan]), np.ones(1, dtype=bool), "between 0 and 1"),
        (np.array([1.1]), np.ones(1, dtype=bool), "between 0 and 1"),
    ],
)
def test_arrays_that_are_no_decisions_are_refused(confidence: Floats, correct: Bools, named: str) -> None:
    """By the fit and by the bins."""
    with pytest.raises(ValueError, match=named):
        fit_temperature(confidence, correct)
    with pytest.raises(ValueError, match=named):
        reliability(confidence, correct)
