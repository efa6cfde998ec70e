"""POST /v1/embeddings over real HTTP with the openai client, unmodified, through Redis in fp16."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from openai import NotFoundError, OpenAI

from tests.direct_model import DirectModel
from tests.pictures import as_base64, captions, picture

Matrix = NDArray[np.float32]


@pytest.fixture
def openai(redis_base_url: str) -> Iterator[OpenAI]:
    """The openai client against a service whose every hit comes from Redis."""
    with OpenAI(base_url=f"{redis_base_url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def embed(openai: OpenAI, tier: str, items: list[str], **options: Any) -> Matrix:
    """Embeddings as the client gives them; it asks for base64 unless told otherwise."""
    answer = openai.embeddings.create(model=tier, input=items, **options)
    return np.array([item.embedding for item in answer.data], dtype=np.float32)


def cosine_distance(left: Matrix, right: Matrix) -> float:
    """The largest cosine distance between two matrices' rows."""
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float((1 - (left * right).sum(axis=1) / norms).max())


@pytest.mark.parametrize("tier", ["fast", "accurate"])
@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}], ids=["default", "float"])
def test_text_embeddings_equal_open_clip_on_miss_and_hit(
    openai: OpenAI, models: dict[str, DirectModel], tier: str, options: dict[str, Any]
) -> None:
    """Texts through the openai client, first computed, then from the fp16 cache."""
    texts = [f"{text} {tier} {len(options)}" for text in captions(20)]
    expected = models[tier].texts(texts)

    computed, cached = (embed(openai, tier, texts, **options) for _ in range(2))

    assert cosine_distance(computed, expected) < 1e-3
    assert cosine_distance(cached, expected) < 1e-3


@pytest.mark.parametrize("tier", ["fast", "accurate"])
@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}], ids=["default", "float"])
def test_image_embeddings_equal_open_clip_on_miss_and_hit(
    openai: OpenAI, models: dict[str, DirectModel], tier: str, options: dict[str, Any]
) -> None:
    """Images through the openai client, first computed, then from the fp16 cache."""
    files = [picture(3000 + i + 10 * len(options)) for i in range(4)]
    items = [f"data:image/png;base64,{as_base64(data)}" for data in files]
    expected = models[tier].images(files)

    computed, cached = (embed(openai, tier, items, extra_body={"modality": "image"}, **options) for _ in range(2))

    assert cosine_distance(computed, expected) < 1e-3
    assert cosine_distance(cached, expected) < 1e-3


def test_embeddings_count_the_tokens_of_texts(openai: OpenAI) -> None:
    """`usage` is the same whether the text was computed or cached."""
    first, second = (openai.embeddings.create(model="fast", input="a blue star") for _ in range(2))

    assert first.usage.prompt_tokens >= 5
    assert second.usage == first.usage


def test_models_lists_both_tiers(openai: OpenAI) -> None:
    """A tier's model may be asked for by its id."""
    ids = [model.id for model in openai.models.list()]

    vectors = [embed(openai, model, ["a red ring"]) for model in ids]

    assert len(ids) == 2
    assert all(len(vector) == 1 for vector in vectors)


def test_embeddings_of_an_unknown_model_are_not_found(openai: OpenAI) -> None:
    """404 with the contract's code."""
    with pytest.raises(NotFoundError) as caught:
        openai.embeddings.create(model="gpt-9", input="hello")

    assert caught.value.code == "unknown_model"
