"""Items of several sources take turns, and none is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiers.turn_queue import TurnQueue


def filled(*sources: str) -> TurnQueue[str]:
    """A queue with the letters of each source, in the order of the sources."""
    queue: TurnQueue[str] = TurnQueue()
    for number, source in enumerate(sources):
        for item in source:
            queue.put(item, number)
    return queue


def drained(queue: TurnQueue[str]) -> str:
    """Everything, in order."""
    return "".join(queue.pop() for _ in range(len(queue)))


def test_sources_take_turns() -> None:
    """One of each; when one is empty the others go on."""
    assert drained(filled("abcd", "x", "12")) == "ax1b2cd"


def test_source_that_comes_late_does_not_wait_for_a_long_one() -> None:
    """It has its turn after one item of those before it."""
    queue = filled("abcdefgh")
    queue.pop()

    queue.put("!", "late")

    assert drained(queue) == "b!cdefgh"


def test_next_item_can_be_seen_before_it_is_taken() -> None:
    """It stays where it is."""
    queue = filled("ab", "x")

    assert (queue.peek(), queue.peek(), len(queue)) == ("a", "a", 3)


def test_empty_queue_has_nothing() -> None:
    """To see or to take."""
    queue: TurnQueue[str] = TurnQueue()

    for ask in (queue.peek, queue.pop):
        with pytest.raises(IndexError):
            ask()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=200))
def test_each_sources_items_keep_their_order_and_none_is_lost(steps: list[tuple[int, bool]]) -> None:
    """However puts and pops are mixed."""
    queue: TurnQueue[tuple[int, int]] = TurnQueue()
    put, taken = [], []

    for number, (source, takes) in enumerate(steps):
        queue.put((source, number), source)
        put.append((source, number))
        if takes:
            taken.append(queue.pop())
    taken += [queue.pop() for _ in range(len(queue))]

    assert sorted(taken) == sorted(put)
    for source in range(6):
        assert [item for item in taken if item[0] == source] == [item for item in put if item[0] == source]
