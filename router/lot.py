"""Draws lots for the audit: each item alone, with one chance. Pure but for its source of chance."""

import math
from collections.abc import Callable
from random import Random


class Lot:
    """Draws by the gaps between the drawn, which are geometric: an item that is not drawn costs a subtraction."""

    def __init__(self, chance: Callable[[], float] | None = None) -> None:
        self._chance = chance or Random().random  # noqa: S311 - who guesses it learns which answers are audited
        self._gaps: dict[float, int] = {}

    def draw(self, count: int, share: float) -> tuple[int, ...]:
        """Return which of `count` items are drawn, each with a chance of `share` (0 to 1)."""
        if share <= 0.0:
            return ()
        gap = self._gaps.get(share)
        if gap is None:
            gap = self._next_gap(share)
        drawn: list[int] = []
        position = gap
        while position < count:
            drawn.append(position)
            position += 1 + self._next_gap(share)
        self._gaps[share] = position - count
        return tuple(drawn)

    def falls(self, share: float) -> bool:
        """Whether one thing is drawn that has a chance of `share`."""
        return self._chance() < share

    def _next_gap(self, share: float) -> int:
        """Items that are passed over before the next is drawn."""
        if share >= 1.0:
            return 0
        return int(math.log(1.0 - self._chance()) / math.log1p(-share))
