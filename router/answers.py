"""Bodies and headers of the answers, made from what the cascade found out."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.cascade import Decision, Outcome, Question, TierName
from router.embedder import Embedder, Embedding
from router.errors import ApiError
from router.http import Response
from router.items import Item

TIMED_STAGES = ("cache", "queue", "fast", "accurate", "total")


def similarity_response(
    question: Question,
    outcome: Outcome,
    *,
    places: tuple[Sequence[int], Sequence[int]],
    failed: tuple[dict[int, ApiError], dict[int, ApiError]],
    models: dict[str, str | None],
) -> Response:
    """The answer of /v1/similarity.

    Args:
        question: What was asked, the readable items only.
        outcome: What the cascade answered.
        places: Where the question's images and texts stood in the request.
        failed: Images and texts that could not be read, by their place in the request.
        models: `id@revision` of both tiers.

    Raises:
        ApiError: Every image failed.
    """
    image_places, text_places = places
    image_errors, text_errors = dict(failed[0]), dict(failed[1])
    text_errors |= {text_places[i]: e.at(f"texts[{text_places[i]}]") for i, e in outcome.text_errors.items()}
    width = len(text_places) + len(failed[1])
    slots: dict[int, dict[str, Any]] = {}
    for place, image, decision in zip(image_places, question.images, outcome.decisions, strict=True):
        if isinstance(decision, ApiError):
            image_errors[place] = decision if decision.param else decision.at(f"images[{place}]")
        else:
            slots[place] = _similarity_item(place, image, decision, outcome, (question, text_places, width))
    if not slots:
        raise image_errors[min(image_errors)]
    slots |= {place: {"index": place, **error.body()} for place, error in image_errors.items()}
    body: dict[str, Any] = {
        "object": "similarity",
        "model": models,
        "data": [slots[place] for place in sorted(slots)],
        "usage": {"images": len(slots), "texts": width, "prompt_tokens": outcome.token_count},
    }
    if text_errors:
        body["texts"] = [{"index": place, **text_errors[place].body()} for place in sorted(text_errors)]
    return Response(body, headers=_headers(outcome))


def _similarity_item(
    place: int,
    image: Item,
    decision: Decision,
    outcome: Outcome,
    shape: tuple[Question, Sequence[int], int],
) -> dict[str, Any]:
    question, text_places, width = shape
    verdict = decision.verdict
    columns = [text_places[i] for i in decision.columns]
    item: dict[str, Any] = {
        "index": place,
        "key": image.key,
        "best": columns[verdict.best],
        "cosine": _spread(verdict.cosine, columns, width),
        "probability": None if verdict.probability is None else _spread(verdict.probability, columns, width),
    }
    if question.threshold is not None:
        matches = verdict.cosine >= question.threshold
        item["matches"] = _spread(matches, columns, width)
    item["tiering"] = {
        "tier": decision.tier,
        "confidence": verdict.confidence,
        "margin": verdict.margin,
        "escalated": decision.escalated,
        "degraded": decision.degraded,
        "cache": {
            "image": "hit" if decision.image_hit else "miss",
            "texts": {"hit": decision.text_hits, "miss": decision.text_misses},
        },
        "policy": outcome.policy_version,
    }
    return item


def _spread(values: NDArray[Any], columns: Sequence[int], width: int) -> NDArray[Any] | list[Any]:
    """Values at their texts' places, null where a text failed."""
    if len(columns) == width:
        return values
    spread: list[Any] = [None] * width
    for column, value in zip(columns, values.tolist(), strict=True):
        spread[column] = value
    return spread


def _headers(outcome: Outcome) -> dict[str, str]:
    decided = [d for d in outcome.decisions if isinstance(d, Decision)]
    headers = {"server-timing": server_timing(outcome.timings_ms)}
    if decided:
        headers["x-tier"] = ",".join(sorted({d.tier for d in decided}))
    degraded = sorted({d.degraded for d in decided if d.degraded})
    if degraded:
        headers["x-degraded"] = ",".join(degraded)
    return headers


def server_timing(timings_ms: dict[str, float]) -> str:
    """The Server-Timing header: milliseconds of each stage that took place."""
    stages = [s for s in TIMED_STAGES if s in timings_ms]
    return ", ".join(f"{stage};dur={timings_ms[stage]:.2f}" for stage in stages)


def embeddings_response(
    items: Sequence[Item],
    embeddings: Sequence[Embedding],
    *,
    model: str,
    tier: TierName,
    encoding: str,
    timings_ms: dict[str, float],
) -> Response:
    """OpenAI's list of embeddings; `encoding` is float, base64 or bytes (msgpack)."""
    tokens = sum(embedding.token_count for embedding in embeddings)
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
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Response(body, headers={"server-timing": server_timing(timings_ms), "x-tier": tier})


def _encode_vector(vector: NDArray[np.float32], encoding: str) -> object:
    if encoding == "float":
        return np.ascontiguousarray(vector)
    data = vector.astype("<f4").tobytes()
    return data if encoding == "bytes" else base64.b64encode(data).decode()


def models_response(tiers: dict[str, Embedder]) -> Response:
    """OpenAI's list of models, with what a caller of ours wants to know besides."""
    cards = []
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
            }
        )
    return Response({"object": "list", "data": cards})
