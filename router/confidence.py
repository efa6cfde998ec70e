"""How sure a tier is of its decision. Pure: arrays in, numbers out."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatVector = NDArray[np.float32]
# Up to so many texts plain numbers are faster than arrays, of which each operation costs as much as ten of theirs.
FEW = 16


@dataclass(frozen=True, slots=True)
class Scale:
    """How a model turns a cosine into a logit: `logit_scale * cosine + logit_bias` (open_clip's own form)."""

    logit_scale: float
    logit_bias: float
    has_sigmoid: bool


class Verdict(NamedTuple):
    """One image against its texts, as one tier sees it.

    `cosine` has shape (texts,). `probability` is the softmax of the logits over the texts; with one text it is the
    logit's sigmoid for a model trained so, else None. `margin` is the difference of the two best logits; given a
    threshold it is the smallest distance of a logit to the threshold's; with one text and no threshold there is
    no decision, and it is that text's logit. `confidence` is the probability of what was decided.
    """

    best: int
    cosine: FloatVector
    probability: FloatVector | None
    margin: float
    confidence: float


def judge(cosine: FloatVector, scale: Scale, threshold: float | None) -> Verdict:
    """Rank `cosine` (shape (texts,), at least one) and say how sure the ranking, or the thresholding, is."""
    if len(cosine) == 1:
        return _judge_one(cosine, cosine.item() * scale.logit_scale + scale.logit_bias, scale, threshold)
    if len(cosine) <= FEW:
        return _judge_few(cosine, scale, threshold)
    return _judge_many(cosine, scale, threshold)


def _judge_few(cosine: FloatVector, scale: Scale, threshold: float | None) -> Verdict:
    factor, bias = scale.logit_scale, scale.logit_bias
    logits = [value * factor + bias for value in cosine.tolist()]
    winner = max(logits)
    best = logits.index(winner)
    shares = [math.exp(logit - winner) for logit in logits]
    total = sum(shares)
    probability = np.array([share / total for share in shares], dtype=np.float32)
    if threshold is not None:
        cut = _cut(threshold, scale)
        margin = min([abs(logit - cut) for logit in logits])
        return Verdict(best, cosine, probability, margin, _sigmoid(margin))
    logits[best] = -math.inf
    return Verdict(best, cosine, probability, winner - max(logits), 1.0 / total)


def _judge_many(cosine: FloatVector, scale: Scale, threshold: float | None) -> Verdict:
    logits = cosine * np.float64(scale.logit_scale) + scale.logit_bias
    best = int(logits.argmax())
    shares = np.exp(logits - logits[best])
    shares /= shares.sum()
    probability = shares.astype(np.float32)
    if threshold is not None:
        margin = float(np.abs(logits - _cut(threshold, scale)).min())
        return Verdict(best, cosine, probability, margin, _sigmoid(margin))
    runner_up, winner = np.partition(logits, -2)[-2:].tolist()
    return Verdict(best, cosine, probability, winner - runner_up, float(shares[best]))


def _judge_one(cosine: FloatVector, logit: float, scale: Scale, threshold: float | None) -> Verdict:
    probability = np.array([_sigmoid(logit)], dtype=np.float32) if scale.has_sigmoid else None
    if threshold is None:
        return Verdict(0, cosine, probability, logit, 1.0)
    margin = abs(logit - _cut(threshold, scale))
    return Verdict(0, cosine, probability, margin, _sigmoid(margin))


def _cut(threshold: float, scale: Scale) -> float:
    return threshold * scale.logit_scale + scale.logit_bias


def _sigmoid(value: float) -> float:
    return float(np.exp(-np.logaddexp(0.0, -value)))  # does not overflow, however large the scale
