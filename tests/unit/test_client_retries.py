"""Which refusals are sent again, and after how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondlook.client.retries import RETRIED, Refusal, RetryPolicy

POLICIES = st.builds(
    lambda attempts, first, factor: RetryPolicy(attempts, first, first * factor),
    st.integers(1, 100),
    st.floats(0.001, 10),
    st.floats(1, 1000),
)
DRAWS = st.floats(0, 1, exclude_max=True)
LEFT = st.floats(0, 1e6)


@given(POLICIES, st.integers(100, 599).filter(lambda status: status not in RETRIED), LEFT, DRAWS)
def test_only_503_and_429_are_sent_again(policy: RetryPolicy, status: int, left_s: float, draw: float) -> None:
    """Any other status is an answer, whatever its Retry-After."""
    assert policy.pause_s(1, Refusal(status, "1"), left_s, draw) is None


@given(POLICIES, st.sampled_from(sorted(RETRIED)), LEFT, DRAWS)
def test_attempts_are_bounded(policy: RetryPolicy, status: int, left_s: float, draw: float) -> None:
    """After the last one there is no pause, only the error."""
    assert policy.pause_s(policy.attempts, Refusal(status), left_s, draw) is None


@given(POLICIES, st.integers(1, 200), st.none() | st.integers(0, 10**6).map(str), LEFT, DRAWS)
def test_pause_ends_before_the_deadline(
    policy: RetryPolicy, sent: int, retry_after: str | None, left_s: float, draw: float
) -> None:
    """Nobody waits for an attempt that can't be made."""
    pause_s = policy.pause_s(sent, Refusal(503, retry_after), left_s, draw)

    assert pause_s is None or 0 <= pause_s < left_s


@given(POLICIES, st.integers(1, 99), st.integers(0, 1000), DRAWS)
def test_retry_after_is_honoured(policy: RetryPolicy, sent: int, seconds: int, draw: float) -> None:
    """Never sooner than the service said, and later by a random part only."""
    pause_s = policy.pause_s(sent, Refusal(429, str(seconds)), 1e9, draw)

    if pause_s is None:
        assert sent >= policy.attempts
    else:
        assert seconds <= pause_s <= seconds + policy.longest_pause_s


@given(POLICIES.filter(lambda policy: policy.attempts > 1), st.data())
def test_pauses_double_up_to_the_longest(policy: RetryPolicy, data: st.DataObject) -> None:
    """Without Retry-After a pause is a random part of first_pause_s, doubled each time."""
    sent = data.draw(st.integers(1, policy.attempts - 1))
    draw = data.draw(DRAWS)

    pause_s = policy.pause_s(sent, Refusal(503), 1e9, draw)

    assert pause_s == pytest.approx(draw * min(policy.longest_pause_s, policy.first_pause_s * 2 ** (sent - 1)))


@given(st.text(max_size=10).filter(lambda text: not (text.strip().isascii() and text.strip().isdigit())))
def test_retry_after_that_is_no_number_of_seconds_is_passed_over(text: str) -> None:
    """A date, a fraction, a sign or nonsense: the client's own pause."""
    assert RetryPolicy().pause_s(1, Refusal(503, text), 60, 0.5) == RetryPolicy().pause_s(1, Refusal(503), 60, 0.5)


def test_retry_after_beyond_any_deadline_ends_the_call() -> None:
    """A number of four hundred digits is infinite, not an error."""
    assert RetryPolicy().pause_s(1, Refusal(503, "9" * 400), 60, 0.5) is None


@pytest.mark.parametrize("arguments", [(0, 1.0, 2.0), (1, 0.0, 1.0), (1, 2.0, 1.0), (1, float("nan"), 1.0)])
def test_policy_that_makes_no_sense_is_refused(arguments: tuple[int, float, float]) -> None:
    """At least one attempt; pauses that grow."""
    with pytest.raises(ValueError, match="retry policy"):
        RetryPolicy(*arguments)
