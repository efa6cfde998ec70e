"""The circuit breaker, moved by a clock that is a number."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import ValidationError

from cache.store import Gate
from router.breaker import BreakerConfig, BreakerState, CircuitBreaker

CONFIG = BreakerConfig(
    consecutive_failures=3, failure_rate=0.5, window_s=10.0, window_min_calls=10, open_s=2.0, probe_timeout_s=5.0
)


def make_open(now: float = 0.0) -> CircuitBreaker:
    """Return a breaker that opened at this time."""
    breaker = CircuitBreaker(CONFIG)
    for _ in range(CONFIG.consecutive_failures):
        breaker.failed(now)
    return breaker


def test_new_breaker_lets_every_call_through() -> None:
    """Closed is where it begins; it is a gate for the cache, too."""
    breaker: Gate = CircuitBreaker()

    assert all(breaker.allow(0.0) for _ in range(100))


def test_breaker_opens_on_failures_in_a_row() -> None:
    """The third failure in a row opens it, the second does not."""
    breaker = CircuitBreaker(CONFIG)

    breaker.failed(0.0)
    breaker.failed(0.1)
    before = breaker.state(0.1)
    breaker.failed(0.2)

    assert (before, breaker.state(0.2)) == (BreakerState.CLOSED, BreakerState.OPEN)
    assert breaker.opened_times == 1


def test_success_ends_a_row_of_failures() -> None:
    """Failures count in a row only as long as nothing succeeds between them."""
    breaker = CircuitBreaker(CONFIG)

    for now in range(3):
        breaker.failed(now)
        breaker.failed(now)
        breaker.succeeded(now)

    assert breaker.allow(2.0)


def test_breaker_opens_on_the_failure_rate() -> None:
    """Every second call fails, never three in a row: half of ten calls opens it."""
    breaker = CircuitBreaker(CONFIG)

    states = []
    for call in range(5):
        breaker.succeeded(0.1 * call)
        breaker.failed(0.1 * call)
        states.append(breaker.state(0.1 * call))

    assert states == [BreakerState.CLOSED] * 4 + [BreakerState.OPEN]


def test_failures_older_than_the_window_do_not_count() -> None:
    """The same failures, spread over many windows, leave it closed."""
    breaker = CircuitBreaker(CONFIG)

    for call in range(50):
        breaker.succeeded(3.0 * call)
        breaker.failed(3.0 * call)

    assert breaker.state(150.0) is BreakerState.CLOSED


def test_open_breaker_lets_no_call_through() -> None:
    """Until its time is over it says no."""
    breaker = make_open(now=0.0)

    assert not any(breaker.allow(now) for now in (0.0, 1.0, 1.999))


def test_half_open_breaker_lets_one_probe_through() -> None:
    """After its time one call may try, and only one."""
    breaker = make_open(now=0.0)

    assert [breaker.allow(2.0), breaker.allow(2.0), breaker.allow(3.0)] == [True, False, False]
    assert breaker.state(2.0) is BreakerState.HALF_OPEN


def test_successful_probe_closes_the_breaker() -> None:
    """One good answer, and everything passes again; old failures are forgotten."""
    breaker = make_open(now=0.0)
    breaker.allow(2.0)

    breaker.succeeded(2.1)
    breaker.failed(2.2)
    breaker.failed(2.3)

    assert breaker.state(2.3) is BreakerState.CLOSED
    assert breaker.allow(2.3)


def test_failed_probe_opens_the_breaker_again() -> None:
    """A bad answer starts the waiting time anew."""
    breaker = make_open(now=0.0)
    breaker.allow(2.0)

    breaker.failed(3.0)

    assert [breaker.allow(now) for now in (3.0, 4.9, 5.0)] == [False, False, True]
    assert breaker.opened_times == 2


def test_abandoned_probe_frees_its_place() -> None:
    """A probe whose caller went away says nothing: the next call probes."""
    breaker = make_open(now=0.0)
    breaker.allow(2.0)

    breaker.abandoned(2.1)

    assert [breaker.allow(2.1), breaker.allow(2.1)] == [True, False]
    assert breaker.state(2.1) is BreakerState.HALF_OPEN


def test_abandoned_call_of_a_closed_breaker_counts_as_nothing() -> None:
    """Callers that give up neither open the breaker nor end a row of failures."""
    breaker = CircuitBreaker(CONFIG)
    breaker.failed(0.0)
    breaker.failed(0.0)

    breaker.abandoned(0.0)
    breaker.failed(0.0)

    assert breaker.state(0.0) is BreakerState.OPEN


def test_lost_probe_does_not_wedge_the_breaker() -> None:
    """A probe that is never reported gives its place to another after its own time."""
    breaker = make_open(now=0.0)
    breaker.allow(2.0)

    assert [breaker.allow(now) for now in (6.9, 7.0, 7.1)] == [False, True, False]


@pytest.mark.parametrize("report", ["succeeded", "failed", "abandoned"])
def test_late_report_does_not_move_an_open_breaker(report: str) -> None:
    """A call from before the opening neither closes it nor makes it wait longer."""
    breaker = make_open(now=0.0)

    getattr(breaker, report)(1.9)

    assert [breaker.allow(1.9), breaker.allow(2.0)] == [False, True]


@pytest.mark.parametrize("field", ["consecutive_failures", "failure_rate", "window_s", "open_s", "probe_timeout_s"])
def test_config_refuses_zero(field: str) -> None:
    """A breaker that could never open, or never close, is a mistake."""
    with pytest.raises(ValidationError, match=field):
        BreakerConfig.model_validate({field: 0})


class BreakerMachine(RuleBasedStateMachine):
    """Calls that end in any order at any time: the breaker is never wedged and never lets a herd through."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = CircuitBreaker(CONFIG)
        self.now = 0.0
        self.calls = 0
        self.probes_at: list[float] = []

    @rule(seconds=st.floats(0.0, 8.0))
    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @rule()
    def call(self) -> None:
        """Ask; a permission outside the closed state is a probe."""
        state = self.breaker.state(self.now)
        allowed = self.breaker.allow(self.now)
        assert allowed or state is not BreakerState.CLOSED
        assert not (allowed and state is BreakerState.OPEN)
        self.calls += allowed
        if allowed and state is BreakerState.HALF_OPEN:
            assert all(at + CONFIG.probe_timeout_s <= self.now for at in self.probes_at)
            self.probes_at = [self.now]

    @precondition(lambda self: self.calls > 0)
    @rule(report=st.sampled_from(["succeeded", "failed", "abandoned"]))
    def end_call(self, report: str) -> None:
        """Report one of the calls which were let through."""
        self.calls -= 1
        self.probes_at = []
        getattr(self.breaker, report)(self.now)

    @invariant()
    def some_call_gets_through_in_time(self) -> None:
        """However it stands, once both waiting times are over a call would be let through."""
        later = self.now + CONFIG.open_s + CONFIG.probe_timeout_s
        assert self.breaker.state(later) is not BreakerState.OPEN


BreakerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestBreakerMachine = BreakerMachine.TestCase


def test_answers_that_take_too_long_open_it_like_failures() -> None:
    """A tier that answers after the time in which anybody would wait is ill."""
    breaker = CircuitBreaker(CONFIG.model_copy(update={"slow_call_s": 1.0}))

    for now in range(3):
        breaker.succeeded(now, took_s=1.5)

    assert breaker.state(2.0) is BreakerState.OPEN


def test_slow_probe_opens_it_again() -> None:
    """Half-open, an answer that is good but slow proves nothing."""
    breaker = make_open()
    assert breaker.allow(3.0)

    breaker.succeeded(3.0, took_s=CONFIG.slow_call_s + 1)

    assert breaker.state(3.1) is BreakerState.OPEN
