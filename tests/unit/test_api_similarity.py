"""POST /v1/similarity through a real client, the real cascade and fake tiers."""

import asyncio
import base64
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest

from router.policy import Policy
from router.policy_in_force import PolicyInForce
from router.schemas import SimilarityAnswer
from router.tier_calls import TierShed, TierUnreachable
from tests.fakes import FakeRouter, count_tokens, image


def as_base64(content: bytes) -> str:
    """An image as JSON carries it."""
    return base64.b64encode(content).decode()


def body(*images: bytes, texts: list[Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A request's body."""
    return {"images": [{"image": as_base64(data)} for data in images], "texts": texts or ["cat", "dog"], **fields}


async def ask(router: FakeRouter, document: dict[str, Any], **changes: Any) -> httpx.Response:
    """Post a question; `changes` replace parts of the service."""
    async with router.client(**changes) as client:
        return await client.post("/v1/similarity", json=document)


async def answer(router: FakeRouter, document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Post a question that is answered with 200, in the documented shape."""
    response = await ask(router, document, **changes)
    assert response.status_code == 200, response.text
    SimilarityAnswer.model_validate_json(response.content)
    parsed: dict[str, Any] = response.json()
    return parsed


def make_router() -> FakeRouter:
    """A router that knows a sure image and an unsure one."""
    router = FakeRouter()
    router.place(b"sure", fast=(0.6, 0.4), accurate=(0.7, 0.2))
    router.place(b"unsure", fast=(0.5, 0.45), accurate=(0.3, 0.6))
    return router


async def test_answer_has_everything_of_the_contracts_example() -> None:
    """Model ids, key, best, cosines, probabilities, tiering and usage, each with its value."""
    parsed = await answer(make_router(), body(b"sure"))

    (item,) = parsed.pop("data")
    cosine, probability = item.pop("cosine"), item.pop("probability")
    margin, confidence = item["tiering"].pop("margin"), item["tiering"].pop("confidence")
    assert parsed == {
        "object": "similarity",
        "model": {"fast": "tiny-fast@f1", "accurate": "tiny-accurate@a1"},
        "usage": {"images": 1, "texts": 2, "prompt_tokens": 2 * count_tokens("cat")},
    }
    assert item == {
        "index": 0,
        "key": image(b"sure").key,
        "best": 0,
        "tiering": {
            "tier": "fast",
            "escalated": False,
            "degraded": None,
            "cache": {"image": "miss", "texts": {"hit": 0, "miss": 2}},
            "policy": Policy(threshold=1.0).version,
        },
    }
    assert (cosine, margin) == (pytest.approx([0.6, 0.4]), pytest.approx(2.0, abs=1e-5))
    share = 1 / (1 + np.exp(-2.0))
    assert (probability, confidence) == (pytest.approx([share, 1 - share]), pytest.approx(share))


async def test_headers_say_who_answered_and_how_long_it_took() -> None:
    """X-Tier, Server-Timing with its stages, and the request's id."""
    router = make_router()

    sure, both = await ask(router, body(b"sure")), await ask(router, body(b"sure", b"unsure"))

    assert sure.headers["x-tier"] == "fast"
    assert both.headers["x-tier"] == "accurate,fast"
    assert "x-degraded" not in both.headers
    stages = [stage.split(";")[0] for stage in both.headers["server-timing"].split(", ")]
    assert stages == ["cache", "queue", "fast", "accurate", "total"]
    assert sure.headers["x-request-id"] != both.headers["x-request-id"]


async def test_degraded_answer_is_marked_in_body_and_header() -> None:
    """A second look that was shed shows in both, and the request succeeds."""
    router = make_router()
    router.accurate.handle.fault = TierShed()

    response = await ask(router, body(b"unsure"))

    assert response.status_code == 200
    assert response.headers["x-degraded"] == "accurate_shed"
    assert response.json()["data"][0]["tiering"]["degraded"] == "accurate_shed"


async def test_degraded_answer_is_refused_where_the_policy_says_so() -> None:
    """503 with Retry-After, in the contract's shape."""
    router = make_router()
    router.accurate.handle.fault = TierUnreachable()

    response = await ask(router, body(b"unsure"), policy=PolicyInForce(Policy(threshold=1.0, degraded="fail")))

    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert response.headers["retry-after"] == "1"
    assert response.json()["error"]["param"] == "images[0]"


async def test_policy_is_read_anew_for_each_request() -> None:
    """A swapped policy decides the next request and names itself."""
    router = make_router()
    service = router.make_service()

    first = await answer(router, body(b"sure"))
    service.policy = PolicyInForce(Policy(threshold=5.0))
    second = await answer(router, body(b"sure"), policy=service.policy)

    assert [a["data"][0]["tiering"]["tier"] for a in (first, second)] == ["fast", "accurate"]
    assert second["data"][0]["tiering"]["policy"] == Policy(threshold=5.0).version


async def test_threshold_says_which_texts_match() -> None:
    """Several texts may match, or none; the margin is the distance to the cut."""
    (item,) = (await answer(make_router(), body(b"sure", threshold=0.5, tier="fast")))["data"]

    assert item["matches"] == [True, False]
    assert item["tiering"]["margin"] == pytest.approx(1.0, abs=1e-5)


async def test_one_text_has_no_probability_without_a_sigmoid() -> None:
    """There is nothing to share out."""
    (item,) = (await answer(make_router(), body(b"unsure", texts=["cat"])))["data"]

    assert item["probability"] is None
    assert item["tiering"]["tier"] == "fast"


async def test_key_of_an_earlier_answer_stands_for_the_image() -> None:
    """A client that has sent an image once never uploads it again."""
    router = make_router()
    key = (await answer(router, body(b"sure")))["data"][0]["key"]

    (item,) = (await answer(router, {"images": [{"key": key}], "texts": ["cat", "dog"]}))["data"]

    assert item["key"] == key
    assert item["tiering"]["cache"] == {"image": "hit", "texts": {"hit": 2, "miss": 0}}


async def test_bad_images_fail_alone() -> None:
    """Unreadable, unknown, broken and too large ones have their errors in their slots."""
    router = make_router()
    router.fast.handle.bad_items |= {b"broken": "bad_image"}
    document = body(b"broken", b"sure")
    document["images"][:0] = [{"image": "?"}, {"key": image(b"never seen").key}]

    parsed = await answer(router, document)

    slots = [(slot["index"], slot.get("error", {}).get("code"), slot.get("best")) for slot in parsed["data"]]
    assert slots == [
        (0, "invalid_request", None),
        (1, "unknown_key", None),
        (2, "bad_image", None),
        (3, None, 0),
    ]
    assert [slot["error"]["param"] for slot in parsed["data"][:3]] == ["images[0]", "images[1]", "images[2]"]


async def test_bad_texts_are_null_in_their_places() -> None:
    """One that could not be read and one that the tier refused; the others keep their positions."""
    router = make_router()
    router.fast.handle.bad_items["wordy"] = "too_large"

    parsed = await answer(router, body(b"sure", texts=["", "cat", "wordy", "dog"], threshold=0.5, tier="fast"))

    (item,) = parsed["data"]
    assert item["cosine"] == [None, pytest.approx(0.6), None, pytest.approx(0.4)]
    assert item["matches"] == [None, True, None, False]
    assert item["best"] == 1
    failed = [(text["index"], text["error"]["code"], text["error"]["param"]) for text in parsed["texts"]]
    assert failed == [(0, "invalid_request", "texts[0]"), (2, "too_large", "texts[2]")]
    assert parsed["usage"]["texts"] == 4


async def test_text_that_fails_the_request_is_named_by_its_place() -> None:
    """Others before it could not be read."""
    router = make_router()
    router.fast.handle.bad_items["wordy"] = "too_large"

    response = await ask(router, body(b"sure", texts=["", "wordy"]))

    assert (response.status_code, response.json()["error"]["param"]) == (413, "texts[1]")


@pytest.mark.parametrize(
    ("document", "status", "code", "param"),
    [
        ({"images": [{"image": "?"}, ""], "texts": ["cat"]}, 400, "invalid_request", "images[0]"),
        ({"images": [{"text": "cat"}], "texts": ["cat"]}, 400, "invalid_request", "images[0]"),
        (body(b"sure", texts=["", {"image": "aGk="}]), 400, "invalid_request", "texts[0]"),
        (body(b"sure", texts=["x" * 65]), 413, "too_large", "texts[0]"),
        (body(b"1", b"2", b"3", b"4", b"5"), 413, "too_large", "images"),
        (body(b"sure", texts=["cat"] * 6), 413, "too_large", "texts"),
        ({"images": [{"key": image(b"unseen").key}], "texts": ["cat"]}, 404, "unknown_key", "images[0]"),
        (body(b"broken"), 422, "bad_image", "images[0]"),
        (body(b"huge"), 413, "too_large", "images[0]"),
        (body(b"tiff"), 415, "unsupported_media", "images[0]"),
        (body(b"late"), 408, "deadline_exceeded", "images[0]"),
        (body(b"odd"), 500, "internal", "images[0]"),
    ],
)
async def test_request_fails_when_nothing_is_left_of_it(
    document: dict[str, Any], status: int, code: str, param: str
) -> None:
    """The first item's error is the request's, with its status."""
    router = make_router()
    router.fast.handle.bad_items |= {
        b"broken": "bad_image",
        b"huge": "too_large",
        b"tiff": "unsupported_media",
        b"late": "expired",
        b"odd": "internal",
    }

    response = await ask(router, document)

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert set(error) == {"message", "type", "code", "param"}


async def test_items_are_read_in_every_form() -> None:
    """A bare string among images is base64, an object among texts is a text."""
    router = make_router()
    url = f"data:image/png;base64,{as_base64(b'sure')}"
    images = [as_base64(b"sure"), {"image": url}, {"image_url": {"url": url}}]

    parsed = await answer(router, {"images": images, "texts": [{"text": "cat"}, "dog"]})

    assert [item["best"] for item in parsed["data"]] == [0, 0, 0]
    assert router.fast.handle.items == 3


async def test_msgpack_in_is_msgpack_out() -> None:
    """The same fields, with images as bytes."""
    router = make_router()
    document = {"images": [{"image": b"sure"}, b"unsure"], "texts": ["cat", "dog"]}
    async with router.client() as client:
        response = await client.post(
            "/v1/similarity", content=msgpack.packb(document), headers={"content-type": "application/msgpack"}
        )

    parsed = msgpack.unpackb(response.content)
    SimilarityAnswer.model_validate(parsed)
    assert response.headers["content-type"] == "application/msgpack"
    assert [item["best"] for item in parsed["data"]] == [0, 1]


async def test_many_identical_requests_cost_one_call() -> None:
    """Fifty at once for one image are one encode of three items."""
    router = make_router()
    async with router.client(max_in_flight=50) as client:
        answers = await asyncio.gather(*(client.post("/v1/similarity", json=body(b"sure")) for _ in range(50)))

    assert {answer.status_code for answer in answers} == {200}
    assert (len(router.fast.handle.calls), router.fast.handle.items) == (1, 3)


async def test_callers_deadline_goes_to_the_tier() -> None:
    """X-Deadline-Ms shortens the time that every hop gets."""
    router = make_router()
    async with router.client() as client:
        await client.post("/v1/similarity", json=body(b"sure"), headers={"X-Deadline-Ms": "1500"})

    assert router.fast.handle.timeouts_s == [pytest.approx(1.5)]


async def test_text_beyond_the_context_is_said_to_be_cut() -> None:
    """Its tokens are all counted, and the answer does not pretend that they were read."""
    router = make_router()
    long = " ".join("a" for _ in range(20))
    for texts, is_cut in (["cat", long], True), (["cat", "dog"], False):
        for _ in range(2):  # computed, and from the cache
            usage = (await answer(router, body(b"sure", texts=texts)))["usage"]
            assert usage["prompt_tokens"] == sum(count_tokens(one) for one in texts)
            assert ("truncated" in usage, usage.get("truncated", True)) == (is_cut, True)


@pytest.mark.parametrize(("header", "traffic"), [("live", "live"), ("warm-up", "warm_up"), (None, "live")])
async def test_class_of_traffic_reaches_the_tier(header: str | None, traffic: str) -> None:
    """Who says nothing is live."""
    router = FakeRouter()

    async with router.client() as client:
        headers = {} if header is None else {"X-Traffic-Class": header}
        await client.post("/v1/similarity", json=body(b"cat"), headers=headers)
        await client.post("/v1/embeddings", json={"model": "accurate", "input": ["cat"]}, headers=headers)

    assert {call.traffic for call in router.fast.handle.calls + router.accurate.handle.calls} == {traffic}


async def test_unknown_class_of_traffic_is_refused() -> None:
    """Rather than taken for live."""
    async with FakeRouter().client() as client:
        response = await client.post("/v1/similarity", json=body(b"cat"), headers={"X-Traffic-Class": "urgent"})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "X-Traffic-Class"
