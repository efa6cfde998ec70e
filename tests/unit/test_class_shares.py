"""Live traffic and warm-up before one encoder: warm-up has its share while both wait, and all that is left over."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiers.batch_queue import BatchQueue
from tiers.class_shares import ClassShares
from tiers.messages import TrafficClass


def always(_item: str) -> bool:
    """Every item is wanted."""
    return True


def queue(max_items: int = 20, share: float = 0.1) -> tuple[BatchQueue[str], ClassShares]:
    """A queue with shares of its own."""
    shares = ClassShares(share)
    return BatchQueue(max_items, shares), shares


def fill(waiting: BatchQueue[str], live: int, warm_up: int) -> None:
    """Put items of both classes."""
    for _ in range(live):
        waiting.put("live", "live", 0)
    for _ in range(warm_up):
        waiting.put("warm-up", "warm_up", 0)


def encoder_time(waiting: BatchQueue[str], shares: ClassShares, runs: int) -> dict[TrafficClass, float]:
    """What each class gets of an encoder that takes a millisecond an item, while both classes always wait."""
    spent: dict[TrafficClass, float] = {"live": 0.0, "warm_up": 0.0}
    for number in range(runs):
        fill(waiting, live=20, warm_up=20)
        batch = waiting.take(float(number), always)
        shares.ran(batch.traffic, len(batch.items) / 1000)
        spent[batch.traffic] += len(batch.items) / 1000
    return spent


@settings(deadline=None)
@given(share=st.floats(0.05, 0.5))
def test_warm_up_has_its_share_of_the_time_while_both_wait(share: float) -> None:
    """In the mean, within a tenth of the whole."""
    waiting, shares = queue(share=share)

    spent = encoder_time(waiting, shares, runs=400)

    assert spent["warm_up"] / sum(spent.values()) == pytest.approx(share, abs=0.1)


def test_live_items_go_before_warm_up_that_came_earlier() -> None:
    """Warm-up yields."""
    waiting, _ = queue()
    fill(waiting, live=0, warm_up=5)
    fill(waiting, live=3, warm_up=0)

    assert waiting.take(0.0, always).items == ["live"] * 3


def test_warm_up_has_all_where_nobody_else_waits() -> None:
    """A full run, once live traffic has been gone for a while."""
    waiting, _ = queue()
    fill(waiting, live=0, warm_up=30)

    assert len(waiting.take(0.0, always).items) == 20


def test_run_of_warm_up_is_short_while_live_traffic_is_about() -> None:
    """The next live item may come any moment."""
    waiting, _ = queue()
    fill(waiting, live=1, warm_up=30)
    waiting.take(0.0, always)

    soon, later = waiting.take(0.5, always), waiting.take(1.6, always)

    assert (len(soon.items), len(later.items)) == (2, 20)


def test_live_items_of_another_modality_count_too() -> None:
    """Texts of a warm-up job yield to live pictures before the same encoder."""
    shares = ClassShares(0.1)
    texts: BatchQueue[str] = BatchQueue(20, shares)
    pictures: BatchQueue[str] = BatchQueue(20, shares)
    fill(texts, live=0, warm_up=5)
    fill(pictures, live=1, warm_up=0)

    before = texts.take(0.0, always)
    pictures.take(0.0, always)
    after = texts.take(0.0, always)

    assert (before.items, after.items) == ([], ["warm-up"] * 2)


def test_nothing_is_saved_up_for_warm_up_that_is_not_there() -> None:
    """An hour of live traffic alone does not buy a minute of warm-up."""
    waiting, shares = queue()
    shares.ran("live", 3600.0)
    fill(waiting, live=1, warm_up=5)

    assert waiting.take(0.0, always).traffic == "live"


def test_item_that_nobody_wants_takes_no_place() -> None:
    """Expired and abandoned items are dropped on the way."""
    waiting, _ = queue(max_items=2)
    for item in ("old", "new", "old", "newer", "newest"):
        waiting.put(item, "live", 0)

    assert waiting.take(0.0, lambda item: item != "old").items == ["new", "newer"]
    assert len(waiting) == 1


def test_drain_forgets_nobody() -> None:
    """Both classes, and nothing is counted as waiting afterwards."""
    waiting, shares = queue()
    fill(waiting, live=3, warm_up=2)

    assert len(waiting.drain()) == 5
    assert len(waiting) == 0
    assert shares.warm_up_is_due()
