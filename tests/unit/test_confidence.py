"""How sure a tier is: margins and probabilities from cosines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.confidence import Scale, Verdict, judge

SOFTMAX = Scale(logit_scale=100.0, logit_bias=0.0, has_sigmoid=False)
SIGMOID = Scale(logit_scale=10.0, logit_bias=-5.0, has_sigmoid=True)
COSINES = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20)


def judge_list(cosines: list[float], scale: Scale = SOFTMAX, threshold: float | None = None) -> Verdict:
    """Judge a plain list of cosines."""
    return judge(np.array(cosines, dtype=np.float32), scale, threshold)


def test_verdict_ranks_by_cosine() -> None:
    """The best text is the one with the highest cosine, wherever it stands."""
    verdict = judge_list([0.1, 0.3, 0.2])

    assert verdict.best == 1
    np.testing.assert_array_equal(verdict.cosine, np.array([0.1, 0.3, 0.2], dtype=np.float32))


def test_probability_is_the_softmax_of_the_logits() -> None:
    """Scale times cosine, through a softmax over the given texts."""
    verdict = judge_list([0.31, 0.28])

    expected = np.exp([31.0, 28.0]) / np.exp([31.0, 28.0]).sum()
    assert verdict.probability is not None
    np.testing.assert_allclose(verdict.probability, expected, rtol=1e-4)
    assert verdict.confidence == pytest.approx(expected[0], rel=1e-4)


def test_margin_is_the_difference_of_the_two_best_logits() -> None:
    """The third text plays no part in it."""
    verdict = judge_list([0.25, -0.9, 0.28])

    assert verdict.margin == pytest.approx(3.0, abs=1e-4)


def test_tie_has_no_margin_and_the_first_text_wins() -> None:
    """Two equal texts are as unsure as can be, and still one of them is named."""
    verdict = judge_list([0.2, 0.2])

    assert (verdict.best, verdict.margin) == (0, 0.0)
    assert verdict.confidence == pytest.approx(0.5)


def test_margin_with_a_threshold_is_the_smallest_distance_to_it() -> None:
    """The text nearest to the cut is the least sure one; the best text may be far from it."""
    verdict = judge_list([0.9, 0.28, 0.1], threshold=0.3)

    assert verdict.best == 0
    assert verdict.margin == pytest.approx(2.0, abs=1e-4)
    assert verdict.confidence == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-4)


def test_cosine_at_the_threshold_is_a_coin_toss() -> None:
    """A distance of zero is a confidence of one half."""
    verdict = judge_list([0.25], threshold=0.25)

    assert (verdict.margin, verdict.confidence) == (0.0, 0.5)


def test_bias_moves_no_margin() -> None:
    """A bias is added to every logit and to the threshold's, so that it cancels out."""
    biased = Scale(logit_scale=100.0, logit_bias=-16.0, has_sigmoid=True)

    for threshold in (None, 0.1):
        plain = judge_list([0.2, 0.15], SOFTMAX, threshold)
        moved = judge_list([0.2, 0.15], biased, threshold)
        assert moved.margin == pytest.approx(plain.margin)
        assert moved.confidence == pytest.approx(plain.confidence)


def test_one_text_has_the_sigmoid_of_a_model_trained_so() -> None:
    """Bias included: a sigmoid model knows whether one pair matches."""
    verdict = judge_list([0.7], SIGMOID)

    assert verdict.probability == pytest.approx(1 / (1 + np.exp(-2.0)), rel=1e-5)
    assert verdict.margin == pytest.approx(2.0, abs=1e-5)


def test_one_text_has_no_probability_from_a_softmax_model() -> None:
    """A softmax over one text would always say one: there is nothing to report."""
    verdict = judge_list([0.7])

    assert verdict.probability is None
    assert verdict.confidence == 1.0


def test_several_texts_get_a_softmax_from_a_sigmoid_model_too() -> None:
    """Which of several texts fits best is a share, however the model was trained."""
    verdict = judge_list([0.7, 0.6], SIGMOID)

    assert verdict.probability == pytest.approx([np.e / (1 + np.e), 1 / (1 + np.e)], rel=1e-4)


@pytest.mark.parametrize("cosine", [-1.0, 1.0])
@pytest.mark.parametrize("has_sigmoid", [True, False])
def test_huge_scales_stay_finite(cosine: float, *, has_sigmoid: bool) -> None:
    """Logits far beyond the exponent of a float neither overflow nor warn."""
    scale = Scale(logit_scale=1e6, logit_bias=-1e3, has_sigmoid=has_sigmoid)

    for verdict in (
        judge_list([cosine], scale),
        judge_list([cosine, 0.0], scale),
        judge_list([cosine], scale, threshold=-cosine),
    ):
        assert np.isfinite([verdict.margin, verdict.confidence]).all()
        assert verdict.probability is None or np.isfinite(verdict.probability).all()


@settings(deadline=None)
@given(cosines=COSINES, threshold=st.none() | st.floats(-1, 1))
def test_verdict_is_sound_for_any_cosines(cosines: list[float], threshold: float | None) -> None:
    """Shares sum to one, the best has the largest, and neither margin nor confidence leaves its range."""
    verdict = judge_list(cosines, SOFTMAX, threshold)

    assert cosines[verdict.best] == max(cosines)
    assert 0.0 <= verdict.confidence <= 1.0
    if len(cosines) > 1 or threshold is not None:
        assert verdict.margin >= 0.0
    if len(cosines) > 1:
        assert verdict.probability is not None
        assert verdict.probability.sum() == pytest.approx(1.0, abs=1e-5)
        assert verdict.probability[verdict.best] == verdict.probability.max()


@settings(deadline=None)
@given(cosines=COSINES, threshold=st.none() | st.floats(-1, 1), seed=st.integers(0, 2**16))
def test_order_of_the_texts_changes_no_confidence(cosines: list[float], threshold: float | None, seed: int) -> None:
    """The same texts in another order are the same question."""
    shuffled = np.random.default_rng(seed).permutation(cosines).tolist()

    one, other = judge_list(cosines, SOFTMAX, threshold), judge_list(shuffled, SOFTMAX, threshold)

    assert other.margin == pytest.approx(one.margin)
    assert other.confidence == pytest.approx(one.confidence)
