"""Exact binomial probabilities and the Clopper-Pearson bound."""

from decimal import Decimal, localcontext
from fractions import Fraction
from math import comb

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from router.binomial import binomial_cdf, upper_bound

RATES = st.floats(1e-6, 1 - 1e-6)
DELTAS = st.floats(1e-6, 0.5)
COUNTS = st.integers(1, 2000)


def exact_cdf(errors: int, count: int, rate: Fraction) -> float:
    """Sum the masses as fractions."""
    return float(sum(comb(count, k) * rate**k * (1 - rate) ** (count - k) for k in range(errors + 1)))


def decimal_cdf(errors: int, count: int, rate: str) -> float:
    """Sum the masses to fifty digits, each from the one before."""
    with localcontext() as context:
        context.prec = 50
        odds = Decimal(rate) / (1 - Decimal(rate))
        mass = total = (1 - Decimal(rate)) ** count
        for k in range(1, errors + 1):
            mass *= odds * (count - k + 1) / k
            total += mass
        return float(total)


@pytest.mark.parametrize("rate", [Fraction(1, 100), Fraction(1, 8), Fraction(1, 2), Fraction(9, 10)])
@pytest.mark.parametrize("errors", [0, 1, 5, 6, 20, 39, 40])
def test_cdf_is_the_sum_of_the_masses(errors: int, rate: Fraction) -> None:
    """Below the mean, above it, and at both ends."""
    assert binomial_cdf(errors, 40, float(rate)) == pytest.approx(exact_cdf(errors, 40, rate), rel=1e-11)


@pytest.mark.parametrize("errors", [9_000, 9_900, 10_000, 10_300])
def test_cdf_is_exact_for_a_million(errors: int) -> None:
    """Neither overflow nor lost digits, ten standard deviations under the mean as three over it."""
    assert binomial_cdf(errors, 1_000_000, 0.01) == pytest.approx(decimal_cdf(errors, 1_000_000, "0.01"), rel=1e-8)


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_cdf_of_a_certainty(rate: float, expected: float) -> None:
    """What never fails has no errors, what always fails has nothing else."""
    assert binomial_cdf(3, 10, rate) == expected
    assert binomial_cdf(10, 10, rate) == 1.0
    assert binomial_cdf(0, 0, rate) == 1.0


@pytest.mark.parametrize(
    ("errors", "count", "bound"),
    [
        (0, 299, 0.0099694),  # 1 - 0.05 ** (1 / 299)
        (0, 10, 0.2588656),
        (1, 20, 0.2161069),  # of the printed tables of one-sided 95 % limits
        (5, 100, 0.1022531),
        (3, 3, 1.0),
        (0, 0, 1.0),
    ],
)
def test_upper_bound_is_that_of_the_tables(errors: int, count: int, bound: float) -> None:
    """At 95 %, one-sided."""
    assert upper_bound(errors, count, 0.05) == pytest.approx(bound, abs=1e-6)


@settings(deadline=None)
@given(count=COUNTS, share=st.floats(0, 1), rate=RATES, other=RATES)
def test_cdf_grows_with_errors_and_falls_with_the_rate(count: int, share: float, rate: float, other: float) -> None:
    """And is a probability."""
    errors = int(share * count)
    low, high = sorted((rate, other))
    rounding = 1e-11

    assert 0.0 <= binomial_cdf(errors, count, rate) <= 1.0
    assert binomial_cdf(max(0, errors - 1), count, rate) <= binomial_cdf(errors, count, rate) + rounding
    assert binomial_cdf(errors, count, high) <= binomial_cdf(errors, count, low) + rounding


@settings(deadline=None, max_examples=50)
@given(count=COUNTS, share=st.floats(0, 1), delta=DELTAS, other=DELTAS)
def test_upper_bound_grows_with_errors_and_with_confidence(
    count: int, share: float, delta: float, other: float
) -> None:
    """And is never under what was seen."""
    errors = int(share * count)
    strict, loose = sorted((delta, other))

    assert errors / count <= upper_bound(errors, count, delta) <= 1.0
    assert upper_bound(max(0, errors - 1), count, delta) <= upper_bound(errors, count, delta)
    assert upper_bound(errors, count, loose) <= upper_bound(errors, count, strict) * (1 + 1e-9)


@settings(deadline=None, max_examples=50)
@given(count=COUNTS, share=st.floats(0, 1), delta=DELTAS, rate=RATES)
def test_bound_and_test_say_the_same(count: int, share: float, delta: float, rate: float) -> None:
    """A rate is over the bound exactly where so few errors are too improbable at it."""
    errors = int(share * count)
    bound = upper_bound(errors, count, delta)
    assume(abs(bound - rate) > 1e-9 * rate)

    assert (bound <= rate) == (binomial_cdf(errors, count, rate) <= delta)


@settings(deadline=None, max_examples=50)
@given(count=COUNTS, share=st.floats(0, 0.999), delta=DELTAS)
def test_bound_errs_on_its_safe_side(count: int, share: float, delta: float) -> None:
    """At the bound itself the test rejects: rounding never makes the bound too low."""
    errors = int(share * count)

    assert binomial_cdf(errors, count, upper_bound(errors, count, delta)) <= delta


@pytest.mark.parametrize(
    ("errors", "count", "rate", "named"),
    [(-1, 10, 0.5, "errors"), (11, 10, 0.5, "errors"), (1, 10, -0.1, "rate"), (1, 10, float("nan"), "rate")],
)
def test_cdf_refuses_what_is_no_binomial(errors: int, count: int, rate: float, named: str) -> None:
    """With the argument's name."""
    with pytest.raises(ValueError, match=named):
        binomial_cdf(errors, count, rate)


@pytest.mark.parametrize(("errors", "delta", "named"), [(-1, 0.05, "errors"), (11, 0.05, "errors"), (1, 1.0, "delta")])
def test_upper_bound_refuses_what_is_no_binomial(errors: int, delta: float, named: str) -> None:
    """With the argument's name."""
    with pytest.raises(ValueError, match=named):
        upper_bound(errors, 10, delta)
