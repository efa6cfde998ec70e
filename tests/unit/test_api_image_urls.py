"""Images behind URLs in requests: fetched before anything else is done with them, and then images like any other."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from router.config import ImageUrlsConfig
from router.readings import ListReader
from router.schemas import EmbeddingsAnswer, SimilarityAnswer
from router.tenants import SharedReader
from tests.fakes import READER, FakeRouter, image
from tests.pictures import as_base64, picture
from tests.web_server import WebServer, fetcher, forever, response, url

PNG, OTHER = picture(1), picture(2)


@pytest.fixture
async def server() -> AsyncIterator[WebServer]:
    """A web server with two pictures and a page."""
    async with WebServer().listen() as server:
        server.answers |= {"/a.png": response(PNG), "/b.png": response(OTHER), "/page": response(b"<html></html>")}
        yield server


def by_url(server: WebServer, path: str) -> dict[str, Any]:
    """An image that the server has."""
    return {"image_url": {"url": url(server, path)}}


async def post(router: FakeRouter, server: WebServer | None, path: str, document: dict[str, Any]) -> httpx.Response:
    """Ask a router that fetches from the server, or from nowhere."""
    images = fetcher(server, clock=router.clock) if server is not None else None
    async with router.client(readers=SharedReader(ListReader(READER, fetcher=images))) as client:
        return await client.post(path, json=document)


async def test_image_behind_a_url_is_the_image_itself(server: WebServer) -> None:
    """It is known by its bytes: one fetched before, or sent, is a hit."""
    router = FakeRouter()
    document = {"images": [by_url(server, "/a.png")], "texts": ["cat", "dog"]}
    first = (await post(router, server, "/v1/similarity", document)).json()["data"][0]
    calls = len(router.fast.handle.calls)

    again = (await post(router, server, "/v1/similarity", document)).json()["data"][0]
    sent = (await post(router, server, "/v1/similarity", {**document, "images": [as_base64(PNG)]})).json()["data"][0]

    assert first["key"] == again["key"] == sent["key"] == image(PNG).key
    assert [one["tiering"]["cache"]["image"] for one in (first, again, sent)] == ["miss", "hit", "hit"]
    assert len(router.fast.handle.calls) == calls
    assert server.paths == ["/a.png", "/a.png"]  # never cached by its URL


async def test_url_of_which_the_picture_changes_is_another_image(server: WebServer) -> None:
    """No answer is one about yesterday's picture."""
    router = FakeRouter()
    document = {"images": [by_url(server, "/a.png")], "texts": ["cat", "dog"]}
    await post(router, server, "/v1/similarity", document)
    server.answers["/a.png"] = response(OTHER)

    (item,) = (await post(router, server, "/v1/similarity", document)).json()["data"]

    assert item["key"] == image(OTHER).key


async def test_image_that_can_not_be_fetched_fails_alone(server: WebServer) -> None:
    """Each has its place, its status and its parameter; the others are answered."""
    images: list[Any] = [
        *(by_url(server, "/gone"), as_base64(PNG)),
        *({"image_url": {"url": "http://127.0.0.1/"}}, by_url(server, "/b.png")),
    ]

    answer = await post(FakeRouter(), server, "/v1/similarity", {"images": images, "texts": ["cat", "dog"]})

    SimilarityAnswer.model_validate_json(answer.content)
    data = answer.json()["data"]
    assert [item.get("key") for item in data] == [None, image(PNG).key, None, image(OTHER).key]
    errors = [(data[place]["error"]["code"], data[place]["error"]["param"]) for place in (0, 2)]
    assert errors == [("bad_image", "images[0]"), ("invalid_request", "images[2]")]


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/gone", (422, "bad_image")), ("/page", (415, "unsupported_media"))],
)
async def test_request_fails_where_its_only_image_can_not_be_fetched(
    server: WebServer, path: str, expected: tuple[int, str]
) -> None:
    """With the status of what went wrong, on both routes."""
    similarity = {"images": [by_url(server, path)], "texts": ["cat"]}
    embeddings = {"model": "fast", "input": [as_base64(PNG), by_url(server, path)], "modality": "image"}

    for route, document, param in (
        ("/v1/similarity", similarity, "images[0]"),
        ("/v1/embeddings", embeddings, "input[1]"),
    ):
        answer = await post(FakeRouter(), server, route, document)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (*expected, param)


async def test_embeddings_take_urls_among_texts(server: WebServer) -> None:
    """Alone or in a list, in their order; a URL that stands there twice is fetched once."""
    router = FakeRouter()
    document = {"model": "fast", "input": [by_url(server, "/a.png"), "cat", by_url(server, "/a.png")]}

    answer = await post(router, server, "/v1/embeddings", document)
    alone = await post(router, server, "/v1/embeddings", {"model": "fast", "input": by_url(server, "/b.png")})

    EmbeddingsAnswer.model_validate_json(answer.content)
    keys = [item["key"] for item in answer.json()["data"]]
    assert keys == [image(PNG).key, READER.read("cat", "text").key, image(PNG).key]
    assert [item["key"] for item in alone.json()["data"]] == [image(OTHER).key]
    assert server.paths == ["/a.png", "/b.png"]


@pytest.mark.parametrize(
    ("route", "rest"),
    [
        ("/v1/similarity", {"texts": [""]}),
        ("/v1/similarity", {"texts": ["cat"] * 6}),
        ("/v1/embeddings", {"model": "fast", "input": ["", "URL"]}),
        ("/v1/embeddings", {"model": "fast", "input": ["URL"] * 5}),
        ("/v1/classify", {"input": ["URL"], "labels": [""]}),
        ("/v1/score", {"queries": ["URL"], "documents": [""]}),
        ("/v1/score", {"queries": ["URL", "cat"], "documents": ["URL"]}),
        ("/v1/rerank", {"query": "", "documents": ["URL"]}),
        ("/v1/rerank", {"query": "URL", "documents": ["", ""]}),
        ("/v1/rerank", {"query": "cat", "documents": ["URL"] * 5}),
    ],
)
async def test_nothing_is_fetched_for_a_request_that_fails_anyway(
    server: WebServer, route: str, rest: dict[str, Any]
) -> None:
    """A bad item, or more items than there may be, is found before a connection is made."""
    one = by_url(server, "/a.png")
    document = {
        name: [one if v == "URL" else v for v in value] if isinstance(value, list) else one if value == "URL" else value
        for name, value in rest.items()
    }
    if route == "/v1/similarity":
        document["images"] = [one]

    answer = await post(FakeRouter(), server, route, document)

    assert answer.status_code in {400, 413}
    assert server.connections == 0


@pytest.mark.parametrize(
    ("route", "document"),
    [
        ("/v1/classify", {"input": ["URL", "GONE"], "labels": ["cat", "dog"]}),
        ("/v1/score", {"queries": "URL", "documents": ["cat", "GONE"]}),
        ("/v1/rerank", {"query": "cat", "documents": ["URL", "GONE"]}),
    ],
)
async def test_every_route_fetches_and_one_lost_image_fails_alone(
    server: WebServer, route: str, document: dict[str, Any]
) -> None:
    """The one that is there is answered."""
    places = {"URL": by_url(server, "/a.png"), "GONE": by_url(server, "/gone")}

    def put_in(value: Any) -> Any:
        return [put_in(one) for one in value] if isinstance(value, list) else places.get(value, value)

    answer = await post(FakeRouter(), server, route, {name: put_in(value) for name, value in document.items()})

    parsed = answer.json()
    first, gone = parsed.get("data") or parsed["results"]
    assert "error" not in first
    assert (gone["index"], gone["error"]["code"]) == (1, "bad_image")


async def test_lost_query_fails_a_ranking(server: WebServer) -> None:
    """There is nothing to rank by."""
    document = {"query": by_url(server, "/gone"), "documents": ["cat"]}

    answer = await post(FakeRouter(), server, "/v1/rerank", document)

    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "query")


async def test_url_is_no_text(server: WebServer) -> None:
    """Among texts it fails alone, unfetched."""
    answer = await post(
        FakeRouter(), server, "/v1/similarity", {"images": [as_base64(PNG)], "texts": ["cat", by_url(server, "/a.png")]}
    )

    (failed,) = answer.json()["texts"]
    assert failed["error"]["message"] == "expected a text, not an image"
    assert server.connections == 0


async def test_image_that_takes_longer_than_the_request_may_is_a_408(server: WebServer) -> None:
    """The caller's deadline holds for what is fetched too."""
    server.answers["/slow"] = forever
    router = FakeRouter()
    images = fetcher(server, clock=router.clock)
    async with router.client(readers=SharedReader(ListReader(READER, fetcher=images))) as client:
        document = {"images": [by_url(server, "/slow")], "texts": ["cat"]}
        answer = await client.post("/v1/similarity", json=document, headers={"X-Deadline-Ms": "100"})

    assert answer.status_code == 408


@pytest.mark.parametrize("route", ["/v1/similarity", "/v1/embeddings"])
async def test_no_url_is_fetched_by_default(server: WebServer, route: str) -> None:
    """An operator who names no host has a service that connects to nobody."""
    one = by_url(server, "/a.png")
    document = {"images": [one], "texts": ["cat"]} if route == "/v1/similarity" else {"model": "fast", "input": [one]}

    answer = await post(FakeRouter(), None, route, document)

    assert ImageUrlsConfig().allowed_hosts == ()
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert answer.json()["error"]["message"] == "this service fetches no URLs; send a data: URL or the bytes"
    assert server.connections == 0
