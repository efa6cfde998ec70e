"""Images against texts in one tier's space: what is missing, what failed, what is compared."""

import numpy as np
import pytest

from router.comparison import Comparison, at_callers_place
from router.embedder import Embedding
from router.errors import ApiError, BadImage, Overloaded, TooLarge, Unavailable
from tests.fakes import FAST_MODEL, image, mixture, text

IMAGES = (image(b"one"), image(b"two"))
TEXTS = (text("cat"), text("dog"), text("cow"))


def embedding(*cosines: float, is_hit: bool = False, tokens: int = 0) -> Embedding:
    """An embedding with these cosines to the first axes."""
    return Embedding(mixture(*cosines), tokens, is_hit)


def compare(*results: Embedding | ApiError | None) -> Comparison:
    """Two images and three texts of which this is known, images first."""
    comparison = Comparison(IMAGES, TEXTS)
    comparison.begin(FAST_MODEL, [None] * 5)
    known = [(place, result) for place, result in enumerate(results) if result is not None]
    comparison.fill([place for place, _ in known], [result for _, result in known])
    return comparison


CAT, DOG, COW = embedding(1.0, tokens=3), embedding(0.0, 1.0, tokens=3), embedding(0.0, 0.0, 1.0, tokens=3)


def test_missing_are_the_images_asked_for_and_the_texts_not_yet_there() -> None:
    """What is known is not asked again, and other images are not asked for."""
    comparison = compare(None, None, CAT)

    assert comparison.missing([1]) == [1, 3, 4]
    assert comparison.missing([0, 1]) == [0, 1, 3, 4]


def test_nothing_is_missing_for_no_image() -> None:
    """Texts alone are no comparison."""
    assert compare().missing([]) == []


def test_failed_items_are_not_missing() -> None:
    """An error is an answer, too: nobody asks the tier a second time."""
    comparison = compare(BadImage("broken"), None, CAT, TooLarge("long"), COW)

    assert comparison.missing([0, 1]) == [1]


def test_image_is_complete_with_every_text() -> None:
    """One text that is absent or failed leaves the comparison incomplete."""
    one = embedding(0.5)

    assert compare(one, None, CAT, DOG, COW).is_complete(0)
    assert not compare(one, None, CAT, DOG, COW).is_complete(1)
    assert not compare(one, None, CAT, DOG, None).is_complete(0)
    assert not compare(one, None, CAT, DOG, TooLarge("long")).is_complete(0)


def test_verdict_compares_with_every_text() -> None:
    """Cosines stand in the order of the texts."""
    verdict = compare(embedding(0.5, 0.6), None, CAT, DOG, COW).judge(0, None)

    np.testing.assert_allclose(verdict.cosine, [0.5, 0.6, 0.0], atol=1e-6)
    assert verdict.margin == pytest.approx(1.0, abs=1e-5)


def test_text_that_failed_alone_is_left_out_of_the_verdict() -> None:
    """The others are compared, and the columns say which they are."""
    comparison = compare(embedding(0.5, 0.0, 0.6), None, CAT, TooLarge("long"), COW)

    comparison.raise_if_texts_failed()
    verdict = comparison.judge(0, None)

    assert comparison.columns == (0, 2)
    np.testing.assert_allclose(verdict.cosine, [0.5, 0.6], atol=1e-6)
    assert list(comparison.text_errors) == [1]


def test_verdict_takes_in_what_was_filled_later() -> None:
    """The texts' matrix is not one of an earlier question."""
    comparison = compare(embedding(0.5, 0.6), None, CAT, None, COW)
    comparison.judge(0, None)

    comparison.fill([3], [DOG])

    np.testing.assert_allclose(comparison.judge(0, None).cosine, [0.5, 0.6, 0.0], atol=1e-6)


@pytest.mark.parametrize("error", [Overloaded("full"), Unavailable("gone")])
def test_text_error_that_is_not_the_texts_fault_fails_the_question(error: ApiError) -> None:
    """A tier that sheds a text would shed the question, too."""
    comparison = compare(embedding(0.5), embedding(0.6), CAT, error, COW)

    assert comparison.error_for(0, ()) is error
    with pytest.raises(type(error)):
        comparison.raise_if_texts_failed()


def test_question_fails_when_every_text_failed() -> None:
    """There is nothing left to compare with."""
    comparison = compare(embedding(0.5), None, *[TooLarge("long")] * 3)

    with pytest.raises(TooLarge):
        comparison.raise_if_texts_failed()


def test_error_of_a_candidate_is_named_as_callers_name_it() -> None:
    """By its place in their list; an error of something else stays as it is."""
    comparison = compare(embedding(0.5), None, CAT, TooLarge("long"), COW)
    lost = comparison.error_for(0, (0, 1, 2))
    assert lost is not None

    named = at_callers_place(lost, ["labels[0]", "labels[3]", "labels[4]"])

    assert (type(named), named.message, named.param) == (TooLarge, "long", "labels[3]")
    for other in (BadImage("broken", "images[0]"), BadImage("broken")):
        assert at_callers_place(other, ["labels[0]"]) is other


def test_images_own_error_comes_before_the_texts() -> None:
    """Each image says what is wrong with itself."""
    broken, full = BadImage("broken"), Overloaded("full")
    comparison = compare(broken, embedding(0.5), CAT, full, COW)

    assert comparison.error_for(0, ()) is broken
    assert comparison.error_for(1, ()) is full
    assert comparison.image_error(1) is None


def test_image_without_embedding_can_not_be_judged() -> None:
    """Asking is a mistake of ours and not an answer."""
    with pytest.raises(TypeError):
        compare(BadImage("broken"), None, CAT, DOG, COW).judge(0, None)


def test_cache_use_and_tokens_are_counted_over_the_texts() -> None:
    """Hits and misses add up to the texts; failed ones are misses without tokens."""
    hit = embedding(1.0, is_hit=True, tokens=4)
    comparison = compare(embedding(0.5, is_hit=True), embedding(0.5), hit, DOG, TooLarge("long"))

    assert comparison.text_cache_use == (1, 2)
    assert comparison.token_count == 7
    assert (comparison.image_hit(0), comparison.image_hit(1)) == (True, False)


def test_image_can_not_be_compared_with_a_text_that_was_lost() -> None:
    """A second look at fewer texts would be another question."""
    unknown = TooLarge("long")
    comparison = compare(embedding(0.5), embedding(0.6), CAT, unknown, COW)

    lost = comparison.error_for(0, (0, 1, 2))

    assert isinstance(lost, TooLarge)
    assert lost.param == "texts[1]"
    assert comparison.error_for(0, (0, 2)) is None
