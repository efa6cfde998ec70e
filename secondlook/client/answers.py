"""The answers, as frozen values. What failed alone stands in its place as an `ItemError`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Tier = Literal["fast", "accurate"]
Numbers = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class ItemError:
    """An item that failed alone: its place, and the service's error."""

    index: int
    code: str
    message: str
    param: str | None


@dataclass(frozen=True, slots=True)
class Tiering:
    """Which tier decided, how sure it was, and what it cost."""

    tier: Tier
    confidence: float
    margin: float
    escalated: bool
    degraded: str | None
    policy: str
    image_hit: bool
    text_hits: int
    text_misses: int


@dataclass(frozen=True, slots=True)
class Meta:
    """What an answer says of itself: the request's id, and what was counted."""

    request_id: str | None
    usage: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SimilarityItem:
    """One image against the texts; a text that failed alone has None in its place. `matches` needs a threshold."""

    index: int
    key: str
    best: int
    cosine: Numbers
    probability: Numbers | None
    matches: tuple[bool | None, ...] | None
    tiering: Tiering


@dataclass(frozen=True, slots=True)
class Similarity:
    """The answer of `similarity`: an item for each image, and the texts that failed alone."""

    items: tuple[SimilarityItem | ItemError, ...]
    text_errors: tuple[ItemError, ...]
    models: Mapping[str, str | None]
    meta: Meta


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The answer of `embed`: a float32 row of unit length and a content key for each item."""

    vectors: "NDArray[np.float32]"
    keys: tuple[str, ...]
    model: str
    meta: Meta


@dataclass(frozen=True, slots=True)
class Label:
    """A label, its place in the question, its probability among the labels, and its cosine.

    `score` is None where there is one label only and the model gives a single one no probability.
    """

    label: str
    index: int
    score: float | None
    cosine: float


@dataclass(frozen=True, slots=True)
class ClassifiedItem:
    """One image's labels, best first."""

    index: int
    key: str
    labels: tuple[Label, ...]
    tiering: Tiering

    @property
    def best(self) -> Label:
        """The label that fits best."""
        return self.labels[0]


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer of `classify`: an item for each image, and the labels that failed alone."""

    items: tuple[ClassifiedItem | ItemError, ...]
    label_errors: tuple[ItemError, ...]
    meta: Meta


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """One query's cosine with one document. `matches` needs a threshold, `tiering` also an image and a text."""

    index: int
    score: float
    matches: bool | None
    tiering: Tiering | None


@dataclass(frozen=True, slots=True)
class Score:
    """The answer of `score`: an item for each pair."""

    items: tuple[ScoredPair | ItemError, ...]
    meta: Meta


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document by its place in the request, its cosine with the query, and its content key."""

    index: int
    relevance_score: float
    key: str


@dataclass(frozen=True, slots=True)
class Rerank:
    """The answer of `rerank`: documents, most relevant first, and after those what failed alone.

    `tiering` says who decided which is best; None where not all are images for a text, or texts for an image.
    """

    items: tuple[RankedDocument | ItemError, ...]
    tiering: Tiering | None
    meta: Meta


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One entry of a collection that fits the query."""

    id: str
    score: float
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Search:
    """The answer of `search`: hits, best first."""

    items: tuple[SearchHit, ...]
    meta: Meta


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is served."""

    id: str
    tier: Tier
    revision: str
    dimension: int


@dataclass(frozen=True, slots=True)
class Collection:
    """A text collection that is served; `details` is all that the service says of it."""

    name: str
    size: int
    details: Mapping[str, Any]
