"""A key's quota: a token bucket and a count."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.access_config import QuotaConfig
from router.errors import RateLimited
from router.quota import Quota, Use, quota_of


def admits(use: Use, quota: Quota, now: float) -> bool:
    """Whether a request that is over at once is let in."""
    try:
        use.begin(quota, now)
    except RateLimited:
        return False
    use.end()
    return True


def wait_of(use: Use, quota: Quota, now: float) -> int:
    """How long one that is refused is told to wait."""
    with pytest.raises(RateLimited) as refused:
        use.begin(quota, now)
    assert refused.value.retry_after_s is not None
    return refused.value.retry_after_s


@given(
    st.lists(st.floats(0, 0.5), min_size=1, max_size=200),
    st.floats(0.1, 50),
    st.integers(1, 20),
)
def test_no_more_are_let_in_than_burst_and_rate_allow(pauses: list[float], rate: float, burst: int) -> None:
    """Over any stretch from the start, whenever they come."""
    use, now, admitted = Use(), 100.0, 0
    for pause in pauses:
        now += pause
        admitted += admits(use, Quota(rate, burst), now)

        assert admitted <= burst + rate * (now - 100.0) + 1e-6


@given(st.floats(0.01, 100), st.integers(1, 10))
def test_retry_after_is_when_one_is_let_in(rate: float, burst: int) -> None:
    """Not a moment of which more than a second is for nothing, and then it is."""
    use, quota = Use(), Quota(rate, burst)
    while admits(use, quota, 5.0):
        pass

    wait_s = wait_of(use, quota, 5.0)

    assert wait_s - 1 < 1 / rate + 1e-6
    assert admits(use, quota, 5.0 + wait_s + 1e-9)


def test_clock_that_stands_or_goes_back_gives_nothing() -> None:
    """One moment is counted once."""
    use, quota = Use(), Quota(1.0, 1)
    assert admits(use, quota, 10.0)

    assert not admits(use, quota, 9.0)
    assert not admits(use, quota, 10.0)
    assert admits(use, quota, 11.0)


def test_requests_in_progress_are_counted_until_they_end() -> None:
    """One over the bound is refused, also where its rate would let it in; it takes nothing of that."""
    use, quota = Use(), Quota(requests_per_s=1.0, burst=3, concurrent=2)
    use.begin(quota, 1.0)
    use.begin(quota, 1.0)

    assert wait_of(use, quota, 1.0) == 1
    use.end()
    use.begin(quota, 1.0)

    assert use.in_progress == 2


def test_key_without_bounds_is_never_refused() -> None:
    """Nothing is bounded by default."""
    use = Use()

    for _ in range(10_000):
        use.begin(quota_of(QuotaConfig(), QuotaConfig()), 1.0)

    assert use.in_progress == 10_000


def test_very_slow_rate_says_an_hour_at_most() -> None:
    """Later nobody knows what the quota will be."""
    use, quota = Use(), Quota(1e-6, 1)
    use.begin(quota, 1.0)

    assert wait_of(use, quota, 1.0) == 3600


@pytest.mark.parametrize(
    ("key", "default", "expected"),
    [
        ({}, {}, Quota(math.inf, math.inf, math.inf)),
        ({}, {"requests_per_s": 5}, Quota(5, 5, math.inf)),
        ({}, {"requests_per_s": 0.5}, Quota(0.5, 1, math.inf)),
        ({}, {"requests_per_s": 5, "burst": 20, "concurrent": 3}, Quota(5, 20, 3)),
        ({"requests_per_s": 50}, {"requests_per_s": 5, "burst": 20}, Quota(50, 50, math.inf)),
        ({"burst": 7}, {"requests_per_s": 5, "burst": 20}, Quota(5, 7, math.inf)),
        ({"concurrent": 9}, {"requests_per_s": 5, "concurrent": 3}, Quota(5, 5, 9)),
        ({"concurrent": 9}, {}, Quota(math.inf, math.inf, 9)),
    ],
)
def test_keys_own_bounds_go_before_the_defaults(
    key: dict[str, float], default: dict[str, float], expected: Quota
) -> None:
    """Each for itself, and a rate of its own brings its own burst."""
    assert quota_of(QuotaConfig.model_validate(key), QuotaConfig.model_validate(default)) == expected
