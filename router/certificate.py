"""Which threshold keeps a promise about the cascade, and the document that says so. Pure: arrays in, facts out.

The promise: of all questions the cascade decides, at most a share `1 - target_agreement` is answered by the fast tier
otherwise than the accurate tier would have answered. It speaks of agreement with the accurate tier, on traffic like the
sample; it does not say that either tier is right. It is kept with probability `confidence` over the draw of the sample.

The method is Learn-then-Test (Angelopoulos, Bates, Candes, Jordan, Lei) with a fixed sequence of thresholds and exact
binomial tests: docs/decisions/0006.
"""

import hashlib
import itertools
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from router.binomial import binomial_cdf, upper_bound

# Thresholds (margins in logits) in the order in which they are tried, from strict to loose. Fixed before any data: the
# guarantee is void for a sequence that was chosen by looking at the sample. A fine sequence costs nothing: errors only
# grow along it, testing ends at the first failure, and so the promise is broken only if the first threshold that breaks
# it passes its one test. How many stand before or after that one plays no part.
GRID: tuple[float, ...] = (64.0, 48.0, 32.0, 24.0, *(step / 8 for step in range(128, -1, -1)))
# Stored shares may be rounded in their last digits.
ROUNDING = 1e-9

Source = Literal["audit log", "cold"]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Questions that both tiers answered, drawn at random from the cascade's traffic and independently of each other.

    `margin` has shape (questions,): the fast tier's. `agrees`, of the same shape: whether both decided the same.
    """

    margin: NDArray[np.float64]
    agrees: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Refuse what is no sample."""
        if self.margin.ndim != 1 or self.margin.shape != self.agrees.shape:
            raise ValueError("margin, agrees: must be two arrays of one dimension and equal length")
        if self.agrees.dtype != np.bool_:
            raise ValueError("agrees: must be booleans")
        if not (np.isfinite(self.margin).all() and (self.margin >= 0).all()):
            raise ValueError("margin: must be finite numbers from zero")


@dataclass(frozen=True, slots=True)
class Point:
    """What the sample says of one threshold.

    An error is a question that the fast tier would have served (its margin is at least the threshold) and on which the
    tiers differ. `agreement` and its lower bound, which holds at the calibration's confidence for this threshold alone,
    are shares of all questions; a question with a second look agrees by definition.
    """

    threshold: float
    served_by_fast: int
    errors: int
    agreement: float
    agreement_bound: float
    escalation_share: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """The thresholds that were tried, strict to loose, and the loosest that passed; `chosen` None: escalate all."""

    target_agreement: float
    confidence: float
    count: int
    points: tuple[Point, ...]
    chosen: Point | None

    @property
    def threshold(self) -> float | None:
        """The margin under which a second look is taken; None: always."""
        return None if self.chosen is None else self.chosen.threshold


def certify(
    sample: Sample, *, target_agreement: float, confidence: float, grid: tuple[float, ...] = GRID
) -> Calibration:
    """Find the loosest threshold of `grid` at which the sample shows that the target is met, at `confidence`.

    Not to be repeated on growing samples until it passes: that spends `1 - confidence` anew each time.
    """
    _check_share("target_agreement", target_agreement)
    _check_share("confidence", confidence)
    _check_grid(grid)
    count = len(sample.margin)
    served_at = _at_least(sample.margin, grid)
    errors_at = _at_least(sample.margin[~sample.agrees], grid)
    points: list[Point] = []
    passed = True
    for threshold, served, errors in zip(grid, served_at, errors_at, strict=True):
        passed = passed and _meets(errors, count, target_agreement, confidence)
        points.append(
            Point(
                threshold=threshold,
                served_by_fast=served,
                errors=errors,
                agreement=1.0 - errors / count if count else 0.0,  # nothing was shown
                agreement_bound=_agreement_bound(errors, count, confidence),
                escalation_share=_escalation_share(served, count),
                passed=passed,
            )
        )
    passing = [point for point in points if point.passed]
    return Calibration(target_agreement, confidence, count, tuple(points), passing[-1] if passing else None)


def samples_needed(target_agreement: float, confidence: float) -> int:
    """Return the smallest sample in which no error at all is enough for a certificate."""
    _check_share("target_agreement", target_agreement)
    _check_share("confidence", confidence)
    about = math.log1p(-confidence) / math.log(target_agreement)
    count = max(1, math.floor(about) - 1)
    while not _meets(0, count, target_agreement, confidence):
        count += 1
    return count


def _utc(text: str) -> str:
    try:
        offset = datetime.fromisoformat(text).utcoffset()
    except ValueError:
        offset = None
    if offset != timedelta(0):
        raise ValueError("must be a time in UTC as ISO 8601 writes it")
    return text


Name = Annotated[str, Field(min_length=1)]
# Far more questions than a sample ever has: a bound on what the binomial sums of a document may cost.
MAX_COUNT = 10**7
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]  # as large as JSON is written here
Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]


class Origin(BaseModel):
    """Whose traffic a certificate speaks of, which models, and where its sample came from."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    group: Name = Field(description="Kind of questions, such as `similarity/9-16`.")
    fast_model: Name = Field(description="The fast tier's `name@revision`.")
    accurate_model: Name = Field(description="The accurate tier's `name@revision`.")
    source: Source = Field(description="`audit log`: live traffic; `cold`: a file of questions.")
    created_at: Annotated[str, AfterValidator(_utc)] = Field(description="When, in UTC, ISO 8601.")
    lost: Count = Field(default=0, description="Questions that were drawn and never got both answers.")
    seed: Seed | None = Field(default=None, description="Of the draw, where there was one.")


class Certificate(Origin):
    """A threshold with the counts that it rests on: in the sample, the cascade kept its target agreement.

    It speaks of agreement of the two models it names, on traffic like its sample, at its confidence; not of accuracy,
    not of degraded answers, and not of traffic that has changed since. `lost` questions are treated as never drawn: a
    sample that lost the hard ones says too much. A document is refused if its counts do not certify its threshold. That
    catches mistakes and edits, not forgery: it is not signed.
    """

    target_agreement: OpenShare
    confidence: OpenShare
    threshold: float | None = Field(description="Margin under which a second look is taken; null: always.")
    count: Count = Field(description="Questions in the sample.")
    errors: Count = Field(description="Of those, served by the fast tier at the threshold while the tiers differ.")
    served_by_fast: Count = Field(description="Of those, served by the fast tier at the threshold.")
    agreement_bound: Share = Field(description="Lower bound of agreement with the accurate tier, at the confidence.")
    escalation_share: Share
    temperature: float | None = Field(default=None, gt=0, description="Of the fast tier's confidence, where fitted.")
    grid: tuple[float, ...] = Field(description="Thresholds in the order in which they were tried.")
    errors_at: tuple[Count, ...] = Field(description="`errors` at each threshold of the grid.")
    served_at: tuple[Count, ...] = Field(description="`served_by_fast` at each threshold of the grid.")

    @cached_property
    def id(self) -> str:
        """Content hash of the document: equal documents have equal ids."""
        return "c-" + hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def holds_for(self, fast_model: str, accurate_model: str) -> bool:
        """Whether it speaks of these two models, revisions included."""
        return (self.fast_model, self.accurate_model) == (fast_model, accurate_model)

    def certifies(self, target_agreement: float, confidence: float) -> bool:
        """Whether it promises at least so much."""
        return self.target_agreement >= target_agreement and self.confidence >= confidence

    @model_validator(mode="after")
    def _counts_belong_to_the_grid(self) -> "Certificate":
        _check_grid(self.grid)
        if not len(self.grid) == len(self.errors_at) == len(self.served_at):
            raise ValueError("grid, errors_at, served_at: must be equally long")
        for name, counts in (("errors_at", self.errors_at), ("served_at", self.served_at)):
            if any(strict > loose for strict, loose in itertools.pairwise(counts)):
                raise ValueError(f"{name}: must not fall from strict to loose")
        served_wrong = any(errors > served for errors, served in zip(self.errors_at, self.served_at, strict=True))
        if served_wrong or self.served_at[-1] > self.count:
            raise ValueError("errors_at, served_at, count: must be in this order at each threshold")
        return self

    @model_validator(mode="after")
    def _counts_certify_the_threshold(self) -> "Certificate":
        served, errors, bound = 0, 0, 1.0  # where every question gets its second look
        if self.threshold is not None:
            served, errors = self._counts_at(self.threshold)
            bound = _agreement_bound(errors, self.count, self.confidence)
            if not _meets(errors, self.count, self.target_agreement, self.confidence):
                raise ValueError(
                    f"threshold: {errors} errors in {self.count} do not certify {self.threshold} "
                    f"at agreement {self.target_agreement} with confidence {self.confidence}"
                )
        if (self.served_by_fast, self.errors) != (served, errors):
            raise ValueError("served_by_fast, errors: are not those of the grid at the threshold")
        share = _escalation_share(served, self.count)
        if abs(self.agreement_bound - bound) > ROUNDING or abs(self.escalation_share - share) > ROUNDING:
            raise ValueError("agreement_bound, escalation_share: do not follow from the counts")
        return self

    def _counts_at(self, threshold: float) -> tuple[int, int]:
        if threshold not in self.grid:
            raise ValueError(f"threshold: {threshold} is not in the grid")
        at = self.grid.index(threshold)
        return self.served_at[at], self.errors_at[at]


def issue(calibration: Calibration, origin: Origin, temperature: float | None = None) -> Certificate:
    """Write the certificate of a calibration; one that chose nothing certifies escalating everything."""
    chosen = calibration.chosen
    return Certificate(
        **origin.model_dump(),
        target_agreement=calibration.target_agreement,
        confidence=calibration.confidence,
        threshold=calibration.threshold,
        count=calibration.count,
        errors=chosen.errors if chosen else 0,
        served_by_fast=chosen.served_by_fast if chosen else 0,
        agreement_bound=chosen.agreement_bound if chosen else 1.0,
        escalation_share=chosen.escalation_share if chosen else 1.0,
        temperature=temperature,
        grid=tuple(point.threshold for point in calibration.points),
        errors_at=tuple(point.errors for point in calibration.points),
        served_at=tuple(point.served_by_fast for point in calibration.points),
    )


def _at_least(margin: NDArray[np.float64], grid: tuple[float, ...]) -> list[int]:
    below: list[int] = np.searchsorted(np.sort(margin), grid, side="left").tolist()
    return [len(margin) - count for count in below]


def _meets(errors: int, count: int, target_agreement: float, confidence: float) -> bool:
    return binomial_cdf(errors, count, 1.0 - target_agreement) <= 1.0 - confidence


def _agreement_bound(errors: int, count: int, confidence: float) -> float:
    return 1.0 - upper_bound(errors, count, 1.0 - confidence)


def _escalation_share(served_by_fast: int, count: int) -> float:
    return 1.0 - served_by_fast / count if count else 1.0


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name}: {value} is not between 0 and 1")


def _check_grid(grid: tuple[float, ...]) -> None:
    if not grid or not math.isfinite(grid[0]) or grid[-1] < 0:
        raise ValueError("grid: must be finite margins from zero")
    if not all(strict > loose for strict, loose in itertools.pairwise(grid)):
        raise ValueError("grid: must fall from strict to loose")
