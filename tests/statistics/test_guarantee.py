"""What a certificate promises, over many simulated calibrations under laws that are known exactly."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from router.certificate import Calibration, Sample, certify

CONFIDENCE = 0.95
CALIBRATIONS = 500
MEAN_MARGIN = 4.0


@dataclass(frozen=True)
class Law:
    """Exponential margins; P(tiers differ | margin) = floor + height * exp(-margin / fade)."""

    height: float
    fade: float
    floor: float = 0.0

    def draw(self, count: int, rng: np.random.Generator) -> Sample:
        """Draw a sample."""
        margin = rng.exponential(MEAN_MARGIN, count)
        return Sample(margin, rng.random(count) >= self.floor + self.height * np.exp(-margin / self.fade))

    def risk(self, threshold: float | None) -> float:
        """Return the exact share that the fast tier serves otherwise than the accurate tier would."""
        if threshold is None:
            return 0.0
        rate = 1 / MEAN_MARGIN + 1 / self.fade
        fading = self.height / (MEAN_MARGIN * rate) * math.exp(-threshold * rate)
        return fading + self.floor * math.exp(-threshold / MEAN_MARGIN)

    def oracle_escalation(self, allowed: float) -> float:
        """Return what the least threshold escalates that keeps the risk, known only to who knows the law."""
        low, high = 0.0, 1000.0
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if self.risk(middle) > allowed else (low, middle)
        return escalation(high)


# The first disagrees on 12.9 %. The second is wrong with great confidence too, at whatever margin.
FADING = Law(height=0.42, fade=1.772)
STUBBORN = Law(height=0.4, fade=1.772, floor=0.006)


def escalation(threshold: float | None) -> float:
    """Return the exact share with a second look."""
    return 1.0 if threshold is None else 1.0 - math.exp(-threshold / MEAN_MARGIN)


@cache  # for the tests that look at the same ones
def calibrations(law: Law, allowed: float, count: int) -> list[Calibration]:
    """Calibrate many times over, each on a sample of its own."""
    rng = np.random.default_rng([count, round(1000 * allowed)])
    target = 1.0 - allowed
    return [certify(law.draw(count, rng), target_agreement=target, confidence=CONFIDENCE) for _ in range(CALIBRATIONS)]


def naive_threshold(calibration: Calibration, allowed: float) -> float | None:
    """Return the loosest threshold that kept its target in the sample."""
    kept = [point.threshold for point in calibration.points if point.errors <= allowed * calibration.count]
    return kept[-1] if kept else None


def broken_share(law: Law, thresholds: list[float | None], allowed: float) -> float:
    """Return the share of thresholds whose true risk is over what is allowed."""
    return sum(law.risk(threshold) > allowed for threshold in thresholds) / len(thresholds)


def test_laws_are_those_of_the_study() -> None:
    """Base disagreement, and what the oracle escalates at 1 %; sums over a large draw agree with the formulas."""
    drawn = FADING.draw(1_000_000, np.random.default_rng(5))

    assert FADING.risk(0.0) == pytest.approx(0.129, abs=1e-3)
    assert FADING.oracle_escalation(0.01) == pytest.approx(0.544, abs=2e-3)
    assert 1 - drawn.agrees.mean() == pytest.approx(FADING.risk(0.0), abs=1e-3)
    assert ((drawn.margin >= 3.0) & ~drawn.agrees).mean() == pytest.approx(FADING.risk(3.0), abs=5e-4)


@pytest.mark.parametrize("count", [1000, 5000])
@pytest.mark.parametrize("allowed", [0.01, 0.02])
@pytest.mark.parametrize("law", [FADING, STUBBORN], ids=["fading", "stubborn"])
def test_certified_threshold_keeps_its_target(law: Law, allowed: float, count: int) -> None:
    """Broken in at most 5 % of calibrations, within what 500 of them can tell."""
    thresholds = [calibration.threshold for calibration in calibrations(law, allowed, count)]
    delta = 1.0 - CONFIDENCE
    sampling_error = 2 * math.sqrt(delta * (1 - delta) / CALIBRATIONS)

    assert broken_share(law, thresholds, allowed) <= delta + sampling_error


@pytest.mark.parametrize("count", [1000, 5000])
@pytest.mark.parametrize("allowed", [0.01, 0.02])
def test_naive_threshold_breaks_its_target(allowed: float, count: int) -> None:
    """The loosest that looks right in the same samples, in over 30 %: the simulation can tell the two apart."""
    found = calibrations(FADING, allowed, count)

    assert broken_share(FADING, [naive_threshold(calibration, allowed) for calibration in found], allowed) > 0.3


@pytest.mark.parametrize("allowed", [0.01, 0.02])
def test_certified_threshold_escalates_little_more_than_the_oracle(allowed: float) -> None:
    """At most ten points of share in 19 of 20 calibrations, and six on average, at the default sample of 5,000."""
    found = [escalation(calibration.threshold) for calibration in calibrations(FADING, allowed, 5000)]
    oracle = FADING.oracle_escalation(allowed)

    assert np.quantile(found, 0.95) < oracle + 0.1
    assert np.mean(found) < oracle + 0.06
