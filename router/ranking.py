"""The answer of /v1/rerank, in Cohere's and Jina's shape, made from what the cascade found out."""

from typing import Any

import numpy as np

from router.answers import failed_texts
from router.comparison import at_callers_place
from router.errors import ApiError
from router.http import Response
from router.items import Item
from router.outcome import Decision, Outcome, Question
from router.ranking_schemas import RerankRequest
from router.readings import Reading
from router.scores import answering_models, text_usage
from router.tiering import headers, tiering


def rerank_response(
    question: Question, outcome: Outcome, documents: Reading, body: RerankRequest, name: str
) -> Response:
    """The documents, most relevant first, and after those what failed alone.

    Args:
        question: What was asked, the readable items only: the query against the documents.
        outcome: What the cascade answered.
        documents: The request's documents, those that could not be read included.
        body: What else was asked for.
        name: The answer's id.

    Raises:
        ApiError: The query failed.
    """
    (decision,) = outcome.decisions
    if isinstance(decision, ApiError):
        named = decision if decision.param else decision.at("query")
        raise at_callers_place(named, documents.names("documents"))
    best_first = np.argsort(-decision.verdict.cosine, kind="stable")[: body.top_n].tolist()
    answer: dict[str, Any] = {
        "id": name,
        "model": ",".join(answering_models(outcome)),
        "results": [_result(decision, position, documents, body) for position in best_first]
        + failed_texts(outcome, documents, "documents"),
        "usage": text_usage([outcome]),
    }
    if question.is_crossed:
        answer["tiering"] = tiering(decision, outcome.policy_version, is_turned=question.is_turned)
    return Response(answer, headers=headers(outcome.decisions, outcome.timings_ms))


def _result(decision: Decision, position: int, documents: Reading, body: RerankRequest) -> dict[str, Any]:
    column = decision.columns[position]
    document = documents.items[column]
    result: dict[str, Any] = {
        "index": documents.places[column],
        "relevance_score": decision.verdict.cosine[position].item(),
        "key": document.key,
    }
    if body.return_documents:
        result["document"] = _repeated(document)
    return result


def _repeated(document: Item) -> dict[str, str]:
    """A text as it was sent; an image, or a text that was named by its key, as that: no bytes travel back."""
    return {"text": document.content} if isinstance(document.content, str) else {"key": document.key}
