"""The bodies of the HTTP API: what is validated on the way in, and what OpenAPI says of the way out."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

ITEM_SCHEMA: dict[str, Any] = {
    "description": "A text, or an image: base64, a data: URL, the URL of a host that the operator admits, "
    "bytes (msgpack), or the content key that an earlier answer returned.",
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "image": {"type": "string", "description": "base64 or data: URL"},
                "image_url": {
                    "type": "object",
                    "properties": {
                        "url": {
                            "type": "string",
                            "description": "data: URL, or http(s) where the operator admits the host",
                        }
                    },
                    "required": ["url"],
                    "additionalProperties": False,
                },
                "key": {"type": "string", "pattern": "^[it]:[0-9a-f]+$"},
            },
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        },
    ],
}
# Items are validated one by one (router.items), so that a bad one fails alone: here they are anything.
RawItem = Annotated[Any, WithJsonSchema(ITEM_SCHEMA)]
TierChoice = Literal["auto", "fast", "accurate"]


class RequestBody(BaseModel):
    """What every request has in common: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SimilarityRequest(RequestBody):
    """Compare every image with every text."""

    images: list[RawItem] = Field(min_length=1, description="Images.")
    texts: list[RawItem] = Field(min_length=1, description="Texts.")
    threshold: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        allow_inf_nan=False,
        description="Cosine from which a text counts as matching; the margin is then the distance to it.",
    )
    tier: TierChoice = Field(default="auto", description="`auto` cascades; a named tier answers alone.")


class EmbeddingsRequest(RequestBody):
    """OpenAI's embeddings request, with items that may be images."""

    model: str = Field(description="`fast`, `accurate`, or the id of a tier's model.")
    input: RawItem | list[RawItem] = Field(description="One item or a list of items.")
    encoding_format: Literal["float", "base64"] | None = Field(
        default=None, description="`float` unless told otherwise; `base64` is little-endian float32."
    )
    dimensions: int | None = Field(
        default=None,
        ge=1,
        description="The model's own dimension; fewer only where its card says `matryoshka`: the first numbers, made "
        "unit length again.",
    )
    user: str | None = Field(default=None, description="Accepted and not used.")
    modality: Literal["text", "image"] = Field(default="text", description="What plain strings are.")


class ErrorBody(BaseModel):
    """What went wrong."""

    message: str
    type: str
    code: str
    param: str | None


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    error: ErrorBody


class CacheUse(BaseModel):
    """How many of the texts' embeddings came from the cache."""

    hit: int
    miss: int


class TieringCache(BaseModel):
    """Where the answering tier's embeddings came from."""

    image: Literal["hit", "miss"]
    texts: CacheUse


class Tiering(BaseModel):
    """Which tier decided, how sure it was, and what it cost."""

    tier: Literal["fast", "accurate"]
    confidence: float
    margin: float
    escalated: bool
    degraded: Literal["accurate_shed", "accurate_open", "accurate_timeout", "budget"] | None
    cache: TieringCache
    policy: str


class SimilarityItem(BaseModel):
    """One image against the texts; a text that failed alone has null in its place."""

    index: int
    key: str
    best: int
    cosine: list[float | None]
    probability: list[float | None] | None
    matches: list[bool | None] | None = Field(default=None, description="Only with a threshold: which texts reach it.")
    tiering: Tiering


class FailedItem(BaseModel):
    """An item that failed alone."""

    index: int
    error: ErrorBody


TRUNCATED = "Only where a text has more tokens than the model's context: what is beyond it was cut."


class SimilarityUsage(BaseModel):
    """What was counted."""

    images: int
    texts: int
    prompt_tokens: int
    truncated: Literal[True] | None = Field(default=None, description=TRUNCATED)


class ModelIds(BaseModel):
    """Both tiers' models as id@revision; null while a tier has not come up."""

    fast: str | None
    accurate: str | None


class SimilarityAnswer(BaseModel):
    """The answer of /v1/similarity."""

    object: Literal["similarity"]
    model: ModelIds
    data: list[SimilarityItem | FailedItem]
    texts: list[FailedItem] | None = Field(default=None, description="Texts that failed alone, if any did.")
    usage: SimilarityUsage


class Embedding(BaseModel):
    """One embedding, unit length."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    key: str


class EmbeddingsUsage(BaseModel):
    """OpenAI's usage object."""

    prompt_tokens: int
    total_tokens: int
    truncated: Literal[True] | None = Field(default=None, description=TRUNCATED)


class EmbeddingsAnswer(BaseModel):
    """OpenAI's list of embeddings."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


class ModelCard(BaseModel):
    """One model that is served."""

    id: str
    object: Literal["model"]
    owned_by: str
    created: int
    tier: Literal["fast", "accurate"]
    revision: str
    dimension: int
    context_length: int
    image_size: list[int]
    precision: str
    matryoshka: bool = Field(description="Whether embeddings may be shortened with `dimensions`.")


class ModelsAnswer(BaseModel):
    """OpenAI's list of models."""

    object: Literal["list"]
    data: list[ModelCard]


class HealthAnswer(BaseModel):
    """Whether the process, or the data plane, answers."""

    status: Literal["ok"]
