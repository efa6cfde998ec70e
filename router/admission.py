"""Who may wait for a tier: decided by the router's own counts, before any work. Pure: the clock is an argument."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from router.adaptive_limit import AdaptiveLimit, AdaptiveLimitConfig
from router.errors import Overloaded
from tiers.messages import Modality, TrafficClass

# More items than this are a list: it has calls of its own, and waits for itself.
LIST_ITEMS = 16
# Texts are short and cheap, and come with a picture by the handful: so many count as one.
TEXTS_PER_UNIT = 8
MOST_RETRY_AFTER_S = 30
# Of the time until a list's deadline: who can hardly be answered in time is told so at once.
SURE_SHARE = 0.5


class AdmissionConfig(BaseModel):
    """Bounds on what one router replica holds for one tier."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_items: int = Field(
        default=4096, ge=1, description="Items waiting for or at one tier, of all classes; more are shed."
    )
    images: AdaptiveLimitConfig = AdaptiveLimitConfig()
    texts: AdaptiveLimitConfig = AdaptiveLimitConfig()
    warm_up_share: float = Field(
        default=0.25, gt=0, le=1, description="Share of `max_items` that warm-up traffic may hold."
    )
    list_wait_s: float = Field(
        default=5.0,
        gt=0,
        description=f"Seconds in which the tier must be able to work off what it holds, for a list of more than "
        f"{LIST_ITEMS} items to be let in behind it; half of the time until its deadline, where that is less.",
    )


@dataclass(slots=True)
class Submission:
    """Items that came together; they are admitted, and wait their turn, as one."""

    traffic: TrafficClass
    is_list: bool
    left: Counter[Modality]
    units: dict[Modality, int]
    load_before: dict[Modality, int]


class Admission:
    """Counts what is held for a tier and refuses what is too much.

    Of live traffic, few items at a time are admitted as long as less than the adaptive limit of each of their
    modalities is held: images and texts cost differently. A list, whose latency is mostly its own length, is admitted
    as long as it can be worked off in time; it takes turns with all others and teaches the limits nothing.
    """

    def __init__(self, config: AdmissionConfig) -> None:
        self._config = config
        self._limits: dict[Modality, AdaptiveLimit] = {
            "image": AdaptiveLimit(config.images),
            "text": AdaptiveLimit(config.texts),
        }
        self._loads: Counter[Modality] = Counter()
        self._held: Counter[TrafficClass] = Counter()
        self._seconds_per_item = 0.0

    @property
    def held(self) -> int:
        """Items waiting for the tier or at it."""
        return self._held.total()

    @property
    def limits(self) -> Mapping[Modality, int]:
        """What live traffic may hold now, lists apart, by modality."""
        return {modality: limit.value for modality, limit in self._limits.items()}

    def admit(self, modalities: Iterable[Modality], traffic: TrafficClass, left_s: float = math.inf) -> Submission:
        """Count items of these modalities, which have `left_s` seconds until their deadline, as held.

        Raises:
            Overloaded: Too much is held already; nothing was counted.
        """
        counts = Counter(modalities)
        submission = Submission(
            traffic=traffic,
            is_list=counts.total() > LIST_ITEMS,
            left=counts,
            units={one: _units(one, count) for one, count in counts.items()},
            load_before={one: self._loads[one] for one in counts},
        )
        if not self._has_room(submission, left_s):
            raise Overloaded("too many items are waiting for this tier", retry_after_s=self.retry_after_s())
        self._held[traffic] += counts.total()
        if _is_limited(submission):
            self._loads.update(submission.units)
        return submission

    def finished(self, submission: Submission, modality: Modality) -> None:
        """Count one item of a submission as held no more, however it ended."""
        self._held[submission.traffic] -= 1
        submission.left[modality] -= 1
        if _is_limited(submission) and not submission.left[modality]:
            self._loads[modality] -= submission.units[modality]

    def answered(
        self, submission: Submission, modality: Modality, latency_s: float, service_s: float, now: float
    ) -> None:
        """Learn from the first answer to a submission; later ones also waited for the submission's own items."""
        if _is_limited(submission):
            self._limits[modality].observe(latency_s, service_s, submission.load_before[modality] + 1, now)

    def refused_by_tier(self, modalities: Iterable[Modality]) -> None:
        """Learn that the tier shed or timed out although the router had admitted."""
        for modality in set(modalities):
            self._limits[modality].drop()

    def learn_pace(self, seconds_per_item: float) -> None:
        """Learn how fast the tier works off what is held, for `Retry-After`."""
        self._seconds_per_item += 0.1 * (seconds_per_item - self._seconds_per_item)

    def retry_after_s(self) -> int:
        """Seconds after which what is held now will have been worked off, 1 to 30."""
        return min(MOST_RETRY_AFTER_S, max(1, math.ceil(self.held * self._seconds_per_item)))

    def _has_room(self, submission: Submission, left_s: float) -> bool:
        config, count = self._config, submission.left.total()
        held = self.held + count
        if held > config.max_items:
            return False
        if submission.traffic == "warm_up":
            mine = self._held["warm_up"]
            return mine == 0 or mine + count <= config.warm_up_share * config.max_items
        if submission.is_list:
            wait_s = min(config.list_wait_s, SURE_SHARE * left_s)
            return self.held == 0 or held * self._seconds_per_item <= wait_s
        return all(self._loads[modality] < self._limits[modality].value for modality in submission.units)


def _is_limited(submission: Submission) -> bool:
    return submission.traffic == "live" and not submission.is_list


def _units(modality: Modality, count: int) -> int:
    return count if modality == "image" else math.ceil(count / TEXTS_PER_UNIT)
