"""Classify, score, rerank and the listings over real HTTP, as the clients that they are made for send them."""

from collections.abc import Iterator
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest
from openai import NotFoundError, OpenAI

from secondlook import ApiError, Client, ItemError
from tests.direct_model import DirectModel
from tests.pictures import as_base64, captions, picture

Answer = dict[str, Any]
SEEDS = range(700, 704)


def post(client: httpx.Client, route: str, body: Answer) -> Answer:
    """Ask; the answer's body."""
    response = client.post(route, json=body)
    assert response.status_code == 200, response.text
    answer: Answer = response.json()
    return answer


def data_url(seed: int) -> str:
    """A seed's picture as a URL."""
    return f"data:image/png;base64,{as_base64(picture(seed))}"


@pytest.fixture
def openai(base_url: str) -> Iterator[OpenAI]:
    """The openai client, unmodified."""
    with OpenAI(base_url=f"{base_url}/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
def ours(base_url: str) -> Iterator[Client]:
    """Our own client."""
    with Client(base_url) as client:
        yield client


def test_classify_is_the_models_choice(client: httpx.Client, models: dict[str, DirectModel]) -> None:
    """The order and the cosines are open_clip's, by the tier that says it answered."""
    labels = captions(700)

    answer = post(client, "/v1/classify", {"input": [data_url(700)], "labels": labels, "top_k": 3})

    (item,) = answer["data"]
    cosine = models[item["tiering"]["tier"]].texts(labels) @ models[item["tiering"]["tier"]].images([picture(700)])[0]
    assert [label["index"] for label in item["labels"]] == np.argsort(-cosine)[:3].tolist()
    np.testing.assert_allclose([one["cosine"] for one in item["labels"]], sorted(cosine)[:-4:-1], atol=1e-3)
    assert 0 < sum(label["score"] for label in item["labels"]) <= 1 + 1e-5


def test_vllm_clients_score_pairs(client: httpx.Client, models: dict[str, DirectModel]) -> None:
    """1 to N and N to N, texts and images as parts of a message."""
    texts = captions(701, 3)
    to_many = post(client, "/v1/score", {"model": "fast", "text_1": texts[0], "text_2": texts})
    parts = {"content": [{"type": "image_url", "image_url": {"url": data_url(701)}}]}
    pairs = post(client, "/v1/score", {"model": "fast", "queries": texts, "documents": [parts, texts[1], parts]})

    fast = models["fast"]
    embedded, shown = fast.texts(texts), fast.images([picture(701)])[0]
    np.testing.assert_allclose([one["score"] for one in to_many["data"]], embedded @ embedded[0], atol=1e-3)
    expected = [embedded[0] @ shown, 1.0, embedded[2] @ shown]
    np.testing.assert_allclose([one["score"] for one in pairs["data"]], expected, atol=1e-3)
    assert {"id", "object", "created", "model", "data", "usage"} <= set(pairs)


def test_threshold_cascades_over_pairs(client: httpx.Client) -> None:
    """Each pair of an image and a text has its own decision."""
    body = {"queries": captions(702)[0], "documents": [{"image": data_url(seed)} for seed in SEEDS], "threshold": 0.2}

    answer = post(client, "/v1/score", body)

    for one in answer["data"]:
        assert one["matches"] == (one["score"] >= 0.2)
        assert one["tiering"]["tier"] in {"fast", "accurate"}


def test_cohere_and_jina_clients_rerank_texts(client: httpx.Client) -> None:
    """With `model`, `top_n` and `return_documents`, documents as strings or objects."""
    documents = ["a small blue star", {"text": "a big red circle"}, "a green square"]
    body = {"model": "accurate", "query": "a big red circle", "documents": documents}

    answer = post(client, "/v1/rerank", {**body, "top_n": 2, "return_documents": True})

    first, second = answer["results"]
    assert (first["index"], first["document"]) == (1, {"text": "a big red circle"})
    assert first["relevance_score"] > second["relevance_score"]
    assert answer["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("tier", ["auto", "fast", "accurate"])
def test_images_are_ranked_for_a_text(client: httpx.Client, models: dict[str, DirectModel], tier: str) -> None:
    """The order and the cosines are open_clip's, by the tier that says it answered."""
    caption, files = captions(703)[0], [picture(seed) for seed in SEEDS]
    documents = [{"image": as_base64(data)} for data in files]

    answer = post(client, "/v1/rerank", {"query": caption, "documents": documents, "tier": tier})

    by = answer["tiering"]["tier"]
    cosine = models[by].images(files) @ models[by].texts([caption])[0]
    ranked = {one["index"]: one["relevance_score"] for one in answer["results"]}
    np.testing.assert_allclose([ranked[i] for i in range(len(files))], cosine, atol=1e-3)
    assert [*ranked.values()] == sorted(ranked.values(), reverse=True)
    assert tier in ("auto", by)


def test_ranking_takes_forms_and_msgpack(client: httpx.Client) -> None:
    """Files of a form, and bytes as they are, name the same images."""
    files = [("documents", ("a.png", picture(seed))) for seed in SEEDS]
    form = client.post("/v1/rerank", files=[*files, ("query", (None, "a star")), ("tier", (None, "fast"))])
    packed = msgpack.packb({"query": "a star", "documents": [picture(seed) for seed in SEEDS], "tier": "fast"})
    binary = client.post("/v1/rerank", content=packed, headers={"content-type": "application/msgpack"})

    keys = [[one["key"] for one in parsed["results"]] for parsed in (form.json(), msgpack.unpackb(binary.content))]
    assert keys[0] == keys[1]


def test_our_client_reads_every_route(ours: Client) -> None:
    """And sends an image's bytes once, wherever an answer names its key."""
    labels = captions(704)

    chosen = ours.classify([picture(704), b"no picture"], labels, top_k=2)
    scored = ours.score(labels[0], [picture(704), labels[1]], threshold=0.2)
    ranked = ours.rerank(labels[0], [picture(704), picture(705)], top_n=1)

    item, bad = chosen.items
    assert not isinstance(item, ItemError)
    assert (len(item.labels), item.best.score is not None) == (2, True)
    assert isinstance(bad, ItemError)
    pair, texts = scored.items
    assert not isinstance(pair, ItemError)
    assert not isinstance(texts, ItemError)
    assert pair.tiering is not None
    assert (pair.matches, texts.tiering) == (pair.score >= 0.2, None)
    (best,) = ranked.items
    assert not isinstance(best, ItemError)
    assert (best.index, ranked.tiering is None) == (0, False)
    assert ours.collections() == ()
    with pytest.raises(ApiError) as caught:
        ours.search(picture(704), "animals")
    assert (caught.value.status, caught.value.code) == (404, "unknown_collection")


def test_openai_client_retrieves_models(openai: OpenAI) -> None:
    """By the id that the list gives, and 404 for others."""
    listed = next(model for model in openai.models.list() if model.id.endswith("fast"))

    assert openai.models.retrieve(listed.id) == listed
    with pytest.raises(NotFoundError) as caught:
        openai.models.retrieve("org/gpt-9")
    assert caught.value.code == "unknown_model"


def test_nulls_of_openai_clients_are_defaults(client: httpx.Client) -> None:
    """Some send what they were not given."""
    answer = post(client, "/v1/embeddings", {"model": "fast", "input": "a", "encoding_format": None, "user": None})

    assert isinstance(answer["data"][0]["embedding"], list)
