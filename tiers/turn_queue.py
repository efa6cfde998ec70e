"""Items of several sources that take turns: one of each, so that a long list keeps no short one waiting. Pure."""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class TurnQueue(Generic[Item]):
    """Each source's items in their order, sources in turn; a new source comes last."""

    __slots__ = ("_count", "_items", "_turns")

    def __init__(self) -> None:
        self._items: dict[Hashable, deque[Item]] = {}
        self._turns: deque[Hashable] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, item: Item, source: Hashable) -> None:
        """Add one item of a source."""
        waiting = self._items.get(source)
        if waiting is None:
            waiting = self._items[source] = deque()
            self._turns.append(source)
        waiting.append(item)
        self._count += 1

    def peek(self) -> Item:
        """The item whose turn it is.

        Raises:
            IndexError: Nothing waits.
        """
        return self._items[self._turns[0]][0]

    def pop(self) -> Item:
        """Remove the item whose turn it is; then it is the next source's.

        Raises:
            IndexError: Nothing waits.
        """
        source = self._turns.popleft()
        waiting = self._items[source]
        item = waiting.popleft()
        self._count -= 1
        if waiting:
            self._turns.append(source)
        else:
            del self._items[source]
        return item
