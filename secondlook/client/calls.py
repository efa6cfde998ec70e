"""The questions a client can ask: each is one flow, which `Client` and `AsyncClient` drive."""

from collections.abc import Sequence
from typing import Literal

from secondlook.client import reading
from secondlook.client.answers import (
    Classification,
    Collection,
    Embeddings,
    Model,
    Rerank,
    Score,
    Search,
    Similarity,
    Tier,
)
from secondlook.client.flow import Flow, Session
from secondlook.client.items import Images, ItemInput, Items, Texts, read_images, read_items, read_texts
from secondlook.client.requests import Question


def similarity(
    session: Session,
    images: Images,
    texts: Texts,
    threshold: float | None = None,
    tier: Literal["auto", "fast", "accurate"] = "auto",
    *,
    deadline_s: float | None = None,
) -> Flow[Similarity]:
    """Compare every image with every text.

    Args:
        session: The client's.
        images: Images.
        texts: Texts.
        threshold: The cosine from which a text counts as matching.
        tier: `auto` takes a second look where the fast tier is not certain; a named tier answers alone.
        deadline_s: Seconds this call may take, instead of the client's.
    """
    call = session.begin(deadline_s)
    question = Question(
        "/v1/similarity",
        {"images": read_images(images), "texts": read_texts(texts)},
        {"threshold": threshold, "tier": tier},
        slots=("images",),
        named="images",
    )
    return reading.read(reading.similarity, (yield from call.ask(question)))


def embed(
    session: Session,
    input: Items,  # noqa: A002 - the API's name for it
    model: str = "fast",
    modality: Literal["text", "image"] = "text",
    *,
    deadline_s: float | None = None,
) -> Flow[Embeddings]:
    """Embed images and texts by one tier.

    Args:
        session: The client's.
        input: Images, texts, or both.
        model: `fast`, `accurate`, or a model's id.
        modality: What plain strings are: texts, or images in base64.
        deadline_s: Seconds this call may take, instead of the client's.
    """
    call = session.begin(deadline_s)
    fields = {"model": model, "modality": modality}
    question = Question("/v1/embeddings", {"input": read_items(input)}, fields, named="input")
    return reading.read(reading.embeddings, (yield from call.ask(question)))


def classify(
    session: Session,
    images: Images,
    labels: Sequence[str] | None = None,
    collection: str | None = None,
    top_k: int | None = None,
    *,
    deadline_s: float | None = None,
) -> Flow[Classification]:
    """Say which labels fit each image, best first.

    Args:
        session: The client's.
        images: Images.
        labels: The labels to choose from.
        collection: The text collection to choose from, instead of labels.
        top_k: How many labels to name.
        deadline_s: Seconds this call may take, instead of the client's.
    """
    call = session.begin(deadline_s)
    fields = {"labels": None if labels is None else [*labels], "collection": collection, "top_k": top_k}
    lists = {"input": read_images(images)}
    question = Question("/v1/classify", lists, fields, slots=("input",), named="input")
    return reading.read(reading.classification, (yield from call.ask(question)))


def score(
    session: Session,
    queries: Items,
    documents: Items,
    threshold: float | None = None,
    tier: Tier | None = None,
    *,
    deadline_s: float | None = None,
) -> Flow[Score]:
    """Score one query with each document, or each query with its document.

    Args:
        session: The client's.
        queries: One, or as many as there are documents.
        documents: What to score.
        threshold: The cosine from which a pair counts as matching; with it there may be a second look.
        tier: Who answers where there is no threshold; by default `fast`.
        deadline_s: Seconds this call may take, instead of the client's.
    """
    call = session.begin(deadline_s)
    lists = {"queries": read_items(queries), "documents": read_items(documents)}
    is_paired = len(lists["queries"]) == len(lists["documents"])
    slots = ("queries", "documents") if is_paired else ("documents",)
    question = Question("/v1/score", lists, {"threshold": threshold, "tier": tier}, slots=slots)
    return reading.read(reading.score, (yield from call.ask(question)))


def rerank(
    session: Session,
    query: ItemInput,
    documents: Items,
    top_n: int | None = None,
    *,
    tier: Literal["auto", "fast", "accurate"] = "auto",
    deadline_s: float | None = None,
) -> Flow[Rerank]:
    """Order documents by how relevant they are to a query.

    Args:
        session: The client's.
        query: An image or a text.
        documents: What to order.
        top_n: How many of them to name.
        tier: `auto` takes a second look where images meet texts and the best two are close; a named tier answers alone.
        deadline_s: Seconds this call may take, instead of the client's.
    """
    call = session.begin(deadline_s)
    lists = {"query": read_items([query]), "documents": read_items(documents)}
    fields = {"top_n": top_n, "tier": tier}
    question = Question("/v1/rerank", lists, fields, single=frozenset({"query"}), named="documents")
    return reading.read(reading.rerank, (yield from call.ask(question)))


def search(
    session: Session,
    query: ItemInput,
    collection: str,
    top_k: int | None = None,
    tier: Tier | None = None,
    *,
    deadline_s: float | None = None,
) -> Flow[Search]:
    """Find what fits a query in a precomputed collection.

    Args:
        session: The client's.
        query: An image or a text.
        collection: The collection's name.
        top_k: How many hits to name.
        tier: Whose embeddings to search.
        deadline_s: Seconds this call may take, instead of the client's.
    """
    call = session.begin(deadline_s)
    fields = {"collection": collection, "top_k": top_k, "tier": tier}
    question = Question("/v1/search", {"query": read_items([query])}, fields, single=frozenset({"query"}))
    return reading.read(reading.search, (yield from call.ask(question)))


def models(session: Session, *, deadline_s: float | None = None) -> Flow[tuple[Model, ...]]:
    """Say which models are served."""
    return reading.read(reading.models, (yield from session.begin(deadline_s).fetch("/v1/models")))


def collections(session: Session, *, deadline_s: float | None = None) -> Flow[tuple[Collection, ...]]:
    """Say which text collections are served."""
    return reading.read(reading.collections, (yield from session.begin(deadline_s).fetch("/v1/collections")))
