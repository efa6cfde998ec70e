"""POST /v1/similarity over real HTTP: Ray Serve, the demo models, the embedded cache."""

import asyncio
from typing import Any

import httpx
import msgpack
import numpy as np
from PIL import Image

from tests.direct_model import DirectModel
from tests.pictures import as_base64, captions, encode, picture

Answer = dict[str, Any]


def ask(client: httpx.Client, seed: int, texts: list[str], **fields: object) -> Answer:
    """Compare a seed's picture with texts; the answer's body."""
    body = {"images": [{"image": as_base64(picture(seed))}], "texts": texts, **fields}
    response = client.post("/v1/similarity", json=body)
    assert response.status_code == 200, response.text
    answer: Answer = response.json()
    return answer


def test_similarity_answer_has_the_shape_of_the_contract(client: httpx.Client) -> None:
    """Every key of the worked example is there, with its type."""
    answer = ask(client, 1, captions(1, 2))

    assert answer["object"] == "similarity"
    assert set(answer["model"]) == {"fast", "accurate"}
    assert all("@" in model for model in answer["model"].values())
    (item,) = answer["data"]
    assert item["index"] == 0
    assert item["key"].startswith("i:")
    assert item["best"] == int(np.argmax(item["cosine"]))
    assert abs(sum(item["probability"]) - 1) < 1e-5
    tiering = item["tiering"]
    assert tiering["tier"] in {"fast", "accurate"}
    assert 0 <= tiering["confidence"] <= 1
    assert tiering["degraded"] is None
    assert tiering["policy"].startswith("p-")
    assert answer["usage"]["images"] == 1
    assert answer["usage"]["texts"] == 2
    assert answer["usage"]["prompt_tokens"] >= 4


def test_similarity_equals_a_direct_open_clip_call(client: httpx.Client, models: dict[str, DirectModel]) -> None:
    """Both tiers' cosines are those of open_clip's own preprocessing, tokenizer and encoders."""
    texts = captions(2)

    for tier in ("fast", "accurate"):
        (item,) = ask(client, 2, texts, tier=tier)["data"]

        expected = models[tier].texts(texts) @ models[tier].images([picture(2)])[0]
        np.testing.assert_allclose(item["cosine"], expected, atol=1e-3)
        assert item["tiering"]["tier"] == tier
        assert item["tiering"]["escalated"] is False


def test_similarity_asked_again_comes_from_the_cache(client: httpx.Client) -> None:
    """The second answer is the first one's, all hits."""
    first = ask(client, 3, captions(3), tier="fast")
    second = ask(client, 3, captions(3), tier="fast")

    assert first["data"][0]["tiering"]["cache"]["image"] == "miss"
    assert second["data"][0]["tiering"]["cache"] == {"image": "hit", "texts": {"hit": 6, "miss": 0}}
    np.testing.assert_allclose(second["data"][0]["cosine"], first["data"][0]["cosine"], atol=1e-3)
    assert second["usage"]["prompt_tokens"] == first["usage"]["prompt_tokens"]


def test_similarity_takes_a_second_look_only_under_the_margin(client: httpx.Client) -> None:
    """An uncertain fast answer is the accurate tier's; a certain one stays the fast tier's."""
    threshold = client.get("/admin/status").json()["policy"]["threshold"]
    seen = set()
    for seed in range(100, 200):
        (fast,) = ask(client, seed, captions(seed), tier="fast")["data"]
        (item,) = ask(client, seed, captions(seed))["data"]

        is_uncertain = fast["tiering"]["margin"] < threshold
        assert item["tiering"]["escalated"] is is_uncertain
        assert item["tiering"]["tier"] == ("accurate" if is_uncertain else "fast")
        seen.add(is_uncertain)
        if len(seen) == 2:
            return
    raise AssertionError(f"only {seen} among a hundred scenes")


def test_accurate_vectors_in_the_cache_are_used_first(client: httpx.Client) -> None:
    """What the accurate tier has embedded before is answered by it for free."""
    ask(client, 4, captions(4), tier="accurate")

    (item,) = ask(client, 4, captions(4))["data"]

    assert item["tiering"]["tier"] == "accurate"
    assert item["tiering"]["escalated"] is False
    assert item["tiering"]["cache"]["image"] == "hit"


def test_one_text_without_threshold_takes_no_second_look(client: httpx.Client) -> None:
    """There is no decision to be unsure of."""
    (item,) = ask(client, 5, ["a red circle"])["data"]

    assert item["tiering"]["tier"] == "fast"
    assert item["probability"] is None


def test_content_key_stands_for_the_image(client: httpx.Client) -> None:
    """An image that was sent once is named by its key; an unknown key is that item's error."""
    first = ask(client, 6, captions(6), tier="fast")["data"][0]
    unknown = first["key"][:-2] + ("00" if not first["key"].endswith("00") else "11")
    body = {"images": [{"key": first["key"]}, {"key": unknown}], "texts": captions(6), "tier": "fast"}

    known, missing = client.post("/v1/similarity", json=body).json()["data"]

    assert known["tiering"]["cache"]["image"] == "hit"
    np.testing.assert_allclose(known["cosine"], first["cosine"], atol=1e-3)
    assert missing["error"]["code"] == "unknown_key"
    assert missing["error"]["param"] == "images[1]"


def test_similarity_speaks_msgpack(client: httpx.Client) -> None:
    """Image bytes go in without base64, and the same fields come out."""
    body = {"images": [{"image": picture(7)}], "texts": captions(7), "tier": "fast"}

    response = client.post(
        "/v1/similarity", content=msgpack.packb(body), headers={"content-type": "application/msgpack"}
    )

    assert response.headers["content-type"] == "application/msgpack"
    assert msgpack.unpackb(response.content)["data"][0]["tiering"]["tier"] == "fast"


def test_one_truncated_jpeg_fails_alone_among_31_good_ones(client: httpx.Client) -> None:
    """The 31 are answered; the bad one's slot says what is wrong with it."""
    files = [picture(1000 + i, "JPEG") for i in range(32)]
    files[13] = files[13][: len(files[13]) // 2]
    body = {"images": [{"image": as_base64(data)} for data in files], "texts": captions(1000)}

    response = client.post("/v1/similarity", json=body)

    assert response.status_code == 200
    slots = response.json()["data"]
    assert [slot["index"] for slot in slots] == list(range(32))
    assert [i for i, slot in enumerate(slots) if "error" in slot] == [13]
    assert slots[13]["error"]["code"] == "bad_image"


async def test_a_thousand_identical_requests_encode_once_per_tier(base_url: str) -> None:
    """A burst for one uncached image costs one encode on each tier that is used."""
    texts = ["a burst of requests", "a quiet minute"]
    body = {"images": [{"image": as_base64(picture(8))}], "texts": texts}
    limits = httpx.Limits(max_connections=1000)
    async with httpx.AsyncClient(base_url=base_url, limits=limits, timeout=60) as client:
        before = (await client.get("/admin/status")).json()["tiers"]
        answers = await asyncio.gather(*(client.post("/v1/similarity", json=body) for _ in range(1000)))
        after = (await client.get("/admin/status")).json()["tiers"]

    assert {answer.status_code for answer in answers} == {200}
    tiers = {answer.json()["data"][0]["tiering"]["tier"] for answer in answers}
    assert after["fast"]["items"] - before["fast"]["items"] == 3
    assert after["accurate"]["items"] - before["accurate"]["items"] == (3 if "accurate" in tiers else 0)


def test_answer_names_its_request_and_its_stages(client: httpx.Client) -> None:
    """X-Request-Id is echoed once, X-Tier and Server-Timing say who answered and how long it took."""
    body = {"images": [{"image": as_base64(picture(9))}], "texts": captions(9)}

    response = client.post("/v1/similarity", json=body, headers={"X-Request-Id": "request-9"})

    assert response.headers.get_list("x-request-id") == ["request-9"]
    assert response.headers["x-tier"] in {"fast", "accurate"}
    stages = {stage.split(";")[0].strip() for stage in response.headers["server-timing"].split(",")}
    assert {"cache", "fast", "total"} <= stages


def test_similarity_takes_multipart_files(client: httpx.Client) -> None:
    """Pictures as files of a form, texts as its fields."""
    texts = captions(10)
    fields = [("texts", (None, text.encode())) for text in texts]

    response = client.post("/v1/similarity", files=[("images", ("scene.png", picture(10))), *fields])

    assert response.status_code == 200, response.text
    assert len(response.json()["data"][0]["cosine"]) == len(texts)


def test_picture_of_five_megabytes_is_answered(client: httpx.Client) -> None:
    """A body under its limit travels whole, also where it is larger than gRPC's default message."""
    noise = np.random.default_rng(0).integers(0, 256, (1300, 1300, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise))
    assert len(data) > 5_000_000

    response = client.post("/v1/similarity", files=[("images", ("noise.png", data)), ("texts", (None, "a star"))])

    assert response.status_code == 200, response.text
