"""How many items one run of the encoder takes: as few as give nearly all of its throughput. Pure.

More in a run makes everybody wait for it longer. On a CPU a few items already keep all threads busy; on a GPU many are
needed. Which, and for which lengths of texts, is seen by running: each size's rate is remembered for a minute.
"""

from dataclasses import dataclass

FRESH_S = 60.0
ENOUGH = 0.95
WEIGHT = 0.3


@dataclass(slots=True)
class _Rate:
    items_per_s: float
    seen_at: float


class BatchSize:
    """The largest batch to take now, a power of two up to `max_items` or that itself."""

    def __init__(self, max_items: int) -> None:
        self._sizes: list[int] = [1 << power for power in range(max_items.bit_length()) if 1 << power < max_items]
        self._sizes.append(max_items)
        self._rates: dict[int, _Rate] = {}

    def limit(self, now: float) -> int:
        """The smallest size that is known to be fast enough, or one of which that should be found out."""
        fresh = {size: rate for size, rate in self._rates.items() if now - rate.seen_at < FRESH_S}
        if self._sizes[-1] not in fresh:
            return self._sizes[-1]
        wanted = ENOUGH * max(rate.items_per_s for rate in fresh.values())
        enough = min(size for size, rate in fresh.items() if rate.items_per_s >= wanted)
        smaller = self._sizes[max(0, self._sizes.index(enough) - 1)]
        return enough if smaller in fresh else smaller

    def ran(self, items: int, seconds: float, now: float) -> None:
        """Learn from a run; it counts for the smallest size that holds it."""
        if seconds <= 0:
            return
        size = next((size for size in self._sizes if size >= items), self._sizes[-1])
        rate, known = items / seconds, self._rates.get(size)
        if known is not None and now - known.seen_at < FRESH_S:
            rate = known.items_per_s + WEIGHT * (rate - known.items_per_s)
        self._rates[size] = _Rate(rate, now)
