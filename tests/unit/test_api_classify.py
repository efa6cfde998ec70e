"""POST /v1/classify through a real client, the real cascade and fake tiers."""

import base64
from dataclasses import replace
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest

from router.policy import Policy, RouteRule
from router.policy_in_force import PolicyInForce
from router.ranking_schemas import ClassifyAnswer
from tests.fakes import FAST_MODEL, FakeRouter, count_tokens, image, text

Body = dict[str, Any]


def body(*images: bytes, labels: list[Any] | None = None, **fields: Any) -> Body:
    """A request's body."""
    encoded = [{"image": base64.b64encode(data).decode()} for data in images]
    return {"input": encoded, "labels": labels or ["dog", "cat"], **fields}


async def ask(router: FakeRouter, document: Body, **changes: Any) -> httpx.Response:
    """Post a question; `changes` replace parts of the service."""
    async with router.client(**changes) as client:
        return await client.post("/v1/classify", json=document)


async def answer(router: FakeRouter, document: Body, **changes: Any) -> Body:
    """Post a question that is answered with 200, in the documented shape."""
    response = await ask(router, document, **changes)
    assert response.status_code == 200, response.text
    ClassifyAnswer.model_validate_json(response.content)
    parsed: Body = response.json()
    return parsed


def make_router() -> FakeRouter:
    """A router that knows a sure image and an unsure one."""
    router = FakeRouter()
    router.place(b"sure", fast=(0.6, 0.4), accurate=(0.7, 0.2))
    router.place(b"unsure", fast=(0.5, 0.45), accurate=(0.3, 0.6))
    return router


async def test_labels_come_best_first_with_their_probability() -> None:
    """Each with its place in the request, its share among the labels, and its cosine."""
    parsed = await answer(make_router(), body(b"sure"))

    (item,) = parsed["data"]
    share = 1 / (1 + np.exp(-2.0))
    assert [(label["label"], label["index"]) for label in item["labels"]] == [("cat", 1), ("dog", 0)]
    assert [label["score"] for label in item["labels"]] == pytest.approx([share, 1 - share])
    assert [label["cosine"] for label in item["labels"]] == pytest.approx([0.6, 0.4])
    assert (item["index"], item["key"], item["tiering"]["tier"]) == (0, image(b"sure").key, "fast")
    assert parsed["object"] == "classification"
    assert parsed["usage"] == {"images": 1, "labels": 2, "prompt_tokens": 2 * count_tokens("cat")}


async def test_close_choice_takes_a_second_look() -> None:
    """The accurate tier's order is the answer's; each image for itself."""
    parsed = await answer(make_router(), body(b"sure", b"unsure"))

    best = [(item["labels"][0]["label"], item["tiering"]["tier"]) for item in parsed["data"]]
    assert best == [("cat", "fast"), ("dog", "accurate")]


async def test_routes_own_rule_decides_when() -> None:
    """And its own group is what certificates speak of: other routes' rules do not count here."""
    policy = PolicyInForce(Policy(threshold=9.0, routes={"classify": RouteRule(threshold=0.0)}))

    parsed = await answer(make_router(), body(b"unsure"), policy=policy)

    assert parsed["data"][0]["tiering"]["tier"] == "fast"


async def test_routes_own_deadline_holds() -> None:
    """Where it is shorter than the operator's."""
    router = make_router()
    policy = PolicyInForce(Policy(threshold=1.0, routes={"classify": RouteRule(deadline_s=2)}))

    await answer(router, body(b"sure"), policy=policy)

    assert router.fast.handle.timeouts_s == [pytest.approx(2.0)]


async def test_named_tier_answers_alone() -> None:
    """No second look, and none needed."""
    parsed = await answer(make_router(), body(b"unsure", tier="accurate"))

    assert parsed["data"][0]["tiering"] | {"confidence": 0, "margin": 0, "policy": "", "cache": {}} == {
        "tier": "accurate",
        "escalated": False,
        "degraded": None,
        "confidence": 0,
        "margin": 0,
        "policy": "",
        "cache": {},
    }


async def test_top_k_names_the_best_ones_only() -> None:
    """More than there are is all of them."""
    for top_k, named in ((1, ["cat"]), (9, ["cat", "dog"])):
        (item,) = (await answer(make_router(), body(b"sure", top_k=top_k)))["data"]
        assert [label["label"] for label in item["labels"]] == named


@pytest.mark.parametrize("has_sigmoid", [False, True])
async def test_single_label_is_scored_only_where_the_model_can(*, has_sigmoid: bool) -> None:
    """There is nothing to share out: the sigmoid where the model is trained so, else null beside the cosine."""
    router = make_router()
    router.fast.embedder.use(replace(FAST_MODEL, has_sigmoid=has_sigmoid))

    (item,) = (await answer(router, body(b"sure", labels=["cat"])))["data"]

    (label,) = item["labels"]
    assert label["cosine"] == pytest.approx(0.6)
    assert label["score"] == (pytest.approx(1 / (1 + np.exp(-6.0))) if has_sigmoid else None)


async def test_items_fail_alone() -> None:
    """Images in their slots; labels are left out of the ranking and listed, under their places."""
    router = make_router()
    router.fast.handle.bad_items |= {b"broken": "bad_image", "wordy": "too_large"}
    document = body(b"broken", b"sure", labels=["", "dog", "wordy", "cat"])

    parsed = await answer(router, document)

    assert parsed["data"][0]["error"]["param"] == "input[0]"
    assert [(label["label"], label["index"]) for label in parsed["data"][1]["labels"]] == [("cat", 3), ("dog", 1)]
    failed = [(label["index"], label["error"]["code"], label["error"]["param"]) for label in parsed["labels"]]
    assert failed == [(0, "invalid_request", "labels[0]"), (2, "too_large", "labels[2]")]


async def test_keys_stand_for_images_and_labels() -> None:
    """A label that was named by its key is called by it."""
    router = make_router()
    first = await answer(router, body(b"sure"))

    keys = {"input": [{"key": first["data"][0]["key"]}], "labels": [{"key": text("cat").key}, {"text": "dog"}]}
    second = await answer(router, keys)

    assert [label["label"] for label in second["data"][0]["labels"]] == [text("cat").key, "dog"]
    assert second["data"][0]["tiering"]["cache"] == {"image": "hit", "texts": {"hit": 2, "miss": 0}}


@pytest.mark.parametrize(
    ("document", "status", "code", "param"),
    [
        ({"input": ["c3VyZQ=="]}, 400, "invalid_request", "labels"),
        ({"input": ["c3VyZQ=="], "labels": []}, 400, "invalid_request", "labels"),
        ({"input": [], "labels": ["cat"]}, 400, "invalid_request", "input"),
        (body(b"sure", collection="animals"), 400, "invalid_request", "labels"),
        ({"input": ["c3VyZQ=="], "collection": "animals"}, 404, "unknown_collection", "collection"),
        (body(b"sure", top_k=0), 400, "invalid_request", "top_k"),
        (body(b"sure", threshold=0.5), 400, "invalid_request", "threshold"),
        ({"input": [{"text": "cat"}], "labels": ["cat"]}, 400, "invalid_request", "input[0]"),
        (body(b"sure", labels=["", ""]), 400, "invalid_request", "labels[0]"),
        (body(b"sure", labels=["", "wordy"]), 413, "too_large", "labels[1]"),
        (body(b"1", b"2", b"3", b"4", b"5"), 413, "too_large", "input"),
        (body(b"sure", labels=["cat"] * 6), 413, "too_large", "labels"),
        ({"input": [{"key": image(b"unseen").key}], "labels": ["cat"]}, 404, "unknown_key", "input[0]"),
        (body(b"broken"), 422, "bad_image", "input[0]"),
    ],
)
async def test_request_fails_when_nothing_is_left_of_it(document: Body, status: int, code: str, param: str) -> None:
    """The first item's error is the request's, under the caller's name for it."""
    router = make_router()
    router.fast.handle.bad_items |= {b"broken": "bad_image", "wordy": "too_large"}

    response = await ask(router, document)

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)


async def test_label_that_the_accurate_tier_does_not_know_is_named() -> None:
    """A second look is due, and only the label's key was sent."""
    router = make_router()
    await answer(router, body(b"unsure", tier="fast"))

    response = await ask(router, body(b"unsure", labels=["", "dog", {"key": text("cat").key}]))

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (404, "unknown_key", "labels[2]")


async def test_msgpack_and_forms_are_answered() -> None:
    """Image bytes as they are."""
    packed = msgpack.packb({"input": [b"sure"], "labels": ["cat", "dog"], "top_k": 1})
    async with make_router().client() as client:
        first = await client.post("/v1/classify", content=packed, headers={"content-type": "application/msgpack"})
        fields = [("labels", (None, b"cat")), ("labels", (None, b"dog")), ("top_k", (None, b"1"))]
        second = await client.post("/v1/classify", files=[("input", ("a.png", b"sure")), *fields])

    for parsed in (msgpack.unpackb(first.content), second.json()):
        ClassifyAnswer.model_validate(parsed)
        assert [label["label"] for label in parsed["data"][0]["labels"]] == ["cat"]
