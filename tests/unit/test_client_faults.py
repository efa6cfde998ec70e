"""What callers of both clients see when a service refuses, fails, is slow or goes away, over real HTTP."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import httpx
import pytest

from secondlook import ApiError, AsyncClient, ConnectionFailed, DeadlineExceeded, Overloaded, RateLimited
from secondlook.client.connection import new_request
from secondlook.client.flow import Outgoing
from tests.client_drivers import DRIVERS, Ask, Connect
from tests.contract_service import BAD, ContractService, refusal
from tests.http_server import Answer, Asked, Cut, Drops, Reply, serving


@dataclass
class Refusing:
    """A service that refuses the first requests, then answers."""

    service: ContractService
    refusals: list[Reply]
    asked: list[Asked] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Reply:
        """Refuse or answer."""
        self.asked.append(asked)
        return self.refusals.pop(0) if self.refusals else self.service(asked)


@pytest.mark.parametrize("code", ["overloaded", "rate_limited"])
def test_refused_request_is_sent_again(connect: Connect, service: ContractService, code: str) -> None:
    """Under the same id, with less time left."""
    refusing = Refusing(service, [refusal(code, Retry_After="0"), refusal(code)])

    answer = connect(refusing)("similarity", b"1", "a")

    assert answer.items[0].index == 0
    assert len(refusing.asked) == 3
    assert len({asked.headers["x-request-id"] for asked in refusing.asked}) == 1


@pytest.mark.parametrize(("code", "error"), [("overloaded", Overloaded), ("rate_limited", RateLimited)])
def test_retry_after_beyond_the_deadline_is_told_at_once(
    connect: Connect, service: ContractService, code: str, error: type[ApiError]
) -> None:
    """Nobody waits for what can't come."""
    refusing = Refusing(service, [refusal(code, Retry_After="60")])

    with pytest.raises(error):
        connect(refusing)("similarity", b"1", "a", deadline_s=5)

    assert len(refusing.asked) == 1


def test_other_errors_are_not_sent_again(connect: Connect, service: ContractService) -> None:
    """A bad picture does not get better."""
    with pytest.raises(ApiError) as raised:
        connect(service)("similarity", BAD, "a")

    assert (raised.value.status, raised.value.code) == (422, "bad_image")
    assert len(service.asked) == 1


def test_json_is_read_as_well(connect: Connect) -> None:
    """From a gateway that answers in its own format."""
    told = {"error": {"message": "no", "type": "t", "code": "unauthorized", "param": None}}

    with pytest.raises(ApiError) as raised:
        connect(lambda _: Answer(told, 401, as_json=True))("models")

    assert (raised.value.status, raised.value.code, raised.value.message) == (401, "unauthorized", "no")


@pytest.mark.parametrize("reply", [Cut(), Answer({"object": "list", "data": []}, promised=100)])
def test_cut_connection_is_a_failed_one(connect: Connect, reply: Reply) -> None:
    """Before the answer or in the middle of it."""
    with pytest.raises(ConnectionFailed) as raised:
        connect(lambda _: reply)("models")

    assert raised.value.request_id


@pytest.mark.parametrize("driver", DRIVERS)
def test_nobody_listening_is_a_failed_connection(driver: Callable[..., AbstractContextManager[Ask]]) -> None:
    """The message names the address."""
    with driver("http://127.0.0.1:9") as ask, pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1:9"):
        ask("models")


@pytest.mark.parametrize("every_s", [0.02, 60.0])
def test_deadline_holds_against_a_slow_server(connect: Connect, every_s: float) -> None:
    """One that sends nothing, and one that sends drop by drop, which no time-out of a single read would notice."""
    test_is_over = threading.Event()
    try:
        with pytest.raises(DeadlineExceeded):
            connect(lambda _: Drops(test_is_over, every_s))("models", deadline_s=0.2)
    finally:
        test_is_over.set()


async def test_call_that_nobody_waits_for_ends(service: ContractService) -> None:
    """It is cancelled as any other; the client goes on."""
    has_come, test_is_over = threading.Event(), threading.Event()

    def hold_the_first(asked: Asked) -> Reply:
        is_first = not has_come.is_set()
        has_come.set()
        return Drops(test_is_over) if is_first else service(asked)

    with serving(hold_the_first) as url:
        async with AsyncClient(url) as client:
            call = asyncio.create_task(client.models())
            await asyncio.to_thread(has_come.wait, 10)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            (model,) = await client.models()
        test_is_over.set()

    assert model.id == "f"


def test_deadline_that_passed_during_a_pause_sends_nothing(service: ContractService) -> None:
    """As when the machine slept meanwhile."""
    outgoing = Outgoing("GET", "/v1/models", {"X-Request-Id": "id-1"}, None, give_up_at=time.monotonic() - 1)

    with httpx.Client() as http, pytest.raises(DeadlineExceeded):
        new_request(http, outgoing)
