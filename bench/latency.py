"""Percentiles of latencies, by nearest rank: a figure that was measured, never one between two of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds at the quantiles that are reported, and the largest."""

    p50: float
    p90: float
    p99: float
    p999: float
    largest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """Summarise latencies given in seconds; of none, everything is not-a-number."""
        ordered = sorted(seconds)
        values = [percentile(ordered, quantile) * 1e3 for quantile in (*QUANTILES.values(), 1.0)]
        return cls(*values)

    def as_figures(self) -> dict[str, float]:
        """Names and values as they are written to a report."""
        return {
            "p50_ms": self.p50,
            "p90_ms": self.p90,
            "p99_ms": self.p99,
            "p99.9_ms": self.p999,
            "max_ms": self.largest,
        }


def percentile(ordered: Sequence[float], quantile: float) -> float:
    """Return the smallest of the ordered values that at least this share of them does not exceed."""
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile: expected 0 to 1, got {quantile}")
    if not ordered:
        return math.nan
    # The product of a share and a count may come out a little above the whole number it stands for.
    rank = math.ceil(round(quantile * len(ordered), 9))
    return ordered[max(rank, 1) - 1]
