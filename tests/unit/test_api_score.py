"""POST /v1/score through a real client, the real cascade and fake tiers."""

import base64
from typing import Any

import httpx
import msgpack
import pytest

from router.config import LimitsConfig
from router.policy import Policy, RouteRule
from router.policy_in_force import PolicyInForce
from router.ranking_schemas import ScoreAnswer
from router.routes.score import AT_ONCE
from router.tier_calls import TierShed
from tests.fakes import FakeRouter, content_vector, count_tokens, image, mixture, text

Body = dict[str, Any]


def picture(content: bytes) -> Body:
    """An image as JSON carries it."""
    return {"image": base64.b64encode(content).decode()}


async def ask(router: FakeRouter, document: Body, **changes: Any) -> httpx.Response:
    """Post pairs; `changes` replace parts of the service."""
    async with router.client(**changes) as client:
        return await client.post("/v1/score", json=document)


async def answer(router: FakeRouter, queries: object, documents: object, **fields: Any) -> Body:
    """Post pairs that are answered with 200, in the documented shape."""
    response = await ask(router, {"queries": queries, "documents": documents, **fields})
    assert response.status_code == 200, response.text
    ScoreAnswer.model_validate_json(response.content)
    parsed: Body = response.json()
    return parsed


def scores(parsed: Body) -> list[float]:
    """An answer's scores."""
    return [item["score"] for item in parsed["data"]]


def make_router() -> FakeRouter:
    """A router with an image that is clearly over 0.3 of "cat", and one that is close to it."""
    router = FakeRouter()
    router.place(b"sure", fast=(0.6, 0.1), accurate=(0.7, 0.2))
    router.place(b"close", fast=(0.32, 0.1), accurate=(0.2, 0.6))
    return router


async def test_answer_has_vllms_shape() -> None:
    """Id, list, time, model, one score an item, usage."""
    parsed = await answer(make_router(), "cat", ["dog", picture(b"sure")])

    assert parsed["id"].startswith("score-")
    assert isinstance(parsed["created"], int)
    assert (parsed["object"], parsed["model"]) == ("list", "tiny-fast@f1")
    assert [set(item) for item in parsed["data"]] == [{"index", "object", "score"}] * 2
    assert [(item["index"], item["object"]) for item in parsed["data"]] == [(0, "score"), (1, "score")]
    assert scores(parsed) == pytest.approx([0.0, 0.6], abs=1e-6)


async def test_one_query_is_scored_with_each_document() -> None:
    """In any combination of texts and images; the score is the cosine."""
    router = make_router()

    of_a_text = await answer(router, ["cat"], ["cat", picture(b"sure"), picture(b"close")])
    of_an_image = await answer(router, picture(b"sure"), ["cat", "dog", picture(b"sure")])

    assert scores(of_a_text) == pytest.approx([1.0, 0.6, 0.32], abs=1e-6)
    assert scores(of_an_image) == pytest.approx([0.6, 0.1, 1.0], abs=1e-6)


async def test_as_many_queries_as_documents_are_pairs() -> None:
    """Each query with its own document."""
    pairs = await answer(make_router(), ["cat", picture(b"sure"), "dog"], ["dog", "cat", picture(b"sure")])

    assert scores(pairs) == pytest.approx([0.0, 0.6, 0.1], abs=1e-6)


async def test_long_lists_of_pairs_are_scored_in_order() -> None:
    """More of them than are asked together."""
    router = make_router()
    count = 2 * AT_ONCE + 1
    queries = [f"text {i}" for i in range(count)]
    for i, query in enumerate(queries):
        router.fast.handle.vectors[query] = mixture(i / count)

    response = await ask(router, {"queries": queries, "documents": ["cat"] * count}, limits=LimitsConfig(texts=count))

    assert scores(response.json()) == pytest.approx([i / count for i in range(count)], abs=1e-6)


@pytest.mark.parametrize("names", [("text_1", "text_2"), ("data_1", "data_2"), ("queries", "items")])
async def test_lists_go_by_any_of_vllms_names(names: tuple[str, str]) -> None:
    """And errors name them as the caller did."""
    router = make_router()

    good = await ask(router, {"model": "fast", names[0]: "cat", names[1]: ["cat", "dog"]})
    bad = await ask(router, {names[0]: "cat", names[1]: ["", ""]})

    assert scores(good.json()) == pytest.approx([1.0, 0.0], abs=1e-6)
    assert bad.json()["error"]["param"] == f"{names[1]}[0]"


async def test_contents_of_messages_are_lists_of_items() -> None:
    """As vLLM's clients send images: parts with a type."""
    url = f"data:image/png;base64,{picture(b'sure')['image']}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "dog"}]

    as_one = await answer(make_router(), "cat", {"content": parts})
    as_list = await answer(make_router(), "cat", [{"content": parts[:1]}, "dog"])

    assert scores(as_one) == scores(as_list) == pytest.approx([0.6, 0.0], abs=1e-6)


async def test_without_a_threshold_one_tier_answers() -> None:
    """There is nothing to be unsure of: the fast one, or the one that is named."""
    router = make_router()

    fast = await answer(router, "cat", [picture(b"close")])
    by_tier = await answer(router, "cat", [picture(b"close")], tier="accurate")
    by_model = await answer(router, "cat", [picture(b"close")], model="tiny-accurate")

    assert scores(fast) == pytest.approx([0.32])
    assert scores(by_tier) == scores(by_model) == pytest.approx([0.2])
    assert by_tier["model"] == "tiny-accurate@a1"
    assert "tiering" not in fast["data"][0]
    assert "matches" not in fast["data"][0]


@pytest.mark.parametrize("is_image_query", [False, True])
async def test_threshold_takes_a_second_look_at_close_pairs(*, is_image_query: bool) -> None:
    """Whichever side the image is on, and each pair for itself."""
    router = make_router()
    images = [picture(b"sure"), picture(b"close")]
    queries, documents = (images, ["cat", "cat"]) if is_image_query else ("cat", images)

    parsed = await answer(router, queries, documents, threshold=0.3)

    sure, close = parsed["data"]
    assert (sure["score"], sure["matches"], sure["tiering"]["tier"]) == (pytest.approx(0.6), True, "fast")
    assert (close["score"], close["matches"], close["tiering"]["tier"]) == (pytest.approx(0.2), False, "accurate")
    assert sure["tiering"]["margin"] == pytest.approx(3.0, abs=1e-5)
    assert parsed["model"] == "tiny-accurate@a1,tiny-fast@f1"


async def test_pairs_of_one_kind_have_no_second_look() -> None:
    """Of two texts or two images the fast tier's word is taken, threshold or not."""
    router = make_router()

    parsed = await answer(router, "cat", ["dog", picture(b"close")], threshold=0.01)

    assert "tiering" not in parsed["data"][0]
    assert parsed["data"][0]["matches"] is False
    assert parsed["data"][1]["tiering"]["tier"] == "fast"
    assert router.accurate.handle.items == 0


async def test_routes_own_rule_decides_when() -> None:
    """With its own group."""
    policy = PolicyInForce(Policy(threshold=1.0, routes={"score": RouteRule(threshold=0.0)}))

    parsed = (
        await ask(make_router(), {"queries": "cat", "documents": [picture(b"close")], "threshold": 0.3}, policy=policy)
    ).json()

    assert parsed["data"][0]["tiering"]["tier"] == "fast"


async def test_cache_of_a_pair_is_told_by_kind() -> None:
    """Whichever of both is the query."""
    router = make_router()
    await answer(router, "cat", ["cat"])

    (pair,) = (await answer(router, "cat", [picture(b"sure")], threshold=0.3))["data"]

    assert pair["tiering"]["cache"] == {"image": "miss", "texts": {"hit": 1, "miss": 0}}
    (turned,) = (await answer(router, picture(b"sure"), ["dog"], threshold=0.3))["data"]
    assert turned["tiering"]["cache"] == {"image": "hit", "texts": {"hit": 0, "miss": 1}}


async def test_usage_counts_the_tokens_of_all_texts() -> None:
    """Queries and documents; images have none, and a cut text is told."""
    long = " ".join("a" for _ in range(20))
    for _ in range(2):  # computed, and from memory
        parsed = await answer(make_router(), "cat", ["a red dog", picture(b"sure")])
        tokens = count_tokens("cat") + count_tokens("a red dog")
        assert parsed["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    router = make_router()
    for _ in range(2):
        assert (await answer(router, "cat", [long]))["usage"]["truncated"] is True


async def test_pairs_fail_alone() -> None:
    """For the query's fault or the document's."""
    router = make_router()
    router.fast.handle.bad_items |= {b"broken": "bad_image", "wordy": "too_large"}

    parsed = await answer(
        router, ["cat", "", "dog", "wordy", "cat"], ["cat", "cat", picture(b"broken"), "cat", {"image": "?"}]
    )

    told = [(item["index"], item["object"], item.get("error", {}).get("param")) for item in parsed["data"]]
    assert told == [
        (0, "score", None),
        (1, "score", "queries[1]"),
        (2, "score", "documents[2]"),
        (3, "score", "queries[3]"),
        (4, "score", "documents[4]"),
    ]


@pytest.mark.parametrize(
    ("document", "status", "code", "param"),
    [
        ({"queries": "cat"}, 400, "invalid_request", "documents"),
        ({"documents": "cat"}, 400, "invalid_request", "queries"),
        ({"queries": "cat", "text_1": "cat", "documents": "dog"}, 400, "invalid_request", "queries"),
        ({"queries": [], "documents": ["cat"]}, 400, "invalid_request", "queries"),
        ({"queries": "cat", "documents": []}, 400, "invalid_request", "documents"),
        ({"queries": ["cat", "dog"], "documents": ["cat"]}, 400, "invalid_request", "queries"),
        ({"queries": ["cat", "dog"], "documents": ["a", "b", "c"]}, 400, "invalid_request", "queries"),
        ({"queries": "", "documents": ["cat", "dog"]}, 400, "invalid_request", "queries[0]"),
        ({"queries": "wordy", "documents": ["cat", "dog"]}, 413, "too_large", "queries[0]"),
        ({"queries": {"key": image(b"unseen").key}, "documents": ["cat"]}, 404, "unknown_key", "queries[0]"),
        ({"queries": "cat", "documents": ["cat"], "model": "bge"}, 404, "unknown_model", "model"),
        ({"queries": "cat", "documents": ["cat"], "model": "fast", "tier": "accurate"}, 400, "invalid_request", "tier"),
        ({"queries": "cat", "documents": ["a"] * 6}, 413, "too_large", "documents"),
        ({"queries": "cat", "documents": [picture(b"a")] * 5}, 413, "too_large", "documents"),
        ({"queries": "cat", "documents": ["cat"], "threshold": 2}, 400, "invalid_request", "threshold"),
        ({"queries": "cat", "documents": ["cat"], "use_activation": True}, 400, "invalid_request", "use_activation"),
        ({"queries": {"content": []}, "documents": ["cat"]}, 400, "invalid_request", "queries[0]"),
    ],
)
async def test_request_fails_when_nothing_is_left_of_it(document: Body, status: int, code: str, param: str) -> None:
    """The first pair's error is the request's."""
    router = make_router()
    router.fast.handle.bad_items["wordy"] = "too_large"

    response = await ask(router, document)

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)


async def test_tier_that_sheds_is_a_503() -> None:
    """With Retry-After: no pair was answered."""
    router = make_router()
    router.fast.handle.fault = TierShed()

    response = await ask(router, {"queries": "cat", "documents": ["dog", picture(b"sure")]})

    assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")
    assert "retry-after" in response.headers


async def test_keys_msgpack_and_forms_are_taken() -> None:
    """As on every other route."""
    router = make_router()
    await answer(router, "cat", [picture(b"sure")])
    packed = msgpack.packb({"queries": {"key": text("cat").key}, "documents": [b"sure", {"key": image(b"sure").key}]})
    async with router.client() as client:
        first = await client.post("/v1/score", content=packed, headers={"content-type": "application/msgpack"})
        fields = [("queries", (None, b"cat")), ("threshold", (None, b"0.3"))]
        second = await client.post("/v1/score", files=[("documents", ("a.png", b"sure")), *fields])

    assert scores(msgpack.unpackb(first.content)) == pytest.approx([0.6, 0.6], abs=1e-6)
    assert scores(second.json()) == pytest.approx([0.6])
    assert second.headers["x-tier"] == "fast"
    stages = [stage.split(";")[0] for stage in second.headers["server-timing"].split(", ")]
    assert stages == ["cache", "total"]


async def test_score_of_two_texts_is_their_cosine() -> None:
    """In the space of the tier that was named, whatever their vectors are."""
    parsed = await answer(make_router(), "a", ["b"], tier="accurate")

    assert scores(parsed) == pytest.approx([float(content_vector("a", "a1") @ content_vector("b", "a1"))], abs=1e-6)
