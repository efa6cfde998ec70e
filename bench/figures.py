"""Figures as they are reported: ours beside its floor, and what was promised of it."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Subject = Literal["ratio", "ours"]


@dataclass(frozen=True, slots=True)
class Promise:
    """What has to hold: of the ratio to the floor, or of our figure itself."""

    of: Subject
    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether it does; not-a-number never does."""
        above = self.at_least is None or value >= self.at_least
        below = self.at_most is None or value <= self.at_most
        return above and below and value == value  # noqa: PLR0124 - not-a-number is unequal to itself

    def __str__(self) -> str:
        unit = "x" if self.of == "ratio" else ""
        sign, bound = (">=", self.at_least) if self.at_least is not None else ("<=", self.at_most)
        return f"{sign} {bound:,.6g}{unit}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report."""

    name: str
    unit: str
    ours: float
    floor: float | None = None
    floor_name: str = ""
    ratio: float | None = None
    promise: Promise | None = None

    @property
    def is_kept(self) -> bool | None:
        """Whether the promise holds; None where there is none."""
        if self.promise is None:
            return None
        value = self.ratio if self.promise.of == "ratio" else self.ours
        return value is not None and self.promise.holds(value)


@dataclass(slots=True)
class Findings:
    """What one scenario found out: its figures, every sample behind them, and what to know about them."""

    figures: list[Figure] = field(default_factory=list)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def interleave(measures: Mapping[str, Callable[[], dict[str, Any]]], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Take one sample of each measure, in turn, `rounds` times: whatever disturbs the machine meets all."""
    samples: dict[str, list[dict[str, Any]]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            samples[name].append(measure())
    return samples


def median(samples: Sequence[Mapping[str, Any]], key: str) -> float:
    """Return the median of one value over the rounds."""
    return float(statistics.median(sample[key] for sample in samples))


def compare(  # noqa: PLR0913 - what to compare, and how the line reads
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
    ours: str,
    floor: str,
    *,
    key: str,
    name: str,
    unit: str,
    promise: Promise | None = None,
) -> Figure:
    """Return the figure of two measures: medians of both, and the median of the rounds' ratios."""
    pairs = zip(samples[ours], samples[floor], strict=True)
    ratios = [one[key] / other[key] if other[key] else float("nan") for one, other in pairs]
    return Figure(
        name=name,
        unit=unit,
        ours=median(samples[ours], key),
        floor=median(samples[floor], key),
        floor_name=floor,
        ratio=float(statistics.median(ratios)),
        promise=promise,
    )
