"""The Python client against a real service: Ray Serve, the demo models, the embedded cache."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np
import pytest

from secondlook import Client, DeadlineExceeded, ItemError
from tests.client_drivers import DRIVERS, Ask
from tests.direct_model import DirectModel
from tests.pictures import captions, picture


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.__name__)
def ask(request: pytest.FixtureRequest, base_url: str) -> Iterator[Ask]:
    """Either client."""
    driver: Callable[[str], AbstractContextManager[Ask]] = request.param
    with driver(base_url) as ask:
        yield ask


def test_similarity_is_the_models(ask: Ask, models: dict[str, DirectModel]) -> None:
    """The same cosines as open_clip's, and an unreadable image fails alone."""
    texts = captions(300)

    first, bad = ask("similarity", [picture(300), b"no picture"], texts, tier="accurate").items

    expected = models["accurate"].texts(texts) @ models["accurate"].images([picture(300)])[0]
    np.testing.assert_allclose(first.cosine, expected, atol=1e-3)
    assert (first.index, first.best, first.tiering.tier) == (0, int(np.argmax(expected)), "accurate")
    assert isinstance(bad, ItemError)
    assert (bad.index, bad.code, bad.param) == (1, "unsupported_media", "images[1]")


def test_embeddings_are_the_models(ask: Ask, models: dict[str, DirectModel]) -> None:
    """As open_clip's: float32, of unit length."""
    answer = ask("embed", [picture(301), "a big red circle"])

    assert answer.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(answer.vectors, axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(answer.vectors[:1], models["fast"].images([picture(301)]), atol=1e-3)
    assert [key[:2] for key in answer.keys] == ["i:", "t:"]
    assert answer.meta.usage["prompt_tokens"] > 0


def test_key_is_enough_until_a_second_look_needs_the_bytes(ask: Ask) -> None:
    """The accurate tier has never seen an image that only the fast one embedded: the client sends it then."""
    ask("embed", picture(302), "fast")

    (fast,) = ask("similarity", picture(302), captions(302), tier="fast").items
    (accurate,) = ask("similarity", picture(302), captions(302), tier="accurate").items

    assert fast.tiering.image_hit
    assert accurate.tiering.tier == "accurate"


def test_models_are_those_served(ask: Ask) -> None:
    """Both tiers'."""
    assert {model.tier for model in ask("models")} == {"fast", "accurate"}


def test_deadline_reaches_the_service(base_url: str) -> None:
    """A millisecond is not enough for anything."""
    with Client(base_url) as client, pytest.raises(DeadlineExceeded):
        client.similarity([picture(seed) for seed in range(310, 318)], captions(310), deadline_s=0.001)
