"""Pairs to be scored: who meets whom, and which questions score them."""

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import ApiError, InvalidRequest
from router.items import Item
from router.pairs import check_lengths, pair_up, scorings
from router.readings import Reading, split
from tests.fakes import image, text

BAD = InvalidRequest("bad")
NAMES = ("queries", "documents")
POOL: list[Item | ApiError] = [text("cat"), text("dog"), image(b"one"), image(b"two"), BAD]


@st.composite
def lists(draw: st.DrawFn) -> tuple[Reading, Reading]:
    """One query or as many as documents, bad ones among them."""
    documents = draw(st.lists(st.sampled_from(POOL), min_size=1, max_size=8))
    width = draw(st.sampled_from([1, len(documents)]))
    queries = draw(st.lists(st.sampled_from(POOL), min_size=width, max_size=width))
    return split(queries), split(documents)


@given(lists())
def test_every_place_has_a_pair_or_an_error(given_lists: tuple[Reading, Reading]) -> None:
    """Never both, and a pair is of the query and the document of its place."""
    queries, documents = given_lists

    pairs, errors = pair_up(queries, documents, NAMES)

    assert sorted([*errors, *(pair.place for pair in pairs)]) == list(range(documents.width))
    for pair in pairs:
        asked = pair.place if queries.width > 1 else 0
        assert pair.query == queries.items[list(queries.places).index(asked)]
        assert pair.document == documents.items[list(documents.places).index(pair.place)]
        assert (pair.query_name, pair.document_name) == (f"queries[{asked}]", f"documents[{pair.place}]")


@given(lists(), st.one_of(st.none(), st.floats(-1, 1)))
def test_every_pair_is_scored_once(given_lists: tuple[Reading, Reading], threshold: float | None) -> None:
    """By a question whose one candidate is its query; only images against texts may cascade."""
    pairs, _ = pair_up(*given_lists, NAMES)

    asked = scorings(pairs, threshold, "auto", "live")

    assert sorted(pair.place for scoring in asked for pair in scoring.pairs) == [pair.place for pair in pairs]
    for scoring in asked:
        question = scoring.question
        assert question.images == tuple(pair.document for pair in scoring.pairs)
        assert {(pair.query,) for pair in scoring.pairs} == {question.texts}
        assert question.cascades == (threshold is not None and all(pair.is_crossed for pair in scoring.pairs))


@pytest.mark.parametrize(
    ("queries", "documents", "is_refused"), [(1, 3, False), (3, 3, False), (2, 3, True), (3, 1, True)]
)
def test_lists_are_one_to_many_or_pairs(queries: int, documents: int, *, is_refused: bool) -> None:
    """Nothing else has a meaning."""
    with pytest.raises(InvalidRequest) if is_refused else nullcontext():
        check_lengths(split([text("cat")] * queries), split([text("dog")] * documents), NAMES)


def test_pairs_of_one_query_are_one_question() -> None:
    """So that a list costs one lookup; with a threshold one for each kind of pair."""
    pairs, _ = pair_up(split([text("cat")]), split([image(b"one"), text("dog"), image(b"two")]), NAMES)

    assert len(scorings(pairs, None, "auto", "live")) == 1
    assert [len(one.pairs) for one in scorings(pairs, 0.3, "auto", "live")] == [2, 1]
