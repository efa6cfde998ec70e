"""The escalation budget: which share of decided items may take a second look. Pure: the clock is an argument."""

import math

WINDOW_S = 60.0
# A quiet service must be able to look twice at its first uncertain items.
HEADSTART_ITEMS = 10.0


class EscalationBudget:
    """Counts decided and escalated items, both fading over a minute."""

    def __init__(self) -> None:
        self._decided = 0.0
        self._escalated = 0.0
        self._faded_at = 0.0
        self._allowance = 0.0
        self._refilled_at: float | None = None

    def decide(self, items: int, now: float) -> None:
        """Count items that were decided."""
        self._fade(now)
        self._decided += items

    def take(self, share: float, now: float, per_s: float | None = None) -> bool:
        """Whether one more second look is within `share` (0 to 1) and `per_s` (None: any rate); counts it if so."""
        self._fade(now)
        if share < 1.0 and self._escalated + 1 > share * (self._decided + HEADSTART_ITEMS):
            return False
        if per_s is not None and not self._take_allowance(per_s, now):
            return False
        self._escalated += 1
        return True

    def _take_allowance(self, per_s: float, now: float) -> bool:
        """Take one of the second looks that `per_s` allows: a bucket that holds a second's worth, at least one."""
        room = max(1.0, per_s)
        gained = room if self._refilled_at is None else (now - self._refilled_at) * per_s
        self._allowance = min(room, self._allowance + max(0.0, gained))
        self._refilled_at = now if self._refilled_at is None else max(now, self._refilled_at)
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True

    def _fade(self, now: float) -> None:
        kept = math.exp(-max(0.0, now - self._faded_at) / WINDOW_S)
        self._decided *= kept
        self._escalated *= kept
        self._faded_at = max(now, self._faded_at)
