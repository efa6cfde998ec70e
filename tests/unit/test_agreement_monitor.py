"""The monitor of agreement: evidence, alarm, and the recent window."""

import math
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from router.agreement_monitor import (
    BLOCK_AUDITS,
    BLOCKS,
    LIMIT,
    Block,
    MonitorState,
    log_ratio,
    observe,
    recent_agreement,
)
from router.binomial import upper_bound


def watch(audits: list[bool], state: MonitorState | None = None, target_agreement: float = 0.99) -> MonitorState:
    """Observe audits in turn, from nothing unless a state is given."""
    state = MonitorState() if state is None else state
    for is_error in audits:
        state = observe(state, is_error=is_error, target_agreement=target_agreement)
    return state


def test_evidence_is_the_likelihood_of_twice_the_allowed_rate() -> None:
    """An error doubles it, an agreement takes 98/99 of it."""
    assert watch([True]).evidence == pytest.approx(math.log(2))
    assert watch([True, False]).evidence == pytest.approx(math.log(2 * 98 / 99))


def test_agreement_cannot_be_saved_up() -> None:
    """After a thousand good audits an error weighs what it did at first."""
    assert watch([False] * 1000 + [True]).evidence == pytest.approx(math.log(2))


def test_alarm_is_raised_at_the_limit_and_latches() -> None:
    """Fifteen doublings exceed 20,000, fourteen do not; good audits afterwards take nothing back."""
    assert 2**14 < LIMIT < 2**15
    assert not watch([True] * 14).is_alarmed
    assert watch([True] * 15).is_alarmed
    assert watch([True] * 15 + [False] * 5000).is_alarmed


def test_everything_is_counted() -> None:
    """Also after the alarm."""
    state = watch([True] * 20 + [False] * 30)

    assert (state.audits, state.disagreements) == (50, 20)


@pytest.mark.parametrize("target_agreement", [0.001, 0.3, 0.5, 0.9, 0.99, 0.999999])
def test_evidence_is_fair_at_the_allowed_rate(target_agreement: float) -> None:
    """Its expectation is one there, also where twice the rate would be none: else alarms would be false."""
    allowed = 1 - target_agreement
    error, agreement = (math.exp(log_ratio(target_agreement, is_error=is_error)) for is_error in (True, False))

    assert allowed * error + (1 - allowed) * agreement == pytest.approx(1.0)
    assert agreement < 1.0 < error


@pytest.mark.parametrize("target_agreement", [0.0, 1.0, math.nan])
def test_target_out_of_range_is_refused(target_agreement: float) -> None:
    """No rate, no ratio."""
    with pytest.raises(ValueError, match="target_agreement"):
        observe(MonitorState(), is_error=False, target_agreement=target_agreement)


def test_recent_window_forgets_its_oldest_block() -> None:
    """Errors of long ago leave it; memory stays bounded."""
    filled = watch([True] * 10 + [False] * (BLOCKS * BLOCK_AUDITS - 10))
    moved_on = watch([False], filled)

    assert recent_agreement(filled, 0.95)[0] == 1 - 10 / 5000
    assert recent_agreement(moved_on, 0.95)[0] == 1.0
    assert len(moved_on.recent) == BLOCKS
    assert moved_on.recent[-1] == Block(1, 0)


def test_recent_bound_is_clopper_pearsons() -> None:
    """One error in a hundred; nothing before any audit."""
    share, bound = recent_agreement(watch([True] + [False] * 99), 0.95)

    assert share == 0.99
    assert bound == 1 - upper_bound(1, 100, 1 - 0.95)
    assert recent_agreement(MonitorState(), 0.95) == (0.0, 0.0)


@settings(deadline=None, max_examples=50)
@given(audits=st.lists(st.booleans(), max_size=600), at=st.integers(0, 600))
def test_state_survives_a_restart(audits: list[bool], at: int) -> None:
    """Through JSON anywhere in between, the same audits end in the same state."""
    stored = watch(audits[:at]).model_dump_json()

    assert watch(audits[at:], MonitorState.model_validate_json(stored)) == watch(audits)


@settings(deadline=None, max_examples=50)
@given(audits=st.lists(st.booleans(), min_size=1, max_size=100))
def test_evidence_is_that_of_the_best_starting_point(audits: list[bool]) -> None:
    """The e-CUSUM is the largest product of ratios over all runs that end now."""
    ratios = [log_ratio(0.99, is_error=is_error) for is_error in audits]

    assert watch(audits).evidence == pytest.approx(max(accumulate(reversed(ratios))))


@pytest.mark.parametrize(
    "document", [{"evidence": math.inf}, {"audits": -1}, {"recent": [[1, 0]] * (BLOCKS + 1)}, {"alarm": True}]
)
def test_state_that_no_monitor_wrote_is_refused(document: dict[str, object]) -> None:
    """Infinite, negative, too long, or of another key."""
    with pytest.raises(ValidationError):
        MonitorState.model_validate(document)
