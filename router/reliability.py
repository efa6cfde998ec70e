"""Whether a tier is right as often as it is confident, and the temperature that makes it so. Pure: numbers in and out.

"Right" is whatever the caller compares with: another tier's decision as a rule, the truth where it is known.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.binomial import upper_bound

COLDEST, HOTTEST = 1 / 20, 20.0
# Confidences nearer to 0 or 1 are taken for this far away: their odds are rounding, and would be infinite at last.
EDGE = 1e-9
GOLDEN = (math.sqrt(5) - 1) / 2
# Golden sections of the range of log T: what is left is a relative 1e-8, finer than the likelihood can tell.
SECTIONS = 42
# Of the two-sided interval around each bin's share.
INTERVAL_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Bin:
    """Decisions of similar confidence: `lower` to `upper`, of which at least one was seen.

    `correct_low` and `correct_high` are the Clopper-Pearson interval of `correct_share`, at 95 %.
    """

    lower: float
    upper: float
    count: int
    mean_confidence: float
    correct_share: float
    correct_low: float
    correct_high: float


def fit_temperature(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Return the T, 1/20 to 20, for which sigmoid(logit(confidence) / T) explains `correct` best.

    Maximum likelihood with Platt's smoothed targets: of n right decisions each counts as (n + 1) / (n + 2) right, of m
    wrong ones each as 1 / (m + 2). So a sample without a mistake claims no more than its size can show, instead of the
    coldest temperature of the range; the smoothing fades as the sample grows. A range's end is returned where the
    likelihood points beyond it: the hottest where decisions are no better than a coin's toss. 1 where there is nothing
    to learn from: no decision, or each with even odds.
    """
    _check(confidence, correct)
    logits = _logit(confidence)
    if not logits.any():
        return 1.0
    right = int(np.count_nonzero(correct))
    wrong = len(correct) - right
    target = np.where(correct, (right + 1) / (right + 2), 1 / (wrong + 2))

    def loss(log_temperature: float) -> float:
        scaled = logits * math.exp(-log_temperature)
        return float((np.logaddexp(0.0, scaled) - target * scaled).sum())

    return math.exp(_golden_section(loss, math.log(COLDEST), math.log(HOTTEST)))


def calibrate(confidence: float, temperature: float) -> float:
    """Return what a confidence is worth at a fitted temperature; 0 and 1 are no exceptions."""
    inside = min(1.0 - EDGE, max(EDGE, confidence))
    scaled = math.log(inside / (1.0 - inside)) / temperature
    if scaled >= 0:
        return 1.0 / (1.0 + math.exp(-scaled))
    odds = math.exp(scaled)
    return odds / (1.0 + odds)


def reliability(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = 10) -> tuple[Bin, ...]:
    """Compare confidence with the share correct, in `bins` of equal width; those without a decision are left out."""
    _check(confidence, correct)
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return tuple(_bin(index, bins, confidence[place == index], correct[place == index]) for index in np.unique(place))


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Return how far confidence and share correct lie apart, on average over the decisions; 0 where there are none."""
    count = sum(each.count for each in bins)
    return sum(each.count * abs(each.correct_share - each.mean_confidence) for each in bins) / max(1, count)


def _check(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> None:
    if confidence.ndim != 1 or confidence.shape != correct.shape or correct.dtype != np.bool_:
        raise ValueError("confidence, correct: must be numbers and booleans, in one dimension and equally many")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidence: must be between 0 and 1")


def _bin(index: int, bins: int, confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> Bin:
    count, right = len(correct), int(np.count_nonzero(correct))
    tail = (1.0 - INTERVAL_CONFIDENCE) / 2
    return Bin(
        lower=float(index / bins),
        upper=float((index + 1) / bins),
        count=count,
        mean_confidence=float(confidence.mean()),
        correct_share=right / count,
        correct_low=1.0 - upper_bound(count - right, count, tail),
        correct_high=upper_bound(right, count, tail),
    )


def _logit(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(confidence.astype(np.float64), EDGE, 1.0 - EDGE)
    logits: NDArray[np.float64] = np.log(inside) - np.log1p(-inside)
    return logits


def _golden_section(loss: Callable[[float], float], low: float, high: float) -> float:
    """Find where a function of one valley is least (here: convex in 1 / T, hence of one valley in log T)."""
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(SECTIONS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = loss(right)
    return (low + high) / 2
