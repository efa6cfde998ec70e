"""Whether two tiers decided the same. Pure."""

import numpy as np

from router.outcome import Decision


def agree(one: Decision, other: Decision, threshold: float | None) -> bool | None:
    """Say whether two decisions on one image are the same; None where they speak of different texts.

    A choice is the best text; with a threshold it is, of every text, whether it reaches the threshold.
    """
    if one.columns != other.columns:
        return None
    if threshold is None:
        return one.verdict.best == other.verdict.best
    return bool(np.array_equal(one.verdict.cosine >= threshold, other.verdict.cosine >= threshold))
