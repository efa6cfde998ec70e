"""Bodies and headers of the answers, made from what the cascade found out."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router.comparison import at_callers_place
from router.embedder import Embedder, Embedding
from router.errors import ApiError
from router.http import Response
from router.items import Item
from router.outcome import Decision, Outcome, Question, TierName
from router.readings import Reading
from router.tiering import headers, server_timing, tiering


def similarity_response(question: Question, outcome: Outcome, images: Reading, texts: Reading) -> Response:
    """The answer of /v1/similarity.

    Args:
        question: What was asked, the readable items only.
        outcome: What the cascade answered.
        images: The request's images, those that could not be read included.
        texts: The request's texts, those that could not be read included.

    Raises:
        ApiError: Every image failed.
    """
    failed = dict(images.errors)
    slots: dict[int, dict[str, Any]] = {}
    for place, image, decision in zip(images.places, question.images, outcome.decisions, strict=True):
        if isinstance(decision, ApiError):
            named = decision if decision.param else decision.at(f"images[{place}]")
            failed[place] = at_callers_place(named, texts.names("texts"))
        else:
            slots[place] = _similarity_item(place, image.key, decision, outcome.policy_version, question, texts)
    body: dict[str, Any] = {
        "object": "similarity",
        "model": outcome.models,
        "data": raise_or_merge(slots, failed),
        "usage": {"images": len(slots), "texts": texts.width, "prompt_tokens": outcome.token_count},
    }
    if outcome.is_truncated:
        body["usage"]["truncated"] = True
    if texts.errors or outcome.text_errors:
        body["texts"] = failed_texts(outcome, texts, "texts")
    return Response(body, headers=headers(outcome.decisions, outcome.timings_ms))


def raise_or_merge(slots: dict[int, dict[str, Any]], failed: Mapping[int, ApiError]) -> list[dict[str, Any]]:
    """A list's slots in order, those that failed alone among them.

    Args:
        slots: What was answered, by place.
        failed: The errors of all other places.

    Raises:
        ApiError: All failed: the first one's error is the request's.
    """
    if not slots:
        raise failed[min(failed)]
    if not failed:
        return list(slots.values())
    merged = slots | {place: {"index": place, **error.body()} for place, error in failed.items()}
    return [merged[place] for place in sorted(merged)]


def failed_texts(outcome: Outcome, texts: Reading, param: str) -> list[dict[str, Any]]:
    """The candidates that failed alone, in a list that callers call `param`."""
    errors = dict(texts.errors)
    names = texts.names(param)
    errors |= {texts.places[i]: error.at(names[i]) for i, error in outcome.text_errors.items()}
    return [{"index": place, **errors[place].body()} for place in sorted(errors)]


def _similarity_item(
    place: int, key: str, decision: Decision, policy_version: str, question: Question, texts: Reading
) -> dict[str, Any]:
    verdict = decision.verdict
    columns = decision.columns
    if texts.errors:
        columns = tuple([texts.places[column] for column in columns])
    width = texts.width
    item: dict[str, Any] = {
        "index": place,
        "key": key,
        "best": columns[verdict.best],
        "cosine": _spread(verdict.cosine, columns, width),
        "probability": None if verdict.probability is None else _spread(verdict.probability, columns, width),
    }
    if question.threshold is not None:
        matches = verdict.cosine >= question.threshold
        item["matches"] = _spread(matches, columns, width)
    item["tiering"] = tiering(decision, policy_version)
    return item


def _spread(values: NDArray[Any], columns: Sequence[int], width: int) -> NDArray[Any] | list[Any]:
    """Values at their texts' places, null where a text failed."""
    if len(columns) == width:
        return values
    spread: list[Any] = [None] * width
    for column, value in zip(columns, values.tolist(), strict=True):
        spread[column] = value
    return spread


class AnsweredBy(NamedTuple):
    """Who made embeddings: the model as the caller named it, its tier, and the tokens it reads of a text."""

    model: str
    tier: TierName
    context_length: int


def embeddings_response(
    items: Sequence[Item],
    embeddings: Sequence[Embedding],
    answered_by: AnsweredBy,
    encoding: str,
    timings_ms: dict[str, float],
) -> Response:
    """OpenAI's list of embeddings; `encoding` is float, base64 or bytes (msgpack)."""
    counts = [embedding.token_count for embedding in embeddings]
    usage: dict[str, Any] = {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}
    if max(counts) > answered_by.context_length:
        usage["truncated"] = True
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _encode_vector(embedding.vector, encoding),
            "key": item.key,
        }
        for index, (item, embedding) in enumerate(zip(items, embeddings, strict=True))
    ]
    body = {
        "object": "list",
        "data": data,
        "model": answered_by.model,
        "usage": usage,
    }
    headers = {
        "server-timing": server_timing(timings_ms),
        "x-tier": answered_by.tier,
        "x-cached": str(sum(embedding.is_hit for embedding in embeddings)),
    }
    return Response(body, headers=headers)


def _encode_vector(vector: NDArray[np.float32], encoding: str) -> object:
    if encoding == "float":
        return np.ascontiguousarray(vector)
    data = vector.astype("<f4").tobytes()
    return data if encoding == "bytes" else base64.b64encode(data).decode()


def model_cards(tiers: Mapping[str, Embedder]) -> list[dict[str, object]]:
    """OpenAI's model objects of the tiers that have come up, with what a caller of ours wants to know besides."""
    cards: list[dict[str, object]] = []
    for tier, embedder in tiers.items():
        model = embedder.description
        if model is None:
            continue
        cards.append(
            {
                "id": model.model,
                "object": "model",
                "owned_by": "secondlook",
                "created": 0,
                "tier": tier,
                "revision": model.revision,
                "dimension": model.dimension,
                "context_length": model.context_length,
                "image_size": list(model.image_size),
                "precision": model.precision,
                "matryoshka": model.is_matryoshka,
            }
        )
    return cards
