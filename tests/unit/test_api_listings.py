"""What is served, model by model and collection by collection, and searches of what is not there."""

import base64
from typing import Any

import pytest

from router.ranking_schemas import CollectionsAnswer
from router.schemas import ModelCard
from tests.fakes import FakeRouter

PICTURE = {"image": base64.b64encode(b"cat").decode()}


@pytest.mark.parametrize(
    ("name", "tier"),
    [("fast", "fast"), ("tiny-fast", "fast"), ("tiny-accurate@a1", "accurate"), ("accurate", "accurate")],
)
async def test_model_is_found_by_each_of_its_names(name: str, tier: str) -> None:
    """OpenAI's model object, the same as in the list."""
    async with FakeRouter().client() as client:
        card, listed = (await client.get(f"/v1/models/{name}")), (await client.get("/v1/models")).json()["data"]

    ModelCard.model_validate_json(card.content)
    assert card.json() == next(one for one in listed if one["tier"] == tier)


@pytest.mark.parametrize("name", ["gpt-9", "org/model", "{model}", "tiny-fast@f0"])
async def test_unknown_model_is_not_found(name: str) -> None:
    """With the contract's code."""
    async with FakeRouter().client() as client:
        response = await client.get(f"/v1/models/{name}")

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (404, "unknown_model", "model")


async def test_model_that_has_not_come_up_is_not_found() -> None:
    """A tier without a model has no card."""
    router = FakeRouter()
    router.accurate.embedder._space = None
    async with router.client() as client:
        response = await client.get("/v1/models/accurate")

    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_model")


async def test_paths_that_end_in_a_name_take_get_alone() -> None:
    """And need the name."""
    async with FakeRouter().client() as client:
        wrong, empty = await client.post("/v1/models/fast"), await client.get("/v1/models/")

    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET")
    assert (empty.status_code, empty.json()["error"]["code"]) == (404, "not_found")


async def test_no_collection_is_listed_or_found() -> None:
    """None is served yet."""
    async with FakeRouter().client() as client:
        listed, one = await client.get("/v1/collections"), await client.get("/v1/collections/animals")

    CollectionsAnswer.model_validate_json(listed.content)
    assert listed.json() == {"object": "list", "data": []}
    assert (one.status_code, one.json()["error"]["code"]) == (404, "unknown_collection")


@pytest.mark.parametrize(
    ("document", "status", "code", "param"),
    [
        ({"query": "cat", "collection": "animals"}, 404, "unknown_collection", "collection"),
        (
            {"query": PICTURE, "collection": "animals", "top_k": 3, "tier": "fast"},
            404,
            "unknown_collection",
            "collection",
        ),
        ({"query": "", "collection": "animals"}, 400, "invalid_request", "query"),
        ({"query": "cat"}, 400, "invalid_request", "collection"),
        ({"query": "cat", "collection": "", "top_k": 3}, 400, "invalid_request", "collection"),
        ({"query": "cat", "collection": "animals", "top_k": 0}, 400, "invalid_request", "top_k"),
        ({"query": "cat", "collection": "animals", "tier": "slow"}, 400, "invalid_request", "tier"),
    ],
)
async def test_search_checks_what_it_is_asked(document: dict[str, Any], status: int, code: str, param: str) -> None:
    """Then it says that the collection is unknown."""
    async with FakeRouter().client() as client:
        response = await client.post("/v1/search", json=document)

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
