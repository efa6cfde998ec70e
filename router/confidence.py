"""How sure a tier is of its decision. Pure: arrays in, numbers out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatVector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scale:
    """How a model turns a cosine into a logit: `logit_scale * cosine + logit_bias` (open_clip's own form)."""

    logit_scale: float
    logit_bias: float
    has_sigmoid: bool


@dataclass(frozen=True, slots=True)
class Verdict:
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
    logits = cosine.astype(np.float64) * scale.logit_scale + scale.logit_bias
    best = int(logits.argmax())
    shares = _softmax(logits)
    if threshold is not None:
        cut = threshold * scale.logit_scale + scale.logit_bias
        margin = float(np.abs(logits - cut).min())
        confidence = _sigmoid(margin)
    elif len(logits) > 1:
        runner_up, winner = np.partition(logits, -2)[-2:].tolist()
        margin = winner - runner_up
        confidence = float(shares[best])
    else:
        margin = float(logits[0])
        confidence = 1.0
    return Verdict(best, cosine, _probability(logits, shares, scale), margin, confidence)


def _probability(logits: NDArray[np.float64], shares: NDArray[np.float64], scale: Scale) -> FloatVector | None:
    if len(logits) > 1:
        return shares.astype(np.float32)
    if scale.has_sigmoid:
        return np.array([_sigmoid(float(logits[0]))], dtype=np.float32)
    return None


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials: NDArray[np.float64] = np.exp(logits - logits.max())
    shares: NDArray[np.float64] = exponentials / exponentials.sum()
    return shares


def _sigmoid(value: float) -> float:
    return float(np.exp(-np.logaddexp(0.0, -value)))  # does not overflow, however large the scale
