"""Items that wait for a call to a tier, in the order in which they take turns."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from router.admission import Submission
from router.deadline import Deadline
from router.items import Item
from router.tier_reply import Encoded
from tiers.turn_queue import TurnQueue


@dataclass(slots=True)
class Pending:
    """One item on its way to a tier."""

    item: Item
    deadline: Deadline
    submitted_at: float
    submission: Submission
    answer: asyncio.Future[Encoded]
    is_first: bool
    """Whether it is the first of its kind in its submission, which waits for others' items only."""

    @property
    def image_bytes(self) -> int:
        """Size of the picture; a text has none."""
        return len(self.item.content or b"") if self.item.modality == "image" else 0


class TierQueue:
    """What waits for calls of at most so many items and bytes; submissions take turns."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._waiting: TurnQueue[Pending] = TurnQueue()

    def __bool__(self) -> bool:
        return len(self._waiting) > 0

    def put(self, pending: Iterable[Pending]) -> None:
        """Add items."""
        for one in pending:
            self._waiting.put(one, id(one.submission))

    def take(self, is_wanted: Callable[[Pending], bool]) -> list[Pending]:
        """Remove the items of the next call; what is not wanted any more is removed and left out.

        One picture may be larger than a call's bytes: it goes alone.
        """
        group: list[Pending] = []
        size = 0
        while self._waiting and len(group) < self._max_items:
            if group and size + self._waiting.peek().image_bytes > self._max_bytes:
                break
            pending = self._waiting.pop()
            if is_wanted(pending):
                size += pending.image_bytes
                group.append(pending)
        return group

    def drain(self) -> list[Pending]:
        """Remove everything."""
        return [self._waiting.pop() for _ in range(len(self._waiting))]
