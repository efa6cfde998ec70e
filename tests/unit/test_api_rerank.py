"""POST /v1/rerank through a real client, the real cascade and fake tiers."""

import base64
from typing import Any

import httpx
import msgpack
import pytest

from router.policy import Policy, RouteRule
from router.policy_in_force import PolicyInForce
from router.ranking_schemas import RerankAnswer
from router.tier_calls import TierShed
from tests.fakes import FakeRouter, count_tokens, image, mixture, text

Body = dict[str, Any]


def picture(content: bytes) -> Body:
    """An image as JSON carries it."""
    return {"image": base64.b64encode(content).decode()}


async def ask(router: FakeRouter, document: Body, **changes: Any) -> httpx.Response:
    """Post a query; `changes` replace parts of the service."""
    async with router.client(**changes) as client:
        return await client.post("/v1/rerank", json=document)


async def answer(router: FakeRouter, query: object, documents: object, **fields: Any) -> Body:
    """Post a query that is answered with 200, in the documented shape."""
    response = await ask(router, {"query": query, "documents": documents, **fields})
    assert response.status_code == 200, response.text
    RerankAnswer.model_validate_json(response.content)
    parsed: Body = response.json()
    return parsed


def ranking(parsed: Body) -> list[int]:
    """The documents' places, best first."""
    return [result["index"] for result in parsed["results"]]


def make_router() -> FakeRouter:
    """A router that knows three images: to "cat" the first two are close on the fast tier, not on the accurate one."""
    router = FakeRouter()
    router.place(b"first", fast=(0.5, 0.1), accurate=(0.2, 0.1))
    router.place(b"second", fast=(0.47, 0.1), accurate=(0.7, 0.1))
    router.place(b"far", fast=(0.1, 0.9), accurate=(0.1, 0.9))
    return router


IMAGES = [picture(b"far"), picture(b"first"), picture(b"second")]


async def test_answer_has_the_shape_of_coheres_and_jinas() -> None:
    """Id, model, results best first by cosine, usage; and who decided."""
    parsed = await answer(make_router(), "dog", IMAGES)

    assert parsed["id"].startswith("rerank-")
    assert parsed["model"] == "tiny-fast@f1"
    assert ranking(parsed) == [0, 1, 2]
    assert [result["relevance_score"] for result in parsed["results"]] == pytest.approx([0.9, 0.1, 0.1], abs=1e-6)
    assert parsed["results"][0] == {
        "index": 0,
        "relevance_score": pytest.approx(0.9),
        "key": image(b"far").key,
    }
    assert parsed["usage"] == {"prompt_tokens": count_tokens("dog"), "total_tokens": count_tokens("dog")}
    assert parsed["tiering"]["tier"] == "fast"
    assert parsed["tiering"]["margin"] == pytest.approx(8.0, abs=1e-5)


async def test_close_images_take_a_second_look() -> None:
    """The margin is that between the two best images for the text; every image is looked at again."""
    router = make_router()

    parsed = await answer(router, "cat", IMAGES)

    assert ranking(parsed) == [2, 1, 0]
    assert parsed["tiering"]["tier"] == "accurate"
    assert parsed["tiering"]["escalated"]
    assert router.accurate.handle.items == 4


async def test_close_texts_take_a_second_look() -> None:
    """The same for an image among texts."""
    router = FakeRouter()
    router.place(b"unsure", fast=(0.5, 0.45), accurate=(0.3, 0.6))

    parsed = await answer(router, picture(b"unsure"), ["cat", "dog"])

    assert ranking(parsed) == [1, 0]
    assert parsed["tiering"]["tier"] == "accurate"
    assert parsed["results"][0]["key"] == text("dog").key


async def test_named_tier_answers_alone() -> None:
    """By `tier`, or by `model` as clients of other services send it."""
    for fields in ({"tier": "fast"}, {"model": "fast"}, {"model": "tiny-fast"}):
        parsed = await answer(make_router(), "cat", IMAGES, **fields)
        assert (ranking(parsed), parsed["tiering"]["tier"]) == ([1, 2, 0], "fast")


async def test_routes_own_rule_decides_when() -> None:
    """With its own group."""
    policy = PolicyInForce(Policy(threshold=1.0, routes={"rerank": RouteRule(threshold=0.0)}))

    parsed = (await ask(make_router(), {"query": "cat", "documents": IMAGES}, policy=policy)).json()

    assert parsed["tiering"]["tier"] == "fast"


async def test_degraded_ranking_is_marked() -> None:
    """A second look that was shed: the fast tier's order, in body and header."""
    router = make_router()
    router.accurate.handle.fault = TierShed()

    response = await ask(router, {"query": "cat", "documents": IMAGES})

    assert ranking(response.json()) == [1, 2, 0]
    assert response.json()["tiering"]["degraded"] == response.headers["x-degraded"] == "accurate_shed"


@pytest.mark.parametrize(
    ("query", "documents"), [("cat", ["cat", "dog"]), (IMAGES[0], IMAGES), ("cat", ["cat", IMAGES[1]])]
)
async def test_what_is_not_images_against_texts_is_ranked_by_one_tier(query: object, documents: object) -> None:
    """The fast one, or the one that is named; there is no second look to speak of."""
    router = make_router()

    fast = await answer(router, query, documents)

    assert (ranking(fast)[0], fast["model"]) == (0, "tiny-fast@f1")
    assert "tiering" not in fast
    assert router.accurate.handle.items == 0
    assert (await answer(router, query, documents, tier="accurate"))["model"] == "tiny-accurate@a1"


async def test_cache_is_told_by_kind() -> None:
    """`image` is a hit where every image was, whichever side they are on."""
    router = make_router()
    await answer(router, "dog", IMAGES[:2], tier="fast")

    some = await answer(router, "dog", IMAGES, tier="fast")
    every = await answer(router, "cat", IMAGES, tier="fast")

    assert some["tiering"]["cache"] == {"image": "miss", "texts": {"hit": 1, "miss": 0}}
    assert every["tiering"]["cache"] == {"image": "hit", "texts": {"hit": 0, "miss": 1}}


async def test_top_n_names_the_best_ones_only() -> None:
    """More than there are is all of them."""
    assert ranking(await answer(make_router(), "dog", IMAGES, top_n=1)) == [0]
    assert len(ranking(await answer(make_router(), "dog", IMAGES, top_n=9))) == 3


async def test_documents_are_repeated_where_asked_for() -> None:
    """Texts as they were sent, images by their keys: no bytes travel back."""
    documents = [{"text": "dog"}, picture(b"far"), {"key": text("dog").key}]

    parsed = await answer(make_router(), "dog", documents, return_documents=True)

    repeated = {result["index"]: result["document"] for result in parsed["results"]}
    assert repeated == {0: {"text": "dog"}, 1: {"key": image(b"far").key}, 2: {"key": text("dog").key}}


async def test_equal_documents_keep_their_order() -> None:
    """The first comes first."""
    assert ranking(await answer(make_router(), "cat", ["dog", "cat", "dog", "cat"])) == [1, 3, 0, 2]


async def test_documents_fail_alone() -> None:
    """They come after all others, whatever `top_n` says."""
    router = make_router()
    router.fast.handle.bad_items |= {b"broken": "bad_image", b"tiff": "unsupported_media"}
    documents = [{"image": "?"}, IMAGES[1], picture(b"broken"), IMAGES[0], picture(b"tiff")]

    parsed = await answer(router, "dog", documents, top_n=1)

    told = [(result["index"], result.get("error", {}).get("param")) for result in parsed["results"]]
    assert told == [(3, None), (0, "documents[0]"), (2, "documents[2]"), (4, "documents[4]")]


@pytest.mark.parametrize(
    ("document", "status", "code", "param"),
    [
        ({"documents": ["cat"]}, 400, "invalid_request", "query"),
        ({"query": "cat"}, 400, "invalid_request", "documents"),
        ({"query": "cat", "documents": []}, 400, "invalid_request", "documents"),
        ({"query": "", "documents": ["cat"]}, 400, "invalid_request", "query"),
        ({"query": ["cat"], "documents": ["cat"]}, 400, "invalid_request", "query"),
        ({"query": "wordy", "documents": IMAGES}, 413, "too_large", "query"),
        ({"query": {"key": text("unseen").key}, "documents": ["cat"]}, 404, "unknown_key", "query"),
        ({"query": "cat", "documents": ["", "wordy"]}, 413, "too_large", "documents[1]"),
        ({"query": "cat", "documents": ["", ""]}, 400, "invalid_request", "documents[0]"),
        ({"query": "cat", "documents": ["cat"], "top_n": 0}, 400, "invalid_request", "top_n"),
        ({"query": "cat", "documents": ["cat"], "model": "rerank-v3.5"}, 404, "unknown_model", "model"),
        ({"query": "cat", "documents": ["cat"], "threshold": 0.1}, 400, "invalid_request", "threshold"),
        ({"query": "cat", "documents": [picture(b"a")] * 5}, 413, "too_large", "documents"),
    ],
)
async def test_request_fails_when_nothing_is_left_of_it(document: Body, status: int, code: str, param: str) -> None:
    """Without a query there is nothing to rank by."""
    router = make_router()
    router.fast.handle.bad_items["wordy"] = "too_large"

    response = await ask(router, document)

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)


async def test_image_that_the_accurate_tier_does_not_know_is_named() -> None:
    """A second look is due, and only the image's key was sent: the caller sends the bytes."""
    router = make_router()
    await answer(router, "cat", IMAGES, tier="fast")

    response = await ask(router, {"query": "cat", "documents": ["?", {"key": image(b"first").key}, IMAGES[2]]})
    mixed = await ask(router, {"query": "cat", "documents": [{"key": image(b"first").key}, IMAGES[2]]})

    assert response.status_code == 200
    error = mixed.json()["error"]
    assert (mixed.status_code, error["code"], error["param"]) == (404, "unknown_key", "documents[0]")


async def test_many_documents_are_ranked_as_a_few_are() -> None:
    """By their cosines, also where arrays do the work."""
    router = FakeRouter()
    for i in range(5):
        router.fast.handle.vectors[f"text {i}"] = mixture(0.1 * i)

    assert ranking(await answer(router, "cat", [f"text {i}" for i in range(5)])) == [4, 3, 2, 1, 0]


async def test_keys_msgpack_and_forms_are_taken() -> None:
    """As on every other route."""
    router = make_router()
    await answer(router, "dog", IMAGES)
    keys = [{"key": image(content).key} for content in (b"far", b"first")]
    packed = msgpack.packb({"query": {"key": text("dog").key}, "documents": [*keys, b"second"]})
    async with router.client() as client:
        first = await client.post("/v1/rerank", content=packed, headers={"content-type": "application/msgpack"})
        files = [("documents", ("a.png", content)) for content in (b"second", b"far")]
        fields = [("query", (None, b"dog")), ("top_n", (None, b"1")), ("return_documents", (None, b"true"))]
        second = await client.post("/v1/rerank", files=[*files, *fields])

    assert ranking(msgpack.unpackb(first.content))[0] == 0
    assert ranking(second.json()) == [1]
    assert second.json()["results"][0]["document"] == {"key": image(b"far").key}
