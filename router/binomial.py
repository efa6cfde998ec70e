"""Exact binomial probabilities and the bound they give on an unknown rate. Pure: numbers in, numbers out."""

import math
from functools import lru_cache

# A term this small beside the sum changes no digit of it.
NEGLIGIBLE = 1e-17
# A bound is found to this relative precision, on its safe side.
PRECISION = 1e-12


def binomial_cdf(errors: int, count: int, rate: float) -> float:
    """Return the probability of at most `errors` in `count` independent trials at `rate`.

    Summed outward from `errors`, away from the mean, where terms only fall: exact but for rounding (a relative error
    under 1e-8 at a count of a million) and a few thousand terms at the very most.
    """
    if not 0 <= errors <= count:
        raise ValueError(f"errors: {errors} is not between 0 and the count, {count}")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate: {rate} is not between 0 and 1")
    if errors == count or rate == 0:
        return 1.0
    if rate == 1:
        return 0.0
    if errors <= count * rate:
        return min(1.0, _lower_tail(errors, count, rate))
    # As many errors or fewer is as many successes or more: what is left is the other side's lower tail.
    return max(0.0, 1.0 - _lower_tail(count - errors - 1, count, 1.0 - rate))


@lru_cache(maxsize=4096)  # a calibration, its document and its dry-runs ask for the same few
def upper_bound(errors: int, count: int, delta: float) -> float:
    """Return the Clopper-Pearson upper bound on a rate that showed `errors` in `count`; 1 where nothing was counted.

    The true rate lies above it in at most a share `delta` of samples. It is the smallest rate at which so few errors
    have a probability of at most `delta`, so that `upper_bound(...) <= rate` says the same as
    `binomial_cdf(errors, count, rate) <= delta`.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta: {delta} is not between 0 and 1")
    if not 0 <= errors <= count:
        raise ValueError(f"errors: {errors} is not between 0 and the count, {count}")
    if errors == count:
        return 1.0
    low, high = errors / count, 1.0
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        if binomial_cdf(errors, count, middle) <= delta:
            high = middle
        else:
            low = middle
    return high


def _lower_tail(errors: int, count: int, rate: float) -> float:
    term = total = 1.0
    odds = (1.0 - rate) / rate
    for k in range(errors, 0, -1):
        term *= k / (count - k + 1) * odds
        total += term
        if term < NEGLIGIBLE * total:
            break
    return math.exp(_log_mass(errors, count, rate) + math.log(total))


def _log_mass(errors: int, count: int, rate: float) -> float:
    ways = math.lgamma(count + 1) - math.lgamma(errors + 1) - math.lgamma(count - errors + 1)
    return ways + errors * math.log(rate) + (count - errors) * math.log1p(-rate)
