"""A question and what is decided about it. Tuples, because several are made per request."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from router.confidence import Verdict
from router.errors import ApiError
from router.group import group_of
from router.items import Item
from router.policy import RouteName
from router.schemas import TierChoice
from tiers.messages import TrafficClass

TierName = Literal["fast", "accurate"]
DegradedReason = Literal["accurate_shed", "accurate_open", "accurate_timeout", "budget"]


class Question(NamedTuple):
    """Images to compare with texts, all of them read and valid.

    That is how most questions are, and how the cascade speaks of them. To it `images` are what is decided about, each
    alone, and `texts` the candidates of every decision: a text for which the best of several images is to be found
    takes the place of the image, and the images those of the texts (`is_turned`). The items know what they are.
    """

    images: tuple[Item, ...]
    texts: tuple[Item, ...]
    threshold: float | None
    tier: TierChoice
    texts_name: bytes
    """Names the texts, in order: their digests, joined."""
    traffic: TrafficClass = "live"
    route: RouteName = "similarity"

    @property
    def has_decision(self) -> bool:
        """Whether there is anything to be unsure of."""
        return self.threshold is not None or len(self.texts) > 1

    @property
    def cascades(self) -> bool:
        """Whether both tiers may be asked."""
        return self.tier == "auto" and self.has_decision

    @property
    def is_crossed(self) -> bool:
        """Whether images meet texts and nothing else: what the tiers were trained for and certificates speak of."""
        own = self.images[0].modality
        return all(image.modality == own for image in self.images) and all(text.modality != own for text in self.texts)

    def pinned_unless_crossed(self) -> "Question":
        """The question; one that does not cross is left to a single tier, the fast one if none is named."""
        return self._replace(tier="fast") if self.tier == "auto" and not self.is_crossed else self

    @property
    def is_turned(self) -> bool:
        """Whether it is decided about texts, with images as candidates."""
        return self.images[0].modality == "text" and self.texts[0].modality == "image"

    @property
    def group(self) -> str:
        """The group of questions that it is one of: what a certificate speaks of."""
        among = self.texts[0].modality
        return group_of(self.route, len(self.texts), has_threshold=self.threshold is not None, among=among)


class Decision(NamedTuple):
    """One image's answer: who gave it, how sure it is, and what came from the cache.

    `columns` are the positions of the texts that the verdict's arrays speak of; a text that failed has none.
    """

    verdict: Verdict
    columns: tuple[int, ...]
    tier: TierName
    escalated: bool
    degraded: DegradedReason | None
    image_hit: bool
    text_hits: int
    text_misses: int
    is_choice: bool
    """Whether there was anything to be unsure of: with one text left and no threshold there is not."""


class Outcome(NamedTuple):
    """Everything that is to say about one request; body, headers and metrics are made from it."""

    decisions: tuple[Decision | ApiError, ...]
    text_errors: Mapping[int, ApiError]
    token_count: int
    is_truncated: bool
    """Whether a text was longer than the answering model's context, and cut."""
    models: Mapping[TierName, str | None]
    """`id@revision` of each tier's model: of those that answered, as they were when they did."""
    policy_version: str
    timings_ms: Mapping[str, float]
