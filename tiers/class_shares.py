"""Live traffic and warm-up before one encoder: who gets its next run. Pure: the clock is an argument."""

from collections import Counter

from tiers.messages import TrafficClass

# For so long after the last live item a run of warm-up items is kept short: the next live one may come any moment.
QUIET_S = 1.0
MOST_OWED_S = 1.0


class ClassShares:
    """What waits for one encoder, of all modalities, and how much of its time warm-up is owed.

    While live items wait, warm-up has `warm_up_share` (0 to 1) of the encoder's time; while none does, all of it.
    """

    def __init__(self, warm_up_share: float) -> None:
        self.share = warm_up_share
        self._waiting: Counter[TrafficClass] = Counter()
        self._owed_s = 0.0
        self._last_live_at = float("-inf")

    @property
    def anything_waits(self) -> bool:
        """Whether there is an item in any queue."""
        return any(self._waiting.values())

    def arrived(self, traffic: TrafficClass) -> None:
        """Count an item that waits."""
        self._waiting[traffic] += 1

    def left(self, traffic: TrafficClass, now: float) -> None:
        """Count an item that was taken or dropped."""
        self._waiting[traffic] -= 1
        if traffic == "live":
            self._last_live_at = now

    def warm_up_is_due(self) -> bool:
        """Whether the next run may be warm-up's."""
        return self._waiting["live"] == 0 or self._owed_s > 0

    def is_quiet(self, now: float) -> bool:
        """Whether there has been no live traffic lately."""
        return self._waiting["live"] == 0 and now - self._last_live_at > QUIET_S

    def ran(self, traffic: TrafficClass, seconds: float) -> None:
        """Count what a run took; nothing is saved up for warm-up that is not there."""
        if traffic == "warm_up":
            # What nobody else wanted is free.
            self._owed_s = self._owed_s - seconds if self._waiting["live"] else 0.0
        elif self._waiting["warm_up"]:
            self._owed_s = min(MOST_OWED_S, self._owed_s + seconds * self.share / (1 - self.share))
        else:
            self._owed_s = 0.0
