"""The answer of /v1/classify, made from what the cascade found out."""

from typing import Any

import numpy as np

from router.answers import failed_texts, raise_or_merge
from router.comparison import at_callers_place
from router.errors import ApiError
from router.http import Response
from router.items import Item
from router.outcome import Decision, Outcome, Question
from router.readings import Reading
from router.tiering import headers, tiering


def classify_response(
    question: Question, outcome: Outcome, images: Reading, labels: Reading, top_k: int | None
) -> Response:
    """Every image's labels, best first.

    Args:
        question: What was asked, the readable items only.
        outcome: What the cascade answered.
        images: The request's images, those that could not be read included.
        labels: The request's labels, those that could not be read included.
        top_k: How many labels to name; None for all.

    Raises:
        ApiError: Every image failed.
    """
    failed = dict(images.errors)
    slots: dict[int, dict[str, Any]] = {}
    for place, image, decision in zip(images.places, question.images, outcome.decisions, strict=True):
        if isinstance(decision, ApiError):
            named = decision if decision.param else decision.at(f"input[{place}]")
            failed[place] = at_callers_place(named, labels.names("labels"))
        else:
            slots[place] = {
                "index": place,
                "key": image.key,
                "labels": _ranked(decision, labels, top_k),
                "tiering": tiering(decision, outcome.policy_version),
            }
    body: dict[str, Any] = {
        "object": "classification",
        "model": outcome.models,
        "data": raise_or_merge(slots, failed),
        "usage": {"images": len(slots), "labels": labels.width, "prompt_tokens": outcome.token_count},
    }
    if outcome.is_truncated:
        body["usage"]["truncated"] = True
    if labels.errors or outcome.text_errors:
        body["labels"] = failed_texts(outcome, labels, "labels")
    return Response(body, headers=headers(outcome.decisions, outcome.timings_ms))


def _ranked(decision: Decision, labels: Reading, top_k: int | None) -> list[dict[str, Any]]:
    verdict = decision.verdict
    best_first = np.argsort(-verdict.cosine, kind="stable")[:top_k].tolist()
    cosine = verdict.cosine.tolist()
    score = [None] * len(cosine) if verdict.probability is None else verdict.probability.tolist()
    ranked = []
    for position in best_first:
        column = decision.columns[position]
        label, place = _name(labels.items[column]), labels.places[column]
        ranked.append({"label": label, "index": place, "score": score[position], "cosine": cosine[position]})
    return ranked


def _name(label: Item) -> str:
    """The label as it was sent: its text, or the key that stood for it."""
    return label.content if isinstance(label.content, str) else label.key
