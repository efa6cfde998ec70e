"""When the monitor alarms, over many simulated runs: seldom where the target is kept, soon where errors double."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from router.agreement_monitor import LIMIT, MonitorState, log_ratio, observe


def alarms(error_rate: float, target_agreement: float, audits: int, runs: int) -> NDArray[np.int64]:
    """Return, for each of `runs` monitors at once, after how many audits the alarm came; audits + 1: not at all."""
    rng = np.random.default_rng([runs, round(1e6 * error_rate)])
    error, agreement = (log_ratio(target_agreement, is_error=is_error) for is_error in (True, False))
    evidence = np.zeros(runs)
    at = np.full(runs, audits + 1)
    for audit in range(1, audits + 1):
        ratio = np.where(rng.random(runs) < error_rate, error, agreement)
        evidence = np.maximum(evidence, 0.0) + ratio
        at[(evidence >= math.log(LIMIT)) & (at > audits)] = audit
    return at


def test_many_monitors_at_once_are_the_monitor() -> None:
    """The simulation below follows `observe` step by step."""
    error_rate, target, audits = 0.03, 0.99, 3000
    errors = np.random.default_rng([1, round(1e6 * error_rate)]).random((audits, 1))[:, 0] < error_rate
    state, at = MonitorState(), audits + 1
    for audit, is_error in enumerate(errors.tolist(), start=1):
        state = observe(state, is_error=is_error, target_agreement=target)
        at = min(at, audit) if state.is_alarmed else at

    assert alarms(error_rate, target, audits, runs=1).tolist() == [at]
    assert state.is_alarmed


def test_monitor_rarely_alarms_at_the_worst_rate_that_is_allowed() -> None:
    """Of runs of 20,000 audits at exactly 1 %, under 1 % see an alarm."""
    assert (alarms(0.01, 0.99, 20_000, runs=2000) <= 20_000).mean() < 0.01


def test_monitor_sees_doubled_disagreement() -> None:
    """After a median of 2,100 audits, nine times in ten within 4,000."""
    at = alarms(0.02, 0.99, 10_000, runs=1000)

    assert np.median(at) == pytest.approx(2100, rel=0.1)
    assert np.quantile(at, 0.9) < 4000


def test_monitor_takes_four_times_as_long_for_half_the_change() -> None:
    """1.5 % in place of 2 %."""
    assert np.median(alarms(0.015, 0.99, 20_000, runs=1000)) == pytest.approx(4 * 2100, rel=0.15)
