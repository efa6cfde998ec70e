"""Warming for a model that no service runs yet: its routers find what was made, and their tiers get no call."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.store import Store, StoreCounts
from jobs.errors import CacheFailed
from jobs.model_tier import ModelTier
from jobs.warmup import TierTally
from tests.fakes import FAST_MODEL, READER, FakeRouter, SlowStore, content_vector, count_tokens, make_cache
from tiers.errors import BadItem
from tiers.messages import FloatMatrix


class FakeTokens(str):
    """A text that was tokenized."""

    __slots__ = ()

    @property
    def token_count(self) -> int:
        """As the fake tier counts."""
        return count_tokens(self)


class FakeEncoder:
    """Embeds as the fake tier of the next service will, and remembers what it was given."""

    description = FAST_MODEL

    def __init__(self) -> None:
        self.encoded: list[list[str]] = []

    def prepare_text(self, text: str) -> FakeTokens:
        """Tokenize; one text is a riddle."""
        if text == "a riddle":
            raise BadItem("too_large", "a word is too long")
        return FakeTokens(text)

    def encode_texts(self, texts: Sequence[FakeTokens]) -> FloatMatrix:
        """Embed."""
        self.encoded.append(list(texts))
        return np.array([content_vector(text, "f1") for text in texts], dtype=np.float32)


class SharedStore(SlowStore):
    """Outlives those who use it."""

    async def close(self) -> None:
        """Keep everything."""


class FullStore(SlowStore):
    """Keeps nothing."""

    def counts(self) -> StoreCounts:
        """All was dropped."""
        return StoreCounts(dropped_writes=3)


async def warm(store: Store, texts: Sequence[str], batch: int = 2) -> tuple[FakeEncoder, TierTally, dict[int, str]]:
    """Warm a cache of our own, whose shared store the next service's routers have too."""
    encoder, tally = FakeEncoder(), TierTally()
    cache = make_cache(0, store)

    def report(*, embedded: int = 0, cached: int = 0, rejected: int = 0) -> None:
        tally.embedded += embedded
        tally.cached += cached
        tally.rejected += rejected

    try:
        failed = await ModelTier("fast", encoder, cache, READER, dtype="float32", batch=batch).warm(texts, report)
    finally:
        await cache.close()
    return encoder, tally, dict(failed)


async def test_texts_are_embedded_in_batches_and_once() -> None:
    """What the store has is not embedded again."""
    store = SharedStore()

    first, once, _ = await warm(store, ["a cat", "a dog", "an owl"])
    second, twice, _ = await warm(store, ["a cat", "a dog", "an owl", "a fox"])

    assert first.encoded == [["a cat", "a dog"], ["an owl"]]
    assert second.encoded == [["a fox"]]
    assert (once.embedded, once.cached, twice.embedded, twice.cached) == (3, 0, 1, 3)


async def test_text_that_can_not_be_embedded_fails_alone() -> None:
    """Too long for the service that is to come, or for the model."""
    encoder, tally, failed = await warm(SlowStore(), ["x" * 65, "a cat", "a riddle"])

    assert encoder.encoded == [["a cat"]]
    assert failed == {0: "a text has at most 64 characters", 2: "a word is too long"}
    assert (tally.embedded, tally.rejected) == (1, 2)


async def test_cache_that_keeps_nothing_ends_the_job() -> None:
    """It would be work for nothing."""
    with pytest.raises(CacheFailed, match="does not keep"):
        await warm(FullStore(), ["a cat"])


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64), min_size=1, max_size=5, unique=True
    )
)
async def test_routers_of_the_next_service_find_what_was_warmed(texts: list[str]) -> None:
    """Whatever the characters: the keys are those that a request's texts are looked up under."""
    store = SharedStore()
    await warm(store, texts)
    cache = make_cache(0, store)
    router = FakeRouter(cache)

    async with router.client() as client:
        response = await client.post("/v1/embeddings", json={"model": "fast", "input": texts})

    await cache.close()
    assert response.headers["x-cached"] == str(len(texts))
    assert router.fast.handle.calls == []
    vectors = np.array([item["embedding"] for item in response.json()["data"]], dtype=np.float32)
    np.testing.assert_allclose(vectors, [content_vector(text, "f1") for text in texts], atol=1e-3)
