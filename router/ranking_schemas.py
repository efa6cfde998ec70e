"""The bodies of the routes that choose, score and search, in the shapes that clients of other services send."""

from typing import Literal

from pydantic import BaseModel, Field

from router.schemas import TRUNCATED, ErrorBody, FailedItem, ModelIds, RawItem, RequestBody, TierChoice, Tiering

TIER = "`auto` takes a second look where images meet texts and the decision is close; a named tier answers alone."
MODEL = "In place of `tier`, as other services' clients send it: `auto`, a tier, or the id of its model."
ONE_OR_MORE = "One item or a list."


class ClassifyRequest(RequestBody):
    """Say which labels fit each image."""

    input: list[RawItem] = Field(min_length=1, description="Images.")
    labels: list[RawItem] | None = Field(default=None, min_length=1, description="Texts to choose from.")
    collection: str | None = Field(default=None, description="A collection to choose from, in place of labels.")
    top_k: int | None = Field(default=None, ge=1, description="How many labels to name; all unless told otherwise.")
    tier: TierChoice = Field(default="auto", description="`auto` cascades; a named tier answers alone.")


class ScoreRequest(RequestBody):
    """Score one query with each document, or each query with its document (vLLM's request, by any of its names)."""

    queries: RawItem | list[RawItem] | None = Field(default=None, description=ONE_OR_MORE)
    documents: RawItem | list[RawItem] | None = Field(default=None, description=ONE_OR_MORE)
    items: RawItem | list[RawItem] | None = Field(default=None, description="Another name of `documents`.")
    text_1: RawItem | list[RawItem] | None = Field(default=None, description="Another name of `queries`.")
    text_2: RawItem | list[RawItem] | None = Field(default=None, description="Another name of `documents`.")
    data_1: RawItem | list[RawItem] | None = Field(default=None, description="Another name of `queries`.")
    data_2: RawItem | list[RawItem] | None = Field(default=None, description="Another name of `documents`.")
    threshold: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        allow_inf_nan=False,
        description="Cosine from which a pair counts as matching; only with it there is a second look.",
    )
    tier: TierChoice = Field(default="auto", description=f"{TIER} Without a threshold `auto` is `fast`.")
    model: str | None = Field(default=None, description=MODEL)
    user: str | None = Field(default=None, description="Accepted and not used.")


class RerankRequest(RequestBody):
    """Order documents by how relevant they are to a query (Cohere's and Jina's request)."""

    query: RawItem = Field(description="A text or an image.")
    documents: RawItem | list[RawItem] = Field(description="Texts, images, or both.")
    top_n: int | None = Field(default=None, ge=1, description="How many to name; all unless told otherwise.")
    return_documents: bool | None = Field(
        default=None, description="Whether to repeat each document; an image is repeated as its content key."
    )
    tier: TierChoice = Field(default="auto", description=TIER)
    model: str | None = Field(default=None, description=MODEL)


class SearchRequest(RequestBody):
    """Find what fits a query in a precomputed collection."""

    query: RawItem = Field(description="A text or an image.")
    collection: str = Field(min_length=1, description="The collection's name.")
    top_k: int = Field(default=10, ge=1, le=1000, description="How many hits to name.")
    tier: TierChoice = Field(default="auto", description="Whose embeddings to search.")


class LabelScore(BaseModel):
    """A label, its place in the request, its probability among the labels, and its cosine."""

    label: str = Field(description="The label's text, or its content key where only that was sent.")
    index: int
    score: float | None = Field(
        description="Softmax over the labels; of a single label the sigmoid where the model is trained so, else null."
    )
    cosine: float


class ClassifiedItem(BaseModel):
    """One image's labels, best first."""

    index: int
    key: str
    labels: list[LabelScore]
    tiering: Tiering


class ClassifyUsage(BaseModel):
    """What was counted."""

    images: int
    labels: int
    prompt_tokens: int
    truncated: Literal[True] | None = Field(default=None, description=TRUNCATED)


class ClassifyAnswer(BaseModel):
    """The answer of /v1/classify."""

    object: Literal["classification"]
    model: ModelIds
    data: list[ClassifiedItem | FailedItem]
    labels: list[FailedItem] | None = Field(default=None, description="Labels that failed alone, if any did.")
    usage: ClassifyUsage


class TextUsage(BaseModel):
    """OpenAI's usage object: the tokens of the texts."""

    prompt_tokens: int
    total_tokens: int
    truncated: Literal[True] | None = Field(default=None, description=TRUNCATED)


class PairScore(BaseModel):
    """One pair's cosine."""

    index: int
    object: Literal["score"]
    score: float
    matches: bool | None = Field(default=None, description="Only with a threshold: whether the score reaches it.")
    tiering: Tiering | None = Field(default=None, description="Only where a second look could be taken.")


class FailedPair(BaseModel):
    """A pair that failed alone."""

    index: int
    object: Literal["score"]
    error: ErrorBody


class ScoreAnswer(BaseModel):
    """The answer of /v1/score."""

    id: str
    object: Literal["list"]
    created: int
    model: str = Field(description="The models that answered, as id@revision, separated by commas.")
    data: list[PairScore | FailedPair]
    usage: TextUsage


class RankedDocument(BaseModel):
    """One document: its place in the request, and its cosine with the query."""

    index: int
    relevance_score: float
    key: str
    document: dict[str, str] | None = Field(
        default=None, description="Where asked for: `text`, or `key` of an image or of a text that was named by it."
    )


class RerankAnswer(BaseModel):
    """The answer of /v1/rerank: best first, and after those what failed alone."""

    id: str
    model: str = Field(description="The model that answered, as id@revision.")
    results: list[RankedDocument | FailedItem]
    tiering: Tiering | None = Field(default=None, description="Only where images meet texts.")
    usage: TextUsage


class SearchHit(BaseModel):
    """One entry of a collection."""

    id: str
    score: float
    metadata: dict[str, object]


class SearchAnswer(BaseModel):
    """The answer of /v1/search, best first."""

    object: Literal["list"]
    data: list[SearchHit]


class CollectionCard(BaseModel):
    """One text collection."""

    name: str
    object: Literal["collection"]
    size: int
    revision: str


class CollectionsAnswer(BaseModel):
    """Every text collection that is served."""

    object: Literal["list"]
    data: list[CollectionCard]
