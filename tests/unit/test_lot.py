"""The audit's lots: each item alone, with one chance, however requests are cut."""

import itertools
import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.lot import Lot

SIZES = st.lists(st.integers(0, 70), min_size=1, max_size=40)
SHARES = st.floats(1e-9, 1)
FAR = 4.9
"""Standard deviations that chance reaches once in a million."""


def draw_all(lot: Lot, sizes: list[int], share: float) -> list[int]:
    """Positions that were drawn, counted over all requests."""
    starts = itertools.accumulate(sizes, initial=0)
    return [start + i for start, size in zip(starts, sizes, strict=False) for i in lot.draw(size, share)]


def chi_square(observed: list[int], expected: list[float]) -> float:
    """How far counts are from what was expected, in standard deviations (Wilson and Hilferty's)."""
    statistic = sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))
    spread = 2 / (9 * (len(observed) - 1))
    return (math.cbrt(statistic / (len(observed) - 1)) - (1 - spread)) / math.sqrt(spread)


@given(sizes=SIZES)
def test_share_of_zero_draws_nothing(sizes: list[int]) -> None:
    """Not even now and then."""
    assert draw_all(Lot(), sizes, 0.0) == []


@given(sizes=SIZES)
def test_share_of_one_draws_everything(sizes: list[int]) -> None:
    """Each item, in order."""
    assert draw_all(Lot(), sizes, 1.0) == list(range(sum(sizes)))


@given(sizes=SIZES, share=SHARES, seed=st.integers(0, 1000))
def test_drawn_positions_are_of_the_request_and_in_order(sizes: list[int], share: float, seed: int) -> None:
    """Each at most once."""
    lot = Lot(Random(seed).random)

    for size in sizes:
        drawn = lot.draw(size, share)
        assert list(drawn) == sorted(set(drawn))
        assert all(0 <= position < size for position in drawn)


@settings(deadline=None)
@given(sizes=SIZES, share=SHARES, seed=st.integers(0, 1000))
def test_how_requests_are_cut_plays_no_part(sizes: list[int], share: float, seed: int) -> None:
    """By the same chances the same items are drawn, one at a time, all at once, or in any requests between."""
    total = sum(sizes)

    cut, single, whole = (draw_all(Lot(Random(seed).random), how, share) for how in (sizes, [1] * total, [total]))

    assert cut == single == whole


@given(share=SHARES, chance=st.sampled_from([0.0, 1 - 2**-53]))
def test_extreme_chances_are_no_accident(share: float, chance: float) -> None:
    """The least and the greatest number that a source of chance gives."""
    drawn = Lot(lambda: chance).draw(3, share)

    assert drawn == ((0, 1, 2) if chance == 0.0 or share == 1.0 else drawn)


@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_mean_rate_is_the_share(share: float, size: int) -> None:
    """Of 128,000 items, within what chance allows once in a million."""
    count = 128_000
    drawn = draw_all(Lot(Random(7).random), [size] * (count // size), share)

    assert abs(len(drawn) - share * count) < FAR * math.sqrt(count * share * (1 - share))


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_every_position_is_equally_likely(share: float) -> None:
    """The first image of a request as much as its last."""
    size, requests = 16, 10_000
    lot = Lot(Random(11).random)
    counts = Counter(position for _ in range(requests) for position in lot.draw(size, share))

    # Scaled to the variance of a binomial count, which is smaller than its mean.
    scale = math.sqrt(1 - share)
    mean = share * requests
    standardized = [mean + (counts[position] - mean) / scale for position in range(size)]
    assert chi_square([round(count) for count in standardized], [mean] * size) < FAR


@pytest.mark.parametrize("size", [1, 64])
def test_items_are_drawn_independently(size: int) -> None:
    """The gaps between the drawn are geometric: so they are of independent draws and of no others."""
    share, cells = 0.2, 12
    drawn = draw_all(Lot(Random(13).random), [size] * (64_000 // size), share)
    gaps = Counter(min(later - earlier - 1, cells) for earlier, later in itertools.pairwise(drawn))

    total = len(drawn) - 1
    expected = [total * share * (1 - share) ** gap for gap in range(cells)] + [total * (1 - share) ** cells]
    assert chi_square([gaps[gap] for gap in range(cells + 1)], expected) < FAR


def test_one_draw_says_nothing_of_the_next() -> None:
    """Neighbours are both drawn as often as two independent items are."""
    share, count = 0.3, 90_000
    drawn = set(draw_all(Lot(Random(17).random), [3] * (count // 3), share))
    both = sum(position + 1 in drawn for position in drawn)

    # Of overlapping pairs, whose variance is at most three times that of separate ones.
    assert abs(both - count * share**2) < FAR * math.sqrt(3 * count * share**2)


def test_routes_with_other_shares_do_not_disturb_each_other() -> None:
    """Questions of two shares in turn: each share has its own rate."""
    lot, counts = Lot(Random(19).random), Counter[float]()
    shares, rounds = (0.02, 0.5), 30_000
    for _ in range(rounds):
        counts.update({share: len(lot.draw(2, share)) for share in shares})

    for share in shares:
        assert abs(counts[share] - 2 * rounds * share) < FAR * math.sqrt(2 * rounds * share * (1 - share))


def test_lots_of_two_routers_differ() -> None:
    """Nobody who knows one's draws knows the other's."""
    assert Lot().draw(1000, 0.5) != Lot().draw(1000, 0.5)
