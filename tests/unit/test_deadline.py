"""The deadline of a request: one point in time, however many hops."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.deadline import Deadline, request_deadline


def test_deadline_leaves_what_is_between_now_and_then() -> None:
    """What is left shrinks with the clock and never goes below zero."""
    deadline = Deadline(10.0)

    assert [deadline.left_s(now) for now in (4.0, 9.5, 10.0, 11.0)] == [6.0, 0.5, 0.0, 0.0]


def test_deadline_is_past_when_nothing_is_left() -> None:
    """The moment itself is too late."""
    deadline = Deadline(10.0)

    assert [deadline.is_past(now) for now in (9.9, 10.0, 10.1)] == [False, True, True]


def test_reserve_is_taken_off_the_end() -> None:
    """A hop that must leave time for what comes after gets an earlier deadline."""
    earlier = Deadline(10.0).earlier_by(2.5)

    assert earlier == Deadline(7.5)


def test_request_without_a_header_gets_the_operators_deadline() -> None:
    """Nothing asked for is the default."""
    assert request_deadline(None, 30.0, 100.0) == Deadline(130.0)


def test_header_shortens_the_deadline() -> None:
    """X-Deadline-Ms is in milliseconds from now."""
    assert request_deadline("1500", 30.0, 100.0) == Deadline(101.5)


@pytest.mark.parametrize("header", ["30001", "9" * 12, "9" * 400, "9" * 5000])
def test_header_never_lengthens_the_deadline(header: str) -> None:
    """However many digits the caller sends, the operator's bound holds."""
    assert request_deadline(header, 30.0, 100.0) == Deadline(130.0)


@pytest.mark.parametrize(
    "header", ["", "0", "-1", "+1", "1.5", "1e3", " 1", "1_000", "\u0663", "\u00b2", "soon", "nan"]
)
def test_header_that_is_no_whole_number_is_refused(header: str) -> None:
    """Signs, fractions, spaces, other scripts' digits and words are mistakes to tell, not to guess at."""
    with pytest.raises(ValueError, match=r".*"):
        request_deadline(header, 30.0, 100.0)


@settings(deadline=None)
@given(header=st.text(max_size=12) | st.integers(-10, 10**6).map(str), default_s=st.floats(0.001, 3600))
def test_any_header_is_refused_or_within_the_operators_bound(header: str, default_s: float) -> None:
    """Whatever the header says, the deadline lies between now and the default."""
    try:
        deadline = request_deadline(header, default_s, 100.0)
    except ValueError:
        return

    assert 100.0 < deadline.at <= 100.0 + default_s
