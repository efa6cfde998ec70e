"""The Python client: `Client` waits, `AsyncClient` is for asyncio. It needs neither Ray nor torch."""

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
from secondlook.client.asynchronous import AsyncClient
from secondlook.client.errors import (
    ApiError,
    ClientError,
    ConnectionFailed,
    DeadlineExceeded,
    Overloaded,
    RateLimited,
    UnreadableAnswer,
)
from secondlook.client.items import Key
from secondlook.client.retries import RetryPolicy
from secondlook.client.sync import Client

__all__ = [
    "ApiError",
    "AsyncClient",
    "Classification",
    "ClassifiedItem",
    "Client",
    "ClientError",
    "Collection",
    "ConnectionFailed",
    "DeadlineExceeded",
    "Embeddings",
    "ItemError",
    "Key",
    "Label",
    "Meta",
    "Model",
    "Overloaded",
    "RankedDocument",
    "RateLimited",
    "Rerank",
    "RetryPolicy",
    "Score",
    "ScoredPair",
    "Search",
    "SearchHit",
    "Similarity",
    "SimilarityItem",
    "Tiering",
    "UnreadableAnswer",
]
