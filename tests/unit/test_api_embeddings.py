"""POST /v1/embeddings and GET /v1/models: OpenAI's shapes over fake tiers."""

import base64
from dataclasses import replace
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest

from router.schemas import EmbeddingsAnswer, ModelsAnswer
from router.tier_calls import TierShed
from tests.fakes import DIMENSION, FAST_MODEL, FakeRouter, SlowStore, content_vector, count_tokens, image, make_cache

PICTURE = {"image": base64.b64encode(b"cat").decode()}


async def ask(router: FakeRouter, **document: Any) -> httpx.Response:
    """Post a request, to the fast tier unless it says otherwise."""
    async with router.client() as client:
        return await client.post("/v1/embeddings", json={"model": "fast", **document})


async def answer(router: FakeRouter, **document: Any) -> dict[str, Any]:
    """Post a request that is answered with 200, in the documented shape."""
    response = await ask(router, **document)
    assert response.status_code == 200, response.text
    EmbeddingsAnswer.model_validate_json(response.content)
    parsed: dict[str, Any] = response.json()
    return parsed


async def test_answer_is_openais_list() -> None:
    """Objects, indices, model and usage as its clients expect them, and the key besides."""
    parsed = await answer(FakeRouter(), input=["a red cat", PICTURE])

    vectors = [item.pop("embedding") for item in parsed["data"]]
    keys = [item.pop("key") for item in parsed["data"]]
    tokens = count_tokens("a red cat")
    assert parsed == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0}, {"object": "embedding", "index": 1}],
        "model": "fast",
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    np.testing.assert_allclose(vectors, [content_vector("a red cat", "f1"), content_vector(b"cat", "f1")], rtol=1e-6)
    assert keys[0].startswith("t:")
    assert keys[1] == image(b"cat").key


@pytest.mark.parametrize("one", ["a cat", {"text": "a cat"}, PICTURE])
async def test_single_input_is_a_list_of_one(one: Any) -> None:
    """A string or an object alone needs no list around it."""
    parsed = await answer(FakeRouter(), input=one)

    assert len(parsed["data"]) == 1


async def test_base64_is_little_endian_float32() -> None:
    """What OpenAI's client asks for by default decodes to the very vector."""
    parsed = await answer(FakeRouter(), input="a cat", encoding_format="base64")

    decoded = np.frombuffer(base64.b64decode(parsed["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_array_equal(decoded, content_vector("a cat", "f1"))


async def test_msgpack_answer_holds_vectors_as_bytes() -> None:
    """Little-endian float32 without base64, whatever encoding was asked for."""
    router = FakeRouter()
    async with router.client() as client:
        response = await client.post(
            "/v1/embeddings",
            content=msgpack.packb({"model": "fast", "input": [{"image": b"cat"}]}),
            headers={"content-type": "application/msgpack"},
        )

    vector = msgpack.unpackb(response.content)["data"][0]["embedding"]
    np.testing.assert_array_equal(np.frombuffer(vector, dtype="<f4"), content_vector(b"cat", "f1"))


@pytest.mark.parametrize(
    ("model", "revision"),
    [
        ("fast", "f1"),
        ("tiny-fast", "f1"),
        ("tiny-fast@f1", "f1"),
        ("accurate", "a1"),
        ("tiny-accurate", "a1"),
        ("tiny-accurate@a1", "a1"),
    ],
)
async def test_model_names_a_tier_or_its_model(model: str, revision: str) -> None:
    """By tier, by id, or by id and revision; the answer repeats the name."""
    parsed = await answer(FakeRouter(), model=model, input="a cat")

    assert parsed["model"] == model
    np.testing.assert_allclose(parsed["data"][0]["embedding"], content_vector("a cat", revision), rtol=1e-6)


@pytest.mark.parametrize("model", ["", "gpt-4", "Fast", "tiny-fast@f0"])
async def test_unknown_model_is_not_found(model: str) -> None:
    """A revision that is no longer served is unknown, too."""
    response = await ask(FakeRouter(), model=model, input="a cat")

    assert response.status_code == 404
    assert response.json()["error"]["code"] == "unknown_model"
    assert response.json()["error"]["param"] == "model"


async def test_modality_says_what_plain_strings_are() -> None:
    """With `image` a bare string is base64."""
    router = FakeRouter()

    await answer(router, input=[PICTURE["image"]], modality="image")

    assert [call.images for call in router.fast.handle.calls] == [(b"cat",)]


@pytest.mark.parametrize(
    ("document", "status", "code", "param"),
    [
        ({"input": []}, 400, "invalid_request", "input"),
        ({"input": ""}, 400, "invalid_request", "input[0]"),
        ({"input": ["a", ""]}, 400, "invalid_request", "input[1]"),
        ({"input": [1, 2, 3]}, 400, "invalid_request", "input[0]"),
        ({"input": [[1, 2]]}, 400, "invalid_request", "input[0]"),
        ({"input": None}, 400, "invalid_request", "input[0]"),
        ({}, 400, "invalid_request", "input"),
        ({"input": "a", "modl": 1}, 400, "invalid_request", "modl"),
        ({"input": "a", "encoding_format": "hex"}, 400, "invalid_request", "encoding_format"),
        ({"input": "a", "dimensions": 4}, 400, "invalid_request", "dimensions"),
        ({"input": "a", "dimensions": 0}, 400, "invalid_request", "dimensions"),
        ({"input": ["a", {"key": image(b"unseen").key}]}, 404, "unknown_key", "input[1]"),
        ({"input": ["a"] * 6}, 413, "too_large", "input"),
        ({"input": [PICTURE] * 5}, 413, "too_large", "input"),
        ({"input": ["a", "x" * 65]}, 413, "too_large", "input[1]"),
        ({"input": ["a", "broken"]}, 422, "bad_image", "input[1]"),
    ],
)
async def test_any_bad_item_makes_the_whole_request_fail(
    document: dict[str, Any], status: int, code: str, param: str
) -> None:
    """OpenAI's clients know no half answers; `param` names the item."""
    router = FakeRouter()
    router.fast.handle.bad_items["broken"] = "bad_image"

    response = await ask(router, **document)

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)


async def test_own_dimension_may_be_asked_for() -> None:
    """It is what comes anyway; `user` is accepted and not used."""
    parsed = await answer(FakeRouter(), input="a", dimensions=DIMENSION, user="someone")

    assert len(parsed["data"][0]["embedding"]) == DIMENSION


async def test_nulls_are_the_defaults() -> None:
    """Some clients send what they were not given."""
    given = await answer(FakeRouter(), input="a", encoding_format=None, dimensions=None, user=None)

    assert given == await answer(FakeRouter(), input="a")
    assert isinstance(given["data"][0]["embedding"], list)


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings_of_a_matryoshka_model_may_be_shortened(encoding: str) -> None:
    """The first numbers, of unit length again, computed or cached; the cache keeps all of them."""
    router = FakeRouter()
    router.fast.embedder.use(replace(FAST_MODEL, is_matryoshka=True))
    whole = content_vector("a", "f1")

    for _ in range(2):
        parsed = await answer(router, input="a", dimensions=3, encoding_format=encoding)
        data = parsed["data"][0]["embedding"]
        vector = np.frombuffer(base64.b64decode(data), "<f4") if encoding == "base64" else np.array(data)
        np.testing.assert_allclose(vector, whole[:3] / np.linalg.norm(whole[:3]), rtol=1e-5)
    (uncut,) = (await answer(router, input="a"))["data"]

    np.testing.assert_allclose(uncut["embedding"], whole, rtol=1e-6)


async def test_embeddings_can_not_be_lengthened() -> None:
    """Not those of a Matryoshka model either."""
    router = FakeRouter()
    router.fast.embedder.use(replace(FAST_MODEL, is_matryoshka=True))

    response = await ask(router, input="a", dimensions=DIMENSION + 1)

    assert (response.status_code, response.json()["error"]["param"]) == (400, "dimensions")


async def test_cached_embedding_is_answered_without_the_tier() -> None:
    """Vector and usage are the first answer's, when the tier is shedding, too."""
    router = FakeRouter()
    first = await answer(router, input=["a red cat", PICTURE])
    router.fast.handle.fault = TierShed()

    second = await answer(router, input=["a red cat", PICTURE])

    assert second == first


async def test_embeddings_are_never_the_other_tiers() -> None:
    """A tier that sheds is a 503: two tiers' spaces are not comparable."""
    router = FakeRouter()
    await answer(router, model="accurate", input="a cat")
    router.fast.handle.fault = TierShed()

    response = await ask(router, input="a cat")

    assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")
    assert "retry-after" in response.headers


async def test_embeddings_of_two_models_are_never_in_one_answer() -> None:
    """One text is cached when the tier is rolled to another model: the caller asks again."""
    store = SlowStore()
    router = FakeRouter(make_cache(shared=store))
    await answer(router, input="a cat")
    rolled = replace(FAST_MODEL, revision="f2")
    router.fast.handle.description = rolled
    store.meanwhile = lambda: router.fast.embedder.use(rolled)

    mixed = await ask(router, input=["a cat", "a dog"])
    again = await answer(router, input=["a cat", "a dog"])
    await router.cache.close()

    assert (mixed.status_code, mixed.json()["error"]["code"]) == (503, "unavailable")
    vectors = [item["embedding"] for item in again["data"]]
    np.testing.assert_allclose(vectors, [content_vector("a cat", "f2"), content_vector("a dog", "f2")], rtol=1e-6)


async def test_answer_says_how_long_it_took() -> None:
    """Server-Timing has the cache and the total."""
    response = await ask(FakeRouter(), input="a cat")

    stages = [stage.split(";")[0] for stage in response.headers["server-timing"].split(", ")]
    assert stages[0] == "cache"
    assert stages[-1] == "total"


async def test_answer_says_how_many_items_were_cached() -> None:
    """Without their being looked at one by one."""
    router = FakeRouter()
    await ask(router, input="a cat")

    response = await ask(router, input=["a cat", "a dog", "a cat"])

    assert response.headers["x-cached"] == "2"


async def test_models_are_listed_with_what_they_are() -> None:
    """OpenAI's list, with tier, revision, dimension and precision."""
    async with FakeRouter().client() as client:
        response = await client.get("/v1/models")

    ModelsAnswer.model_validate_json(response.content)
    cards = response.json()["data"]
    assert [(card["id"], card["tier"], card["revision"]) for card in cards] == [
        ("tiny-fast", "fast", "f1"),
        ("tiny-accurate", "accurate", "a1"),
    ]
    assert {card["object"] for card in cards} == {"model"}
    assert (cards[0]["dimension"], cards[0]["image_size"], cards[0]["precision"]) == (DIMENSION, [32, 32], "fp32")


async def test_model_of_a_tier_that_has_not_come_up_is_not_listed() -> None:
    """What is not known is not claimed."""
    router = FakeRouter()
    router.accurate.embedder._space = None
    async with router.client() as client:
        cards = (await client.get("/v1/models")).json()["data"]

    assert [card["tier"] for card in cards] == ["fast"]


async def test_text_beyond_the_context_is_said_to_be_cut() -> None:
    """Among others of an ordinary length."""
    usage = (await answer(FakeRouter(), input=["a cat", " ".join("a" for _ in range(20))]))["usage"]

    assert usage["truncated"] is True
    assert "truncated" not in (await answer(FakeRouter(), input=["a cat"]))["usage"]
