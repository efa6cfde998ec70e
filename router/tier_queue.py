"""Items that wait for a call to a tier, in the order in which they take turns."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from router.admission import Submission
from router.deadline import Deadline
from router.items import Item
from router.tier_reply import Encoded


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
    """Submissions that take turns: one item of each, so that a long list keeps no short one waiting."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._submissions: deque[deque[Pending]] = deque()

    def __bool__(self) -> bool:
        return bool(self._submissions)

    def put(self, pending: Sequence[Pending]) -> None:
        """Add one submission's items."""
        if pending:
            self._submissions.append(deque(pending))

    def take(self, is_wanted: Callable[[Pending], bool]) -> list[Pending]:
        """Remove the items of the next call; what is not wanted any more is removed and left out.

        One picture may be larger than a call's bytes: it goes alone.
        """
        group: list[Pending] = []
        size = 0
        while self._submissions and len(group) < self._max_items:
            submission = self._submissions[0]
            if group and size + submission[0].image_bytes > self._max_bytes:
                break
            self._submissions.rotate(-1)
            pending = submission.popleft()
            if not submission:
                self._submissions.pop()
            if is_wanted(pending):
                size += pending.image_bytes
                group.append(pending)
        return group

    def drain(self) -> list[Pending]:
        """Remove everything."""
        rest = [pending for submission in self._submissions for pending in submission]
        self._submissions.clear()
        return rest
