"""The answer of /v1/score, in vLLM's shape, made from what the cascade found out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from router.answers import raise_or_merge
from router.comparison import at_callers_place
from router.errors import ApiError
from router.http import Response
from router.outcome import Decision, Outcome
from router.pairs import Pair, Scoring
from router.tiering import headers, tiering


class Scored(NamedTuple):
    """A question and its outcome; an error where there is none."""

    scoring: Scoring
    outcome: Outcome | ApiError

    def decided(self) -> Iterator[tuple[Pair, Decision | ApiError]]:
        """What became of each pair."""
        if isinstance(self.outcome, ApiError):
            yield from ((pair, self.outcome) for pair in self.scoring.pairs)
        else:
            yield from zip(self.scoring.pairs, self.outcome.decisions, strict=True)


def score_response(scored: Sequence[Scored], errors: Mapping[int, ApiError], name: str, created: int) -> Response:
    """Every pair's score.

    Args:
        scored: The pairs that were read, with what was found out.
        errors: The errors of the other pairs, by their places.
        name: The answer's id.
        created: Unix time, in seconds.

    Raises:
        ApiError: Every pair failed.
    """
    failed = dict(errors)
    slots: dict[int, dict[str, Any]] = {}
    for one in scored:
        for pair, decision in one.decided():
            if isinstance(decision, ApiError):
                named = decision if decision.param else decision.at(pair.document_name)
                failed[pair.place] = at_callers_place(named, [pair.query_name])
            else:
                slots[pair.place] = _slot(one.scoring, one.outcome, pair, decision)
    outcomes = [one.outcome for one in scored if isinstance(one.outcome, Outcome)]
    body = {
        "id": name,
        "object": "list",
        "created": created,
        "data": [{"object": "score", **slot} for slot in raise_or_merge(dict(sorted(slots.items())), failed)],
        "model": ",".join(sorted(_models(outcomes))),
        "usage": text_usage(outcomes),
    }
    decisions = [decision for outcome in outcomes for decision in outcome.decisions]
    return Response(body, headers=headers(decisions, _longest(outcomes)))


def _slot(scoring: Scoring, outcome: Outcome | ApiError, pair: Pair, decision: Decision) -> dict[str, Any]:
    question, score = scoring.question, decision.verdict.cosine.item()
    slot: dict[str, Any] = {"index": pair.place, "score": score}
    if question.threshold is not None:
        slot["matches"] = score >= question.threshold
    if question.cascades and isinstance(outcome, Outcome):
        slot["tiering"] = tiering(decision, outcome.policy_version, is_turned=question.is_turned)
    return slot


def text_usage(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """OpenAI's usage object: the tokens of all texts."""
    tokens = sum(outcome.token_count for outcome in outcomes)
    usage: dict[str, Any] = {"prompt_tokens": tokens, "total_tokens": tokens}
    if any(outcome.is_truncated for outcome in outcomes):
        usage["truncated"] = True
    return usage


def answering_models(outcome: Outcome) -> set[str]:
    """The models that decided, as `id@revision`."""
    tiers = {decision.tier for decision in outcome.decisions if isinstance(decision, Decision)}
    return {model for tier in tiers if (model := outcome.models.get(tier)) is not None}


def _models(outcomes: Sequence[Outcome]) -> set[str]:
    return set().union(*(answering_models(outcome) for outcome in outcomes))


def _longest(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """How long each stage took: the questions were asked at the same time."""
    longest: dict[str, float] = {}
    for outcome in outcomes:
        for stage, took_ms in outcome.timings_ms.items():
            longest[stage] = max(took_ms, longest.get(stage, 0.0))
    return longest
