"""One absolute deadline a request carries; each hop gets what is left. Pure: the clock is an argument."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock, in seconds."""

    at: float

    def left_s(self, now: float) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.at - now)

    def is_past(self, now: float) -> bool:
        """Whether nothing is left."""
        return now >= self.at

    def earlier_by(self, reserve_s: float) -> "Deadline":
        """A deadline that leaves `reserve_s` for what comes after."""
        return Deadline(self.at - reserve_s)


def request_deadline(header: str | None, default_s: float, now: float) -> Deadline:
    """The deadline of a request: the caller's `X-Deadline-Ms`, but never later than the operator's.

    Raises:
        ValueError: The header is not a whole number of milliseconds above zero.
    """
    if header is None:
        return Deadline(now + default_s)
    # As a float, a number of any length is one to compare with.
    if not header.isascii() or not header.isdigit() or float(header) < 1:
        raise ValueError(header)
    return Deadline(now + min(float(header) / 1e3, default_s))
