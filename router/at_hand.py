"""Questions that this process answers alone: every embedding is in its memory, and no second look is due."""

from typing import NamedTuple

from router.confidence import judge
from router.outcome import Decision, Question, TierName
from router.policy_in_force import PolicyInForce
from router.space_memory import SpaceMemory


class AtHand(NamedTuple):
    """Every image's decision, and the texts' tokens."""

    decisions: tuple[Decision, ...]
    token_count: int
    is_truncated: bool
    tier: TierName
    model_id: str
    full_name: str


def answer_at_hand(
    question: Question, policy: PolicyInForce, fast: SpaceMemory | None, accurate: SpaceMemory | None
) -> AtHand | None:
    """Decide every image without waiting for anything; None where something is missing or unsure.

    The accurate tier's answer is the best one, and free where it is in memory. The fast tier's will do only where
    it is sure, and the shared store has said that it has not got the accurate tier's either.
    """
    if question.tier == "accurate":
        return _decide(question, "accurate", accurate)
    if question.tier == "fast" or not question.has_decision:
        return _decide(question, "fast", fast)
    best = _decide(question, "accurate", accurate)
    if best is not None or accurate is None or not accurate.lacks(question.images):
        return best
    first = _decide(question, "fast", fast)
    if first is None:
        return None
    threshold = policy.bar(question.route, question.group, first.full_name, accurate.full_name).threshold
    return None if any(decision.verdict.margin < threshold for decision in first.decisions) else first


def _decide(question: Question, tier: TierName, memory: SpaceMemory | None) -> AtHand | None:
    if memory is None:
        return None
    images = memory.images(question.images)
    texts = None if images is None else memory.texts(question.texts_name, question.texts)
    if images is None or texts is None:
        return None
    count = len(texts.columns)
    decisions = [
        Decision(
            verdict=judge(texts.matrix @ image.vector, texts.scale, question.threshold),
            columns=texts.columns,
            tier=tier,
            escalated=False,
            degraded=None,
            image_hit=True,
            text_hits=count,
            text_misses=0,
            is_choice=question.has_decision,
        )
        for image in images
    ]
    own = [image.token_count for image in images]  # of texts in the place of images; images have none
    is_truncated = texts.is_truncated or max(own) > memory.context_length
    return AtHand(tuple(decisions), texts.token_count + sum(own), is_truncated, tier, texts.model_id, memory.full_name)
