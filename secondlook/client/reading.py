"""Bodies of answers made into values. Pure; unknown fields are passed over, so that the service may add some."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from secondlook.client.answers import (
    Classification,
    ClassifiedItem,
    Collection,
    Embeddings,
    ItemError,
    Label,
    Meta,
    Model,
    RankedDocument,
    Rerank,
    Score,
    ScoredPair,
    Search,
    SearchHit,
    Similarity,
    SimilarityItem,
    Tiering,
)
from secondlook.client.errors import UnreadableAnswer

Body = dict[str, Any]
Value = TypeVar("Value")
Slot = TypeVar("Slot")


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer before it is read."""

    body: Body
    request_id: str | None

    @property
    def meta(self) -> Meta:
        """What it says of itself."""
        return Meta(self.request_id, self.body.get("usage") or {})


def read(reader: Callable[[Reply], Value], reply: Reply) -> Value:
    """Read an answer.

    Raises:
        UnreadableAnswer: A field is missing or of another kind.
    """
    try:
        return reader(reply)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableAnswer("the answer is not of this API", reply.request_id) from error


def similarity(reply: Reply) -> Similarity:
    """The answer of /v1/similarity."""
    body = reply.body
    text_errors = tuple(_item_error(slot) for slot in body.get("texts") or ())
    return Similarity(_slots(body["data"], _similarity_item), text_errors, body["model"], reply.meta)


def embeddings(reply: Reply) -> Embeddings:
    """The answer of /v1/embeddings."""
    import numpy as np  # noqa: PLC0415 - takes as long to import as all else, and only vectors need it

    rows = [
        np.frombuffer(vector, "<f4") if isinstance(vector := slot["embedding"], bytes) else np.array(vector, "<f4")
        for slot in reply.body["data"]
    ]
    keys = tuple(slot["key"] for slot in reply.body["data"])
    return Embeddings(np.stack(rows).astype(np.float32, copy=False), keys, reply.body["model"], reply.meta)


def classification(reply: Reply) -> Classification:
    """The answer of /v1/classify."""
    label_errors = tuple(_item_error(slot) for slot in reply.body.get("labels") or ())
    return Classification(_slots(reply.body["data"], _classified_item), label_errors, reply.meta)


def score(reply: Reply) -> Score:
    """The answer of /v1/score."""
    return Score(_slots(reply.body["data"], _scored_pair), reply.meta)


def rerank(reply: Reply) -> Rerank:
    """The answer of /v1/rerank."""
    return Rerank(_slots(reply.body["results"], _ranked_document), _optional_tiering(reply.body), reply.meta)


def search(reply: Reply) -> Search:
    """The answer of /v1/search."""
    hits = [SearchHit(hit["id"], float(hit["score"]), hit.get("metadata") or {}) for hit in reply.body["data"]]
    return Search(tuple(hits), reply.meta)


def models(reply: Reply) -> tuple[Model, ...]:
    """The answer of /v1/models."""
    return tuple(Model(one["id"], one["tier"], one["revision"], one["dimension"]) for one in reply.body["data"])


def collections(reply: Reply) -> tuple[Collection, ...]:
    """The answer of /v1/collections."""
    return tuple(Collection(one["name"], int(one["size"]), one) for one in reply.body["data"])


def _slots(slots: list[Body], read_slot: Callable[[Body], Slot]) -> tuple[Slot | ItemError, ...]:
    return tuple(_item_error(slot) if "error" in slot else read_slot(slot) for slot in slots)


def _item_error(slot: Body) -> ItemError:
    error = slot["error"]
    return ItemError(slot["index"], error["code"], error["message"], error.get("param"))


def _similarity_item(slot: Body) -> SimilarityItem:
    return SimilarityItem(
        index=slot["index"],
        key=slot["key"],
        best=slot["best"],
        cosine=tuple(slot["cosine"]),
        probability=_optional_tuple(slot.get("probability")),
        matches=_optional_tuple(slot.get("matches")),
        tiering=_tiering(slot["tiering"]),
    )


def _classified_item(slot: Body) -> ClassifiedItem:
    labels = tuple(
        Label(label["label"], label["index"], label["score"], float(label["cosine"])) for label in slot["labels"]
    )
    return ClassifiedItem(slot["index"], slot["key"], labels, _tiering(slot["tiering"]))


def _scored_pair(slot: Body) -> ScoredPair:
    return ScoredPair(slot["index"], float(slot["score"]), slot.get("matches"), _optional_tiering(slot))


def _ranked_document(slot: Body) -> RankedDocument:
    return RankedDocument(slot["index"], float(slot["relevance_score"]), slot["key"])


def _optional_tuple(values: list[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def _optional_tiering(slot: Body) -> Tiering | None:
    tiering = slot.get("tiering")
    return None if tiering is None else _tiering(tiering)


def _tiering(tiering: Body) -> Tiering:
    cache = tiering["cache"]
    return Tiering(
        tier=tiering["tier"],
        confidence=tiering["confidence"],
        margin=tiering["margin"],
        escalated=tiering["escalated"],
        degraded=tiering["degraded"],
        policy=tiering["policy"],
        image_hit=cache.get("image") == "hit",
        text_hits=cache["texts"]["hit"],
        text_misses=cache["texts"]["miss"],
    )
