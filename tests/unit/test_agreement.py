"""Whether two tiers decided the same."""

import numpy as np
import pytest

from router.agreement import agree
from router.confidence import Scale, judge
from router.outcome import Decision, TierName

SCALE = Scale(10.0, 0.0, has_sigmoid=False)


def decision(*cosines: float, tier: TierName = "fast", columns: tuple[int, ...] | None = None) -> Decision:
    """What a tier decides at these cosines; `columns` are the texts that they are of."""
    cosine = np.array(cosines, dtype=np.float32)
    return Decision(
        verdict=judge(cosine, SCALE, None),
        columns=tuple(range(len(cosines))) if columns is None else columns,
        tier=tier,
        escalated=False,
        degraded=None,
        image_hit=False,
        text_hits=0,
        text_misses=len(cosines),
        is_choice=True,
    )


@pytest.mark.parametrize(("other", "is_same"), [((0.9, 0.1, 0.5), True), ((0.4, 0.5, 0.1), False)])
def test_choice_is_the_best_text(other: tuple[float, ...], is_same: bool) -> None:  # noqa: FBT001 - a parameter
    """By how much, and what comes second, plays no part."""
    assert agree(decision(0.6, 0.5, 0.1), decision(*other, tier="accurate"), None) is is_same


@pytest.mark.parametrize(
    ("other", "is_same"), [((0.3, 0.9, 0.1), True), ((0.31, 0.29, 0.1), False), ((0.29, 0.9, 0.1), False)]
)
def test_match_is_of_every_text_whether_it_reaches_the_threshold(
    other: tuple[float, ...],
    is_same: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Which one is best plays no part, and what is just at the threshold reaches it."""
    threshold = float(np.float32(0.3))

    assert agree(decision(0.6, 0.4, 0.1), decision(*other, tier="accurate"), threshold) is is_same


def test_decisions_on_other_texts_are_not_compared() -> None:
    """A text that failed on one tier was no candidate there."""
    whole, part = decision(0.6, 0.5, 0.1), decision(0.6, 0.5, columns=(0, 2))

    assert agree(whole, part, None) is None
    assert agree(part, whole, 0.3) is None


def test_decisions_on_the_same_part_of_the_texts_are_compared() -> None:
    """Both lack the same text."""
    assert agree(decision(0.6, 0.5, columns=(0, 2)), decision(0.9, 0.1, columns=(0, 2)), None) is True
