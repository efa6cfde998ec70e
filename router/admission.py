"""Who may wait for a tier: decided by the router's own counts, before any work. Pure: the clock is an argument."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from router.adaptive_limit import AdaptiveLimit, AdaptiveLimitConfig
from router.errors import Overloaded
from tiers.messages import Modality, TrafficClass

# A list counts as at most so many items: queues serve lists in turn, so that the rest of a long one delays nobody else.
MOST_WEIGHT = 8
MOST_RETRY_AFTER_S = 30


class AdmissionConfig(BaseModel):
    """Bounds on what one router replica holds for one tier."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_items: int = Field(
        default=4096, ge=1, description="Items waiting for or at one tier, of all classes; more are shed."
    )
    images: AdaptiveLimitConfig = AdaptiveLimitConfig()
    texts: AdaptiveLimitConfig = AdaptiveLimitConfig()
    warm_up_share: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="Share of the adaptive limits that warm-up traffic may hold beside live traffic's own.",
    )


@dataclass(slots=True)
class Submission:
    """Items that came together; they are admitted, and wait their turn, as one."""

    traffic: TrafficClass
    load_before: dict[Modality, float]
    left: Counter[Modality] = field(default_factory=Counter)


class Admission:
    """Counts what is held for a tier and refuses what is too much.

    Each modality has a limit of its own, because their items cost differently. A submission is admitted as long as
    less than the limit is held, whatever its own size: a long list is refused no more often than a short one.
    """

    def __init__(self, config: AdmissionConfig) -> None:
        self._config = config
        self._limits: dict[Modality, AdaptiveLimit] = {
            "image": AdaptiveLimit(config.images),
            "text": AdaptiveLimit(config.texts),
        }
        self._loads: Counter[tuple[Modality, TrafficClass]] = Counter()
        self._held = 0
        self._seconds_per_item = 0.0

    @property
    def held(self) -> int:
        """Items waiting for the tier or at it."""
        return self._held

    @property
    def limits(self) -> Mapping[Modality, int]:
        """What live traffic may hold now, by modality."""
        return {modality: limit.value for modality, limit in self._limits.items()}

    def admit(self, modalities: Iterable[Modality], traffic: TrafficClass) -> Submission:
        """Count items of these modalities as held.

        Raises:
            Overloaded: Too much is held already; nothing was counted.
        """
        counts = Counter(modalities)
        if self._held + counts.total() > self._config.max_items:
            raise self._refusal()
        for modality in counts:
            if self._loads[modality, traffic] >= self._limit(modality, traffic):
                raise self._refusal()
        before: dict[Modality, float] = {modality: self._loads[modality, traffic] for modality in counts}
        for modality, count in counts.items():
            self._loads[modality, traffic] += min(count, MOST_WEIGHT)
        self._held += counts.total()
        return Submission(traffic, before, counts)

    def finished(self, submission: Submission, modality: Modality) -> None:
        """Count one item of a submission as held no more, however it ended."""
        self._held -= 1
        submission.left[modality] -= 1
        if submission.left[modality] < MOST_WEIGHT:
            self._loads[modality, submission.traffic] -= 1

    def answered(
        self, submission: Submission, modality: Modality, latency_s: float, service_s: float, now: float
    ) -> None:
        """Learn from the first answer to a submission; later ones also waited for the submission's own items."""
        if submission.traffic == "live":
            load = submission.load_before[modality] + 1
            self._limits[modality].observe(latency_s, service_s, load, now)

    def refused_by_tier(self, modalities: Iterable[Modality]) -> None:
        """Learn that the tier shed or timed out although the router had admitted."""
        for modality in set(modalities):
            self._limits[modality].drop()

    def learn_pace(self, seconds_per_item: float) -> None:
        """Learn how fast the tier works off what is held, for `Retry-After`."""
        self._seconds_per_item += 0.1 * (seconds_per_item - self._seconds_per_item)

    def retry_after_s(self) -> int:
        """Seconds after which what is held now will have been worked off, 1 to 30."""
        return min(MOST_RETRY_AFTER_S, max(1, math.ceil(self._held * self._seconds_per_item)))

    def _limit(self, modality: Modality, traffic: TrafficClass) -> float:
        limit = self._limits[modality].value
        return limit if traffic == "live" else limit * self._config.warm_up_share

    def _refusal(self) -> Overloaded:
        return Overloaded("too many items are waiting for this tier", retry_after_s=self.retry_after_s())
