"""The API around its routes: methods, limits, overload, ids, health, and faults that nobody foresaw."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import replace
from typing import Any

import httpx
import pytest

from router.admin_schemas import StatusAnswer
from router.api import Api
from router.config import LimitsConfig
from router.items import ItemReader
from router.readings import ListReader
from router.tenants import SharedReader
from router.tier_calls import TierShed, TierUnreachable
from tests.fakes import READER, FakeRouter

QUESTION = {"images": ["c3VyZQ=="], "texts": ["cat", "dog"]}


def code(response: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code and param of an error, which has all four keys."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    return response.status_code, error["code"], error["param"]


@pytest.mark.parametrize("path", ["/nowhere", "/v1/similarity/", "/V1/similarity", "/v1", "/%ff"])
async def test_unknown_path_is_not_found(path: str) -> None:
    """The message names the path."""
    async with FakeRouter().client() as client:
        response = await client.get(path)

    assert code(response) == (404, "not_found", None)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/similarity"), ("DELETE", "/v1/embeddings"), ("POST", "/v1/models")]
)
async def test_wrong_method_is_not_allowed(method: str, path: str) -> None:
    """The message names the method that is."""
    async with FakeRouter().client() as client:
        response = await client.request(method, path)

    assert code(response) == (405, "method_not_allowed", None)
    assert response.json()["error"]["message"] == ("use GET" if path == "/v1/models" else "use POST")


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/openapi.json", "/docs"])
async def test_head_is_get_without_a_body(path: str) -> None:
    """Monitors that ask with HEAD are answered."""
    async with FakeRouter().client() as client:
        head, get = await client.head(path), await client.get(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize("path", ["/v1/similarity", "/v1/embeddings"])
@pytest.mark.parametrize(
    ("content", "content_type", "expected"),
    [
        (b"{", "application/json", (400, "invalid_request", None)),
        (b"\xc1", "application/msgpack", (400, "invalid_request", None)),
        (b"[]", "application/json", (400, "invalid_request", None)),
        (b"<a/>", "text/xml", (415, "unsupported_media", None)),
        (b'"' + b"x" * 100_000, "application/json", (413, "too_large", None)),
        (b"[" * 90_000, "application/json", (400, "invalid_request", None)),
    ],
)
async def test_body_that_can_not_be_read_is_refused(
    path: str, content: bytes, content_type: str, expected: tuple[int, str, None]
) -> None:
    """Each way of being unreadable has its status, on every route that takes a body."""
    async with FakeRouter().client() as client:
        headers = {"content-type": content_type, "accept": "application/json"}
        response = await client.post(path, content=content, headers=headers)

    assert code(response) == expected


async def test_streamed_body_without_a_length_is_bounded() -> None:
    """Chunked uploads are counted as they come."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * 10_000

    async with FakeRouter().client() as client:
        response = await client.post("/v1/similarity", content=chunks())

    assert "content-length" not in response.request.headers
    assert code(response) == (413, "too_large", None)


@pytest.mark.parametrize("header", ["0", "soon", "-5", "1.5", ""])
async def test_deadline_that_is_no_number_is_refused(header: str) -> None:
    """The header is named as the parameter."""
    async with FakeRouter().client() as client:
        response = await client.post("/v1/similarity", json=QUESTION, headers={"X-Deadline-Ms": header})

    assert code(response) == (400, "invalid_request", "X-Deadline-Ms")


async def test_deadline_of_any_length_is_a_number() -> None:
    """Hundreds of digits mean the operator's deadline."""
    router = FakeRouter()
    async with router.client() as client:
        response = await client.post("/v1/similarity", json=QUESTION, headers={"X-Deadline-Ms": "9" * 400})

    assert response.status_code == 200
    assert router.fast.handle.timeouts_s == [30.0]


async def test_deadline_that_passes_at_the_tier_is_a_408() -> None:
    """The caller hears of it at its deadline, not when the tier is done."""
    router = FakeRouter()
    router.fast.handle.hold()
    async with router.client() as client:
        response = await client.post("/v1/similarity", json=QUESTION, headers={"X-Deadline-Ms": "20"})
    router.fast.handle.release()

    assert code(response) == (408, "deadline_exceeded", "images[0]")


async def test_body_that_never_arrives_is_a_408_at_the_deadline() -> None:
    """A client that stops sending keeps its place no longer than its deadline."""
    api = Api(FakeRouter().make_service())
    headers = [(b"x-deadline-ms", b"10")]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/similarity", "headers": headers}
    async with asyncio.timeout(5):
        await api(scope, receive, send)

    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["error"]["code"] == "deadline_exceeded"


@pytest.mark.parametrize("path", ["/admin/policy/validate", "/admin/policy/dry-run"])
async def test_operators_body_that_never_arrives_is_a_408_as_well(path: str) -> None:
    """Their routes have no deadline of their own: the service's longest is theirs."""
    api = Api(FakeRouter().make_service(deadline_s=0.01))
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(5):
        await api({"type": "http", "method": "POST", "path": path, "headers": []}, receive, send)

    assert sent[0]["status"] == 408


async def test_full_router_sheds_with_retry_after_and_stays_observable() -> None:
    """Over its bound a request is answered 503 at once; health and status still answer."""
    router = FakeRouter()
    router.fast.handle.hold()
    async with router.client(max_in_flight=1) as client:
        first = asyncio.create_task(client.post("/v1/similarity", json=QUESTION))
        await router.fast.handle.called()

        shed = await client.post("/v1/similarity", json=QUESTION)
        health, status = await client.get("/healthz"), await client.get("/admin/status")
        router.fast.handle.release()
        answered = await first
        afterwards = await client.post("/v1/similarity", json=QUESTION)

    assert code(shed) == (503, "overloaded", None)
    assert shed.headers["retry-after"] == "1"
    assert (health.status_code, status.status_code) == (200, 200)
    assert (answered.status_code, afterwards.status_code) == (200, 200)


async def test_errors_leave_nothing_in_flight() -> None:
    """Refused requests give their place back."""
    router = FakeRouter()
    async with router.client(max_in_flight=1) as client:
        statuses = [(await client.post("/v1/similarity", content=b"{")).status_code for _ in range(5)]

    assert statuses == [400] * 5


async def test_request_id_is_echoed_on_answers_and_errors() -> None:
    """Whatever becomes of a request, it can be found again."""
    async with FakeRouter().client() as client:
        headers = {"X-Request-Id": "mine"}
        answered = await client.post("/v1/similarity", json=QUESTION, headers=headers)
        refused = await client.post("/v1/similarity", content=b"{", headers=headers)

    assert [r.headers["x-request-id"] for r in (answered, refused)] == ["mine", "mine"]


class FaultyReader(ItemReader):
    """A reader with a fault of ours in it."""

    __slots__ = ()

    def read(self, *_: object, **__: object) -> Any:
        """Fail as no code should."""
        raise RuntimeError("secret detail")


async def test_fault_of_ours_is_a_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """The caller gets a fixed text and an id; the log has the rest under that id."""
    faulty = FaultyReader(READER.hasher, 10)
    async with FakeRouter().client(readers=SharedReader(ListReader(faulty))) as client:
        response = await client.post("/v1/similarity", json=QUESTION, headers={"X-Request-Id": "mine"})

    assert code(response) == (500, "internal", None)
    assert "secret" not in response.text
    assert "secret detail" in caplog.text
    assert [getattr(record, "request_id", None) for record in caplog.records] == ["mine"]


async def test_limits_are_the_deployments() -> None:
    """A service that allows one image refuses two."""
    limits = LimitsConfig(images=1)
    async with FakeRouter().client(limits=limits) as client:
        response = await client.post("/v1/similarity", json={**QUESTION, "images": ["c3VyZQ==", "c3VyZQ=="]})

    assert code(response) == (413, "too_large", "images")
    assert response.json()["error"]["message"] == "images: at most 1 in one request"


async def test_health_is_of_the_process_and_readiness_of_the_tiers() -> None:
    """A router whose tiers are gone is alive and not ready."""
    router = FakeRouter()
    async with router.client() as client:
        ready = await client.get("/readyz")
        router.fast.handle.fault = TierUnreachable()
        router.clock.advance(60)
        unready, alive = await client.get("/readyz"), await client.get("/healthz")

    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})
    assert code(unready) == (503, "unavailable", None)
    assert unready.headers["retry-after"] == "1"
    assert alive.json() == {"status": "ok"}


async def test_status_shows_tiers_cache_and_policy() -> None:
    """What went where, after one question."""
    router = FakeRouter()
    router.place(b"sure", fast=(0.6, 0.4), accurate=(0.6, 0.4))
    async with router.client() as client:
        await client.post("/v1/similarity", json=QUESTION)
        response = await client.get("/admin/status")

    StatusAnswer.model_validate_json(response.content)
    status = response.json()
    assert status["policy"]["version"] == router.make_service().policy.version
    assert status["requests"]["in_flight"] == 1
    fast, accurate = status["tiers"]["fast"], status["tiers"]["accurate"]
    assert (fast["model"], fast["breaker"], fast["items"], fast["held_items"]) == ("tiny-fast@f1", "closed", 3, 0)
    assert accurate["calls"] == 0
    assert status["cache"]["l1_items"] == 3


async def test_lifespan_is_answered_and_other_connections_are_not() -> None:
    """Servers that ask for start and stop get their answer; a websocket gets none."""
    api = Api(FakeRouter().make_service())
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await api({"type": "lifespan"}, receive, send)
    await api({"type": "websocket"}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_service_is_one_set_of_parts() -> None:
    """Replacing a part leaves the others as they are."""
    service = FakeRouter().make_service()

    assert replace(service, max_in_flight=1).policy is service.policy


async def left_behind(api: Api, path: str, document: dict[str, Any], status: int) -> int:
    """Bytes that twenty requests leave in memory which all end with this status."""

    async def fail() -> None:
        body, statuses = json.dumps(document).encode(), []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            statuses.append(message.get("status"))

        await api({"type": "http", "method": "POST", "path": path, "headers": []}, receive, send)
        assert statuses[0] == status

    await fail()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(20):
            await fail()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    return left


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1/similarity", {"images": ["?" * 90_000], "texts": ["cat", "dog"]}),
        ("/v1/similarity", {"images": ["c3VyZQ=="], "texts": [{"image": "?" * 90_000}]}),
        ("/v1/embeddings", {"model": "fast", "input": ["cat", {"image": "?" * 90_000}]}),
        ("/v1/classify", {"input": ["?" * 90_000], "labels": ["cat"]}),
        ("/v1/score", {"queries": "cat", "documents": [{"image": "?" * 90_000}]}),
        ("/v1/rerank", {"query": "cat", "documents": [{"image": "?" * 90_000}]}),
    ],
)
async def test_failed_request_leaves_nothing_behind(path: str, document: dict[str, Any]) -> None:
    """An error that kept its frames, and they the body, would fill the memory faster than garbage is collected."""
    api = Api(FakeRouter().make_service())  # without a client, which leaves circles of its own

    assert await left_behind(api, path, document, 400) < 5 * 90_000


@pytest.mark.parametrize("route", ["similarity", "classify", "score", "rerank"])
@pytest.mark.parametrize("is_shed", [False, True])
async def test_request_that_a_tier_fails_leaves_nothing_behind(route: str, *, is_shed: bool) -> None:
    """Whether all is shed or every candidate is bad: what the cascade raises keeps frames, too."""
    router = FakeRouter()
    router.fast.handle.fault = TierShed() if is_shed else None
    router.fast.handle.bad_items["wordy"] = "too_large"
    router.accurate.handle.bad_items["wordy"] = "too_large"
    picture = {"image": " " * 90_000 + "c3VyZQ=="}
    documents: dict[str, dict[str, Any]] = {
        "similarity": {"images": [picture], "texts": ["wordy"]},
        "classify": {"input": [picture], "labels": ["wordy"]},
        "score": {"queries": "wordy", "documents": [picture]},
        "rerank": {"query": picture, "documents": ["wordy"]},
    }

    left = await left_behind(Api(router.make_service()), f"/v1/{route}", documents[route], 503 if is_shed else 413)

    assert left < 5 * 90_000


async def test_million_unknown_fields_are_one_error() -> None:
    """The first one is named; the others cost nothing."""
    document = {**QUESTION, **{f"field{number}": 0 for number in range(5000)}}
    async with FakeRouter().client() as client:
        response = await client.post("/v1/similarity", json=document)

    assert code(response) == (400, "invalid_request", "field0")
