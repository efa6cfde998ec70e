"""The OpenAPI document: every route, made from the models that validate."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from router.api import Api
from router.errors import ERROR_TABLE
from router.openapi import openapi_document, reference_page
from tests.fakes import FakeRouter

UNDOCUMENTED = {"/openapi.json", "/docs"}
QUESTION = {"images": ["c3VyZQ==", "?"], "texts": ["cat", "dog", ""]}


def schema(name: str) -> Draft202012Validator:
    """A validator of one of the document's models."""
    components = openapi_document()["components"]
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components})


def references(node: object) -> set[str]:
    """Every $ref in a document."""
    if isinstance(node, dict):
        own = {node["$ref"]} if "$ref" in node else set()
        return own.union(*(references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(references(value) for value in node))
    return set()


def operations() -> list[dict[str, Any]]:
    """Every operation of the document."""
    return [operation for methods in openapi_document()["paths"].values() for operation in methods.values()]


def test_document_has_every_route_with_its_methods() -> None:
    """Except the document itself and the page made from it."""
    routes = Api(FakeRouter().make_service())._routes

    documented = {path: {method.upper() for method in methods} for path, methods in openapi_document()["paths"].items()}

    assert documented == {path: set(methods) for path, methods in routes.items() if path not in UNDOCUMENTED}


def test_document_has_the_parts_that_openapi_requires() -> None:
    """Version, title, and an answer with a description in every operation, each under a name of its own."""
    document = openapi_document()

    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"]
    assert document["info"]["version"]
    assert all(response["description"] for operation in operations() for response in operation["responses"].values())
    names = [operation["operationId"] for operation in operations()]
    assert len(names) == len(set(names))


def test_every_reference_leads_to_a_schema() -> None:
    """And every schema is a valid JSON Schema."""
    schemas = openapi_document()["components"]["schemas"]

    assert references(openapi_document()) <= {f"#/components/schemas/{name}" for name in schemas}
    for model in schemas.values():
        Draft202012Validator.check_schema(model)


def test_errors_are_documented_with_the_tables_statuses() -> None:
    """Statuses of errors come from the table, and their codes stand in the description."""
    codes = {str(error.status): error.code for error in ERROR_TABLE}
    for operation in operations():
        for status, response in operation["responses"].items():
            if status not in ("200", "304"):
                assert status in codes
                assert "`" in response["description"]


def test_answers_and_errors_are_documented_in_both_encodings() -> None:
    """The answer comes as the body did, or as `Accept` says, whatever its status."""
    responses = [response for operation in operations() for response in operation["responses"].values()]
    contents = [response["content"] for response in responses if "content" in response]

    assert all(content.keys() == {"application/json", "application/msgpack"} for content in contents)


def test_what_any_route_may_be_told_is_documented_for_each() -> None:
    """A fault of ours, and under /v1 that the router has enough to do."""
    for path, methods in openapi_document()["paths"].items():
        for operation in methods.values():
            assert "500" in operation["responses"], path
            assert not path.startswith("/v1/") or "503" in operation["responses"], path


def test_form_is_documented_as_flat() -> None:
    """Fields and files, no objects and no null; lists are names that come again."""
    content = openapi_document()["paths"]["/v1/rerank"]["post"]["requestBody"]["content"]
    form = Draft202012Validator(content["multipart/form-data"]["schema"])

    assert form.is_valid({"query": "cat", "documents": ["dog"], "top_n": 1, "return_documents": "true"})
    for change in ({"documents": "dog"}, {"query": {"text": "cat"}}, {"top_n": None}, {"return_documents": True}):
        assert not form.is_valid({"query": "cat", "documents": ["dog"], **change}), change


def test_pages_and_tags_are_documented() -> None:
    """The audit log's `after` and `limit`; a policy that has not changed."""
    paths = openapi_document()["paths"]
    audit, policy = paths["/admin/audit"]["get"], paths["/admin/policy"]["get"]

    assert {one["name"] for one in audit["parameters"] if one["in"] == "query"} == {"after", "limit"}
    assert "If-None-Match" in {one["name"] for one in policy["parameters"]}
    assert "304" in policy["responses"]


def test_document_says_which_routes_take_keys_and_what_refuses_them() -> None:
    """Both ways to send one, everywhere but for health; 403 where an admin's is asked."""
    document = openapi_document()
    schemes = document["components"]["securitySchemes"]
    assert {(one["type"], one.get("scheme"), one.get("name")) for one in schemes.values()} == {
        ("http", "bearer", None),
        ("apiKey", None, "X-Api-Key"),
    }
    for path, methods in document["paths"].items():
        for operation in methods.values():
            refusals = {"401", "403", "429"} & operation["responses"].keys()
            if path in ("/healthz", "/readyz"):
                assert (operation["security"], refusals) == ([], set())
            else:
                assert operation["security"] == [{name: []} for name in schemes]
                assert refusals == ({"401", "403", "429"} if path.startswith("/admin") else {"401", "429"}), path


@pytest.mark.parametrize(
    ("path", "document", "model"),
    [
        ("/v1/similarity", QUESTION, "SimilarityAnswer"),
        ("/v1/similarity", {**QUESTION, "threshold": 0.5, "tier": "accurate"}, "SimilarityAnswer"),
        ("/v1/similarity", {"images": ["c3VyZQ=="], "texts": ["cat"]}, "SimilarityAnswer"),
        ("/v1/similarity", {"images": []}, "ErrorAnswer"),
        ("/v1/embeddings", {"model": "fast", "input": "a cat"}, "EmbeddingsAnswer"),
        ("/v1/embeddings", {"model": "fast", "input": "a cat", "encoding_format": "base64"}, "EmbeddingsAnswer"),
        ("/v1/classify", {"input": ["c3VyZQ==", "?"], "labels": ["cat", "dog", ""], "top_k": 1}, "ClassifyAnswer"),
        ("/v1/classify", {"input": ["c3VyZQ=="], "labels": ["cat"]}, "ClassifyAnswer"),
        ("/v1/classify", {"input": ["c3VyZQ=="], "collection": "animals"}, "ErrorAnswer"),
        ("/v1/score", {"queries": "cat", "documents": ["dog", {"image": "c3VyZQ=="}, ""]}, "ScoreAnswer"),
        ("/v1/score", {"text_1": "cat", "text_2": [{"image": "c3VyZQ=="}], "threshold": 0.5}, "ScoreAnswer"),
        ("/v1/rerank", {"query": "cat", "documents": ["dog", ""], "return_documents": True}, "RerankAnswer"),
        ("/v1/rerank", {"query": "cat", "documents": [{"image": "c3VyZQ=="}] * 2}, "RerankAnswer"),
        ("/v1/search", {"query": "cat", "collection": "animals"}, "ErrorAnswer"),
        ("/v1/collections", None, "CollectionsAnswer"),
        ("/v1/collections/animals", None, "ErrorAnswer"),
        ("/v1/models/fast", None, "ModelCard"),
        ("/v1/models/gpt-9", None, "ErrorAnswer"),
        ("/v1/models", None, "ModelsAnswer"),
        ("/healthz", None, "HealthAnswer"),
        ("/readyz", None, "HealthAnswer"),
        ("/admin/status", None, "StatusAnswer"),
        ("/nowhere", None, "ErrorAnswer"),
    ],
)
async def test_answer_is_what_the_document_says(path: str, document: dict[str, Any] | None, model: str) -> None:
    """Real answers validate against the published schemas."""
    async with FakeRouter().client() as client:
        response = await (client.get(path) if document is None else client.post(path, json=document))

    schema(model).validate(response.json())


@pytest.mark.parametrize(
    "item",
    ["a cat", {"text": "a cat"}, {"image": "aGk="}, {"image_url": {"url": "data:,"}}, {"key": f"i:{'01' * 17}"}],
)
def test_every_form_of_an_item_is_in_the_request_schema(item: object) -> None:
    """What the contract admits, the published schema admits."""
    schema("SimilarityRequest").validate({"images": [item], "texts": [item]})


@pytest.mark.parametrize("item", [7, None, {}, {"text": "a", "image": "b"}, {"other": "a"}, {"key": "x"}])
def test_what_is_no_item_is_not_in_the_request_schema(item: object) -> None:
    """A client that validates first hears of it before it sends."""
    assert not schema("SimilarityRequest").is_valid({"images": [item], "texts": ["a"]})


async def test_document_and_page_are_served() -> None:
    """The one as JSON, the other as a page that loads nothing from elsewhere."""
    async with FakeRouter().client() as client:
        document, page = await client.get("/openapi.json"), await client.get("/docs")

    assert document.json() == openapi_document()
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text == reference_page()
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert all(path in page.text for path in openapi_document()["paths"])
