"""Who may wait for a tier: by count, per class and modality, before any work."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.adaptive_limit import AdaptiveLimitConfig
from router.admission import Admission, AdmissionConfig, Submission
from router.errors import Overloaded
from tiers.messages import Modality, TrafficClass


def fixed(items: int) -> AdaptiveLimitConfig:
    """A limit that does not move."""
    return AdaptiveLimitConfig(floor=items, initial=items, ceiling=items)


def admission(images: int = 10, texts: int = 10, max_items: int = 1000, warm_up_share: float = 0.25) -> Admission:
    """Fixed limits."""
    return Admission(
        AdmissionConfig(max_items=max_items, images=fixed(images), texts=fixed(texts), warm_up_share=warm_up_share)
    )


def admitted(bounds: Admission, modality: Modality, size: int, traffic: TrafficClass = "live") -> int:
    """How many submissions of one size are admitted before one is refused."""
    for count in range(1000):
        try:
            bounds.admit([modality] * size, traffic)
        except Overloaded:
            return count
    raise AssertionError("nothing was refused")


def test_single_items_are_admitted_up_to_the_limit() -> None:
    """Ten, and no eleventh."""
    assert admitted(admission(images=10), "image", 1) == 10


def test_eight_texts_count_as_one() -> None:
    """A picture comes with a handful of them."""
    assert admitted(admission(texts=10), "text", 8) == 10
    assert admitted(admission(texts=10), "text", 9) == 5


def test_request_is_admitted_as_long_as_less_than_the_limit_is_held() -> None:
    """Whatever its own size: two with nine pictures fill a limit of ten."""
    assert admitted(admission(images=10), "image", 9) == 2


def test_list_lets_others_in() -> None:
    """It takes its turn like everybody: a thousand texts do not shut the door."""
    bounds = admission(texts=10, max_items=2000)
    bounds.admit(["text"] * 1000, "live")

    assert admitted(bounds, "text", 8) == 10


def test_list_is_let_in_behind_what_can_be_worked_off_in_time() -> None:
    """At ten milliseconds an item and five seconds, five hundred items; one list alone always."""
    bounds = admission(max_items=10_000)
    for _ in range(100):
        bounds.learn_pace(0.01)

    assert admitted(bounds, "text", 100) == 5
    assert admitted(admission(max_items=10_000), "text", 100) == 100


def test_list_that_can_hardly_be_answered_in_time_is_refused_at_once() -> None:
    """Of two seconds until its deadline, one may be waited."""
    bounds = admission(max_items=10_000)
    for _ in range(100):
        bounds.learn_pace(0.01)
    bounds.admit(["text"] * 60, "live", left_s=2.0)

    with pytest.raises(Overloaded):
        bounds.admit(["text"] * 60, "live", left_s=2.0)
    bounds.admit(["text"] * 60, "live", left_s=3.0)


def test_list_teaches_the_limits_nothing() -> None:
    """Its latency is its own length."""
    bounds = Admission(AdmissionConfig())
    submission = bounds.admit(["text"] * 100, "live")

    for tick in range(100):
        bounds.answered(submission, "text", latency_s=60.0, service_s=0.01, now=float(tick))

    assert bounds.limits["text"] == 64


def test_modalities_have_limits_of_their_own() -> None:
    """Texts are refused while pictures are not."""
    bounds = admission(images=10, texts=1)
    bounds.admit(["text"], "live")

    bounds.admit(["image"], "live")
    with pytest.raises(Overloaded):
        bounds.admit(["image", "text"], "live")

    assert bounds.held == 2


def test_warm_up_has_a_share_beside_live_traffic() -> None:
    """A quarter of all; live traffic's limits do not count it."""
    bounds = admission(texts=40, max_items=400)

    assert admitted(bounds, "text", 10, "warm_up") == 10
    assert admitted(bounds, "text", 1, "live") == 40


def test_warm_up_is_let_in_when_there_is_none() -> None:
    """Even a list that is longer than its share."""
    bounds = admission(max_items=40)

    bounds.admit(["text"] * 30, "warm_up")

    assert bounds.held == 30


def test_items_of_all_classes_stay_within_the_hard_bound() -> None:
    """Nothing is counted of what was refused."""
    bounds = admission(max_items=20, texts=1000)
    bounds.admit(["text"] * 15, "live")

    with pytest.raises(Overloaded):
        bounds.admit(["text"] * 6, "warm_up")

    assert bounds.held == 15


def test_refused_caller_is_told_when_to_come_again() -> None:
    """What is held times the pace, in whole seconds between 1 and 30."""
    bounds = admission(texts=10)
    for _ in range(100):
        bounds.learn_pace(0.5)
    admitted(bounds, "text", 1)

    with pytest.raises(Overloaded) as caught:
        bounds.admit(["text"], "live")

    assert caught.value.retry_after_s == 5


def test_warm_up_teaches_the_limit_nothing() -> None:
    """It waits by design."""
    bounds = Admission(AdmissionConfig())
    submission = bounds.admit(["text"], "warm_up")

    for tick in range(100):
        bounds.answered(submission, "text", latency_s=60.0, service_s=0.01, now=float(tick))

    assert bounds.limits["text"] == 64


def test_slow_answers_lower_their_modalitys_limit_only() -> None:
    """Pictures queue, texts do not."""
    bounds = Admission(AdmissionConfig())
    submission = bounds.admit(["image", "text"], "live")

    for tick in range(100):
        bounds.answered(submission, "image", latency_s=9.0, service_s=0.1, now=float(tick))

    assert bounds.limits["image"] == AdaptiveLimitConfig().floor
    assert bounds.limits["text"] == 64


def test_tier_that_sheds_lowers_the_limit() -> None:
    """Its word counts at once."""
    bounds = Admission(AdmissionConfig())

    bounds.refused_by_tier(["image", "image"])

    assert bounds.limits == {"image": 51, "text": 64}


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 40), max_size=30), order=st.randoms(use_true_random=False))
def test_nothing_is_held_once_everything_is_finished(sizes: list[int], order: Random) -> None:
    """Whatever the sizes, and in whatever order items end."""
    bounds = admission(images=10_000, texts=10_000, max_items=100_000)
    items: list[tuple[Submission, Modality]] = []
    for size in sizes:
        modalities: list[Modality] = ["image" if number % 2 else "text" for number in range(size)]
        submission = bounds.admit(modalities, "live")
        items += [(submission, modality) for modality in modalities]
    order.shuffle(items)

    for submission, modality in items:
        bounds.finished(submission, modality)

    assert bounds.held == 0
    assert not any(bounds._loads.values())
