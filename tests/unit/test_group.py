"""Groups of questions: alike enough for one certificate."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.group import group_of
from router.policy_in_force import route_of
from tests.fakes import image, question, text

COUNTS = st.integers(1, 10_000)


@pytest.mark.parametrize(
    ("candidates", "bucket"),
    [(1, "1"), (2, "2"), (3, "3-4"), (4, "3-4"), (5, "5-8"), (8, "5-8"), (9, "9-16"), (256, "129-256"), (257, "257+")],
)
def test_candidates_fall_into_the_bucket_that_names_them(candidates: int, bucket: str) -> None:
    """The bounds belong to the bucket."""
    assert group_of("similarity", candidates, has_threshold=False) == f"similarity/{bucket}"


def test_choice_and_match_are_two_groups() -> None:
    """To say of each text whether it fits is another thing than to choose one."""
    choice = group_of("classify", 4, has_threshold=False)
    match = group_of("classify", 4, has_threshold=True)

    assert (choice, match) == ("classify/3-4", "classify:threshold/3-4")
    assert {route_of(choice), route_of(match)} == {"classify"}


def test_questions_group_is_of_its_texts_and_threshold() -> None:
    """Images play no part: each is decided alone."""
    texts = (text("cat"), text("dog"), text("cow"))

    one = question((image(b"a"),), texts)
    two = question((image(b"a"), image(b"b")), texts)

    assert one.group == two.group == "similarity/3-4"
    assert question((image(b"a"),), texts, threshold=0.2).group == "similarity:threshold/3-4"


@given(one=COUNTS, other=COUNTS)
def test_buckets_are_ranges(one: int, other: int) -> None:
    """Every count has a bucket, and between two of one bucket none is of another."""
    names = [group_of("rerank", count, has_threshold=False) for count in range(min(one, other), max(one, other) + 1, 7)]

    runs = [name for name, _ in itertools.groupby(names)]
    assert len(runs) == len(set(runs))
