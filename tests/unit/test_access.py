"""Access over ASGI: who is let in where, with which key, how often, and from which page."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from router.access import Access
from router.access_config import AccessConfig
from router.api import Api
from router.errors import ConfigInvalid
from tests.fakes import FakeRouter
from tests.keys import ADMIN, OTHER, USER, bearer, entry

QUESTION = {"images": ["c3VyZQ=="], "texts": ["cat", "dog"]}
KEYS = (entry(USER, "user"), entry(OTHER, "other"), entry(ADMIN, "admin", role="admin"))
ALL_PATHS = [
    "/",
    "/v1/similarity",
    "/v1/embeddings",
    "/v1/models",
    "/admin/status",
    "/admin/policy",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/nowhere",
]
WRONG: list[dict[str, str]] = [
    {},
    bearer("sl_wrong"),
    bearer(USER[:-1]),
    {"X-Api-Key": "sl_wrong"},
    {"Authorization": f"Basic {USER}"},
    {"Authorization": USER},
    {**bearer("sl_wrong"), "X-Api-Key": USER},
]


def access(router: FakeRouter, **config: Any) -> Access:
    """The access of a router with three keys."""
    return Access(AccessConfig.model_validate(config), KEYS, clock=router.clock, wall_clock=lambda: router.clock.now)


def code(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an error, which has all four keys."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    return response.status_code, error["code"]


@pytest.mark.parametrize("path", ALL_PATHS)
@pytest.mark.parametrize("headers", WRONG)
async def test_nothing_is_open_without_a_valid_key(path: str, headers: dict[str, str]) -> None:
    """Whether there is such a route is not said either; all wrong keys are told the same."""
    router = FakeRouter()
    async with router.client(access=access(router)) as client:
        got, posted = await client.get(path, headers=headers), await client.post(path, headers=headers, content=b"{")

    assert code(got) == code(posted) == (401, "unauthorized")
    assert got.headers["www-authenticate"] == "Bearer"
    assert "retry-after" not in got.headers
    assert router.fast.handle.calls == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_needs_no_key(method: str, path: str) -> None:
    """Load balancers have none."""
    router = FakeRouter()
    async with router.client(access=access(router)) as client:
        assert (await client.request(method, path)).status_code == 200


@pytest.mark.parametrize("headers", [bearer(USER), {"X-Api-Key": USER}, {"Authorization": f"bearer  {USER}"}])
async def test_users_key_opens_what_users_call(headers: dict[str, str]) -> None:
    """In either header; documents included, operators' routes not."""
    router = FakeRouter()
    async with router.client(access=access(router)) as client:
        answered = await client.post("/v1/similarity", json=QUESTION, headers=headers)
        seen = [await client.get(path, headers=headers) for path in ("/v1/models", "/openapi.json", "/docs")]
        missing = await client.get("/nowhere", headers=headers)
        refused = [await client.get(path, headers=headers) for path in ("/admin/status", "/admin/nowhere", "/metrics")]

    assert [one.status_code for one in (answered, *seen)] == [200] * 4
    assert code(missing) == (404, "not_found")
    assert [code(one) for one in refused] == [(403, "forbidden")] * 3


async def test_admins_key_opens_everything() -> None:
    """What users call as well."""
    router = FakeRouter()
    async with router.client(access=access(router)) as client:
        answered = await client.post("/v1/similarity", json=QUESTION, headers=bearer(ADMIN))
        status = await client.get("/admin/status", headers=bearer(ADMIN))

    assert (answered.status_code, status.status_code) == (200, 200)


async def test_key_that_expires_is_a_wrong_one() -> None:
    """From one moment to the next, and told as any other."""
    router = FakeRouter()
    until = datetime.fromtimestamp(router.clock.now + 5, UTC)
    keys = (entry(USER, expires_at=until),)
    gate = Access(AccessConfig(), keys, clock=router.clock, wall_clock=lambda: router.clock.now)
    async with router.client(access=gate) as client:
        before = await client.get("/v1/models", headers=bearer(USER))
        router.clock.advance(5)
        after = await client.get("/v1/models", headers=bearer(USER))
        wrong = await client.get("/v1/models", headers=bearer(OTHER))

    assert before.status_code == 200
    assert after.json() == wrong.json()
    assert code(after) == (401, "unauthorized")


async def test_refusal_is_sent_before_any_body_is_read() -> None:
    """Nobody without a place gets the router to read megabytes."""
    router = FakeRouter()
    gate = access(router, quota={"requests_per_s": 1})
    api = Api(router.make_service(access=gate))
    statuses: list[int] = []
    reads: list[int] = []

    async def receive() -> dict[str, Any]:
        reads.append(len(statuses))
        return {"type": "http.request", "body": b"{", "more_body": False}

    async def send(message: Any) -> None:
        if "status" in message:
            statuses.append(message["status"])

    async def ask(headers: Mapping[str, str]) -> None:
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await api({"type": "http", "method": "POST", "path": "/v1/similarity", "headers": raw}, receive, send)

    for headers in ({}, bearer(USER), bearer(USER)):
        await ask(headers)

    assert statuses == [401, 400, 429]
    assert reads == [1]  # of the one that was let in


async def test_flood_of_one_key_is_refused_and_another_key_is_answered() -> None:
    """429 says when to come again; by then it is let in."""
    router = FakeRouter()
    async with router.client(access=access(router, quota={"requests_per_s": 2, "burst": 3})) as client:
        flood = [await client.get("/v1/models", headers=bearer(USER)) for _ in range(10)]
        other = await client.get("/v1/models", headers=bearer(OTHER))
        router.clock.advance(float(flood[-1].headers["retry-after"]))
        later = await client.get("/v1/models", headers=bearer(USER))

    assert [one.status_code for one in flood] == [200] * 3 + [429] * 7
    assert code(flood[-1]) == (429, "rate_limited")
    assert flood[-1].headers["retry-after"] == "1"
    assert (other.status_code, later.status_code) == (200, 200)


async def test_wrong_key_uses_up_nobodys_quota() -> None:
    """And a refused role has used up its own."""
    router = FakeRouter()
    async with router.client(access=access(router, quota={"requests_per_s": 1})) as client:
        for headers in WRONG:
            await client.get("/v1/models", headers=headers)
        answered = await client.get("/v1/models", headers=bearer(USER))

    assert answered.status_code == 200


async def test_admin_is_not_bounded_by_the_users_default() -> None:
    """Who has to see what is going on in a flood."""
    router = FakeRouter()
    async with router.client(access=access(router, quota={"requests_per_s": 1})) as client:
        statuses = [(await client.get("/admin/status", headers=bearer(ADMIN))).status_code for _ in range(5)]

    assert statuses == [200] * 5


async def test_requests_in_progress_are_bounded_per_key() -> None:
    """A place is free again when a request has ended, however it ended."""
    router = FakeRouter()
    router.fast.handle.hold()
    async with router.client(access=access(router, quota={"concurrent": 1})) as client:

        async def ask(key: str) -> httpx.Response:
            return await client.post("/v1/similarity", json=QUESTION, headers=bearer(key))

        first = asyncio.create_task(ask(USER))
        await router.fast.handle.called()
        refused = await ask(USER)
        other = asyncio.create_task(ask(OTHER))
        await asyncio.sleep(0)
        router.fast.handle.release()
        answers = await asyncio.gather(first, other)
        bad = await client.post("/v1/similarity", content=b"{", headers=bearer(USER))
        again = await ask(USER)

    assert code(refused) == (429, "rate_limited")
    assert [one.status_code for one in answers] == [200, 200]
    assert (bad.status_code, again.status_code) == (400, 200)


async def test_keys_are_replaced_while_requests_are_in_progress() -> None:
    """A revoked key's request is answered and its next is not; a key that stays keeps what it has used up."""
    router = FakeRouter()
    gate = access(router, quota={"requests_per_s": 1})
    router.fast.handle.hold()
    async with router.client(access=gate) as client:
        running = asyncio.create_task(client.post("/v1/similarity", json=QUESTION, headers=bearer(USER)))
        await router.fast.handle.called()
        await client.get("/v1/models", headers=bearer(OTHER))
        gate.use(KEYS[1:])
        revoked = await client.get("/v1/models", headers=bearer(USER))
        stays = await client.get("/v1/models", headers=bearer(OTHER))
        router.fast.handle.release()
        answered = await running

    assert answered.status_code == 200
    assert code(revoked) == (401, "unauthorized")
    assert code(stays) == (429, "rate_limited")


def test_keys_that_can_not_be_used_change_nothing() -> None:
    """As a whole or not at all."""
    router = FakeRouter()
    gate = access(router)

    with pytest.raises(ConfigInvalid):
        gate.use((entry(OTHER), entry(OTHER)))

    assert gate._books is not None
    assert len(gate._books.keys) == 3


async def test_refusals_carry_the_requests_id_and_speak_msgpack() -> None:
    """As every other answer."""
    router = FakeRouter()
    async with router.client(access=access(router)) as client:
        refused = await client.get("/v1/models", headers={"X-Request-Id": "mine", "Accept": "application/msgpack"})

    assert refused.headers["x-request-id"] == "mine"
    assert refused.headers["content-type"] == "application/msgpack"


async def test_no_key_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Right or wrong, in whatever header, whatever becomes of the request."""
    caplog.set_level("DEBUG")
    router = FakeRouter()
    async with router.client(access=access(router, quota={"requests_per_s": 1})) as client:
        for headers in (bearer(USER), bearer(USER), {"X-Api-Key": ADMIN}, bearer("sl_wrong")):
            await client.post("/v1/similarity", json=QUESTION, headers=headers)
            await client.get("/admin/status", headers=headers)

    assert not [secret for secret in (USER, ADMIN, "sl_wrong", "c3VyZQ==") if secret in caplog.text]


ORIGIN = "https://app.example.com"
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}


async def test_page_of_an_admitted_origin_may_ask_and_read() -> None:
    """Its browser asks first, without a key; the answer lets it send one and read what is said."""
    router = FakeRouter()
    async with router.client(access=access(router, cors_origins=[ORIGIN])) as client:
        preflight = await client.options("/v1/similarity", headers=PREFLIGHT)
        headers = {"Origin": ORIGIN, **bearer(USER)}
        answered = await client.post("/v1/similarity", json=QUESTION, headers=headers)
        refused = await client.post("/v1/similarity", json=QUESTION, headers={"Origin": ORIGIN})

    assert (preflight.status_code, preflight.content) == (204, b"")
    assert "x-api-key" in preflight.headers["access-control-allow-headers"]
    for response in (preflight, answered, refused):
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in response.headers
    assert "x-request-id" in answered.headers["access-control-expose-headers"]
    assert (answered.status_code, refused.status_code) == (200, 401)


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", "https://app.example.com.evil.com", "null", "http://app.example.com"]
)
async def test_page_of_another_origin_is_told_nothing(origin: str) -> None:
    """Only exact origins are admitted."""
    router = FakeRouter()
    async with router.client(access=access(router, cors_origins=[ORIGIN])) as client:
        preflight = await client.options("/v1/similarity", headers={**PREFLIGHT, "Origin": origin})
        answered = await client.get("/v1/models", headers={"Origin": origin, **bearer(USER)})

    assert code(preflight) == (401, "unauthorized")
    assert "access-control-allow-origin" not in preflight.headers
    assert "access-control-allow-origin" not in answered.headers
    assert answered.headers["vary"] == "Origin"


async def test_without_origins_no_page_may_read() -> None:
    """The default: a preflight is one more method that the route has not got."""
    async with FakeRouter().client() as client:
        preflight = await client.options("/v1/similarity", headers=PREFLIGHT)
        answered = await client.get("/v1/models", headers={"Origin": ORIGIN})

    assert preflight.status_code == 405
    assert not [name for name in answered.headers if name.startswith("access-control")]


async def test_origins_need_no_keys() -> None:
    """An open service on loopback may be called by a page that is developed there."""
    router = FakeRouter()
    gate = Access(AccessConfig(cors_origins=("http://localhost:5173",)), None)
    async with router.client(access=gate) as client:
        headers = {"Origin": "http://localhost:5173"}
        answered = await client.post("/v1/similarity", json=QUESTION, headers=headers)

    assert answered.status_code == 200
    assert answered.headers["access-control-allow-origin"] == "http://localhost:5173"
