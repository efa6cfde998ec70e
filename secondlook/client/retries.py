"""Whether a refused request is sent again, and after how long. Pure: what is left and the dice are arguments."""

from dataclasses import dataclass

RETRIED = frozenset({429, 503})
"""The statuses that say: nothing was done, come again."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently. `RetryPolicy(attempts=1)` never sends again.

    Args:
        attempts: How often one request is sent at most.
        first_pause_s: The longest pause before the second attempt; it doubles from one attempt to the next.
        longest_pause_s: Where the doubling ends.
    """

    attempts: int = 4
    first_pause_s: float = 0.2
    longest_pause_s: float = 5.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or not 0 < self.first_pause_s <= self.longest_pause_s:
            raise ValueError("a retry policy has at least one attempt, and pauses above zero that grow")

    def pause_s(self, sent: int, refusal: "Refusal", left_s: float, draw: float) -> float | None:
        """Seconds to wait before the next attempt; None where there is none.

        Args:
            sent: How often the request has been sent.
            refusal: What it was answered with.
            left_s: Seconds until the deadline.
            draw: A random number from 0 to 1. Callers that were refused together don't come back together.
        """
        if refusal.status not in RETRIED or sent >= self.attempts:
            return None
        pause_s = (refusal.retry_after_s or 0.0) + draw * self._ceiling_s(sent)
        return pause_s if pause_s < left_s else None

    def _ceiling_s(self, sent: int) -> float:
        doublings = min(sent - 1, 60)  # far beyond any longest pause, and a float holds it
        return min(self.longest_pause_s, self.first_pause_s * 2.0**doublings)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer's status and its `Retry-After` as it came."""

    status: int
    retry_after: str | None = None

    @property
    def retry_after_s(self) -> float | None:
        """Its seconds; None for the form that names a date, which the service never sends, and for nonsense."""
        text = (self.retry_after or "").strip()
        return float(text) if text.isascii() and text.isdigit() else None
