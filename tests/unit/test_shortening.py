"""Shorter embeddings: the first numbers, of unit length again."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from router.embedder import Embedding
from router.shortening import shorten
from tests.fakes import DIMENSION, mixture


@given(st.integers(1, DIMENSION), st.lists(st.floats(-0.25, 0.25, width=32), min_size=1, max_size=DIMENSION - 1))
def test_shortened_embedding_is_the_first_numbers_of_unit_length(dimensions: int, cosines: list[float]) -> None:
    """In their direction, whatever they are; all that is zero stays zero."""
    whole = Embedding(mixture(*cosines), 3, is_hit=True)

    (short,) = shorten([whole], dimensions)

    length = float(np.linalg.norm(short.vector))
    assert (short.vector.dtype.name, len(short.vector), short.token_count) == ("float32", dimensions, 3)
    assert abs(length - 1) < 1e-5 or not whole.vector[:dimensions].any()
    np.testing.assert_allclose(
        short.vector * np.linalg.norm(whole.vector[:dimensions]), whole.vector[:dimensions], atol=1e-6
    )


def test_nothing_is_changed_unasked() -> None:
    """The same vectors."""
    embeddings = [Embedding(mixture(0.5), 3, is_hit=True)]

    assert shorten(embeddings, None) is embeddings
