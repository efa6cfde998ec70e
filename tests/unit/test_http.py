"""HTTP in and out over raw ASGI: bounded bodies, two encodings, one shape of answers."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import ApiError, InvalidRequest, Overloaded, TooLarge, UnsupportedMedia
from router.http import (
    DISCARD_FACTOR,
    MAX_REQUEST_ID_CHARS,
    MSGPACK,
    Request,
    Response,
    error_response,
    parse_body,
    read_body,
    read_request,
    send_response,
)
from router.schemas import SimilarityRequest

BODY = {"images": ["aGk="], "texts": ["a cat"]}


class Client:
    """The other end of an ASGI connection: sends a body in chunks, keeps what comes back."""

    def __init__(self, *chunks: bytes, leaves: bool = False) -> None:
        self._messages: list[dict[str, Any]] = [{"type": "http.request", "body": c, "more_body": True} for c in chunks]
        self._messages.append({"type": "http.disconnect"} if leaves else {"type": "http.request", "more_body": False})
        self.read = 0
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        """The next message."""
        self.read += 1
        return self._messages[self.read - 1]

    async def send(self, message: Any) -> None:
        """Keep a message of the answer."""
        self.sent.append(message)

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers."""
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}


def request(
    client: Client | None = None,
    headers: Iterable[tuple[str, str]] = (),
    *,
    method: str = "POST",
    names_itself: bool = True,
) -> Request:
    """A request as it is read from an ASGI scope."""
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "method": method, "path": "/v1/similarity", "headers": encoded}
    return read_request(scope, (client or Client()).receive, names_itself=names_itself)


def parse(data: bytes, content_type: str | None = None) -> SimilarityRequest:
    """Parse a body of this type."""
    headers = [] if content_type is None else [("content-type", content_type)]
    return parse_body(request(headers=headers), data, SimilarityRequest)


@pytest.mark.parametrize(
    "chunks", [(b"hello",), (b"he", b"llo"), (b"", b"hello", b""), tuple(b"%c" % c for c in b"hello")]
)
async def test_body_is_joined_from_its_chunks(chunks: tuple[bytes, ...]) -> None:
    """However the server cuts it, at the limit it is read whole."""
    assert await read_body(request(Client(*chunks)), 5) == b"hello"


async def test_body_without_a_byte_is_empty() -> None:
    """No chunk at all is an empty body."""
    assert await read_body(request(Client()), 5) == b""


@pytest.mark.parametrize("headers", [[], [("content-length", "6")], [("content-length", "1")]])
async def test_body_over_its_limit_is_too_large_whatever_content_length_says(headers: list[tuple[str, str]]) -> None:
    """What counts is what came; the rest of a slightly larger body is read, so that the client hears of it."""
    client = Client(b"hello", b"!")

    with pytest.raises(TooLarge, match="at most 5 bytes"):
        await read_body(request(client, headers), 5)
    assert client.read == 3


async def test_body_far_over_its_limit_is_not_read_to_its_end() -> None:
    """A client that sends without end is left at some multiple of the limit."""
    client = Client(*[b"x" * 5] * 100)

    with pytest.raises(TooLarge):
        await read_body(request(client), 5)
    assert client.read == DISCARD_FACTOR + 1


async def test_body_that_is_cut_off_is_an_invalid_request() -> None:
    """A client that leaves in the middle is no fault of ours."""
    with pytest.raises(InvalidRequest, match="cut off"):
        await read_body(request(Client(b"he", leaves=True)), 5)


@pytest.mark.parametrize("content_type", [None, "application/json", "Application/JSON; charset=utf-8"])
def test_json_body_is_read(content_type: str | None) -> None:
    """Parameters and case of the content type do not matter; none at all means JSON."""
    assert parse(orjson.dumps(BODY), content_type).texts == ["a cat"]


def test_msgpack_body_is_read_with_binary_values() -> None:
    """Images come as bytes, without base64."""
    body = parse(msgpack.packb({"images": [b"\xff\xd8"], "texts": ["a cat"]}), MSGPACK)

    assert body.images == [b"\xff\xd8"]


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/x-www-form-urlencoded", "json"])
def test_other_content_types_are_unsupported(content_type: str) -> None:
    """The message names those that we read."""
    with pytest.raises(UnsupportedMedia, match="application/json, application/msgpack or multipart/form-data"):
        parse(orjson.dumps(BODY), content_type)


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"\xff\xfe", "application/json"),
        (b'{"images": ["\\ud83d"], "texts": ["a"]}', "application/json"),
        (b'{"images": [NaN], "texts": ["a"]}', "application/json"),
        (b"[" * 100_000 + b"]" * 100_000, "application/json"),
        (b"", MSGPACK),
        (b"\xc1", MSGPACK),
        (b"\x80\x80", MSGPACK),
        (b"\xa2\xff\xff", MSGPACK),
        (b"\x81\x01\x02", MSGPACK),
        (b"\xc6\xff\xff\xff\xff", MSGPACK),
        (b"\x91" * 100_000 + b"\xc0", MSGPACK),
    ],
)
def test_body_that_can_not_be_decoded_is_an_invalid_request(data: bytes, content_type: str) -> None:
    """Cut, of no encoding, nested without end or lying about its length: said in our words."""
    with pytest.raises(InvalidRequest, match=r"the body is not valid (JSON|msgpack)"):
        parse(data, content_type)


@pytest.mark.parametrize("data", [b"[]", b'"text"', b"null", b"7"])
def test_body_that_is_no_object_is_refused(data: bytes) -> None:
    """Fields have names."""
    with pytest.raises(InvalidRequest, match="object with named fields"):
        parse(data)


@pytest.mark.parametrize(
    ("change", "param", "problem"),
    [
        ({"texts": None}, "texts", "expected a list"),
        ({"texts": []}, "texts", "expected at least one item"),
        ({"images": "aGk="}, "images", "expected a list"),
        ({"treshold": 0.5}, "treshold", "unknown field"),
        ({"threshold": "high"}, "threshold", "expected a number"),
        ({"threshold": "0.5"}, "threshold", "expected a number"),
        ({"threshold": True}, "threshold", "expected a number"),
        ({"threshold": 1.5}, "threshold", "too large"),
        ({"threshold": -1.5}, "threshold", "too small"),
        ({"tier": "slow"}, "tier", "expected 'auto', 'fast' or 'accurate'"),
    ],
)
def test_wrong_field_is_named(change: dict[str, Any], param: str, problem: str) -> None:
    """`param` is the field, the message says what is expected there, in our words."""
    with pytest.raises(InvalidRequest) as caught:
        parse(orjson.dumps({**BODY, **change}))

    assert (caught.value.param, caught.value.message) == (param, f"{param}: {problem}")


def test_missing_field_is_named() -> None:
    """What has to be there is told by name."""
    with pytest.raises(InvalidRequest, match="texts: this field is required"):
        parse(orjson.dumps({"images": ["aGk="]}))


def test_whole_number_is_a_threshold() -> None:
    """JSON makes no difference between 1 and 1.0."""
    assert parse(orjson.dumps({**BODY, "threshold": 1})).threshold == 1.0


def test_unknown_field_with_a_long_name_is_not_echoed_whole() -> None:
    """An answer does not grow with what was sent."""
    with pytest.raises(InvalidRequest) as caught:
        parse(orjson.dumps({**BODY, "x" * 100_000: 1}))

    assert len(caught.value.message) < 500
    assert len(caught.value.param or "") < 500


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=60), content_type=st.sampled_from(["application/json", MSGPACK]))
def test_any_bytes_are_a_body_or_an_error_of_ours(data: bytes, content_type: str) -> None:
    """No bytes raise anything that has no place in the error table."""
    with suppress(InvalidRequest, TooLarge):
        parse(data, content_type)


@settings(deadline=None, max_examples=100)
@given(
    document=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=3) | st.sampled_from(["images", "texts", "tier"]), inner, max_size=4)
        ),
    )
)
def test_any_msgpack_document_is_a_request_or_an_error_of_ours(document: object) -> None:
    """Every field may hold anything; what is wrong is an invalid request."""
    with suppress(InvalidRequest):
        parse(msgpack.packb(document), MSGPACK)


def test_request_id_is_echoed() -> None:
    """What the caller chose is what logs and answers carry."""
    assert request(headers=[("x-request-id", "abc-123 ~")]).request_id == "abc-123 ~"


@pytest.mark.parametrize("given_id", ["", "x" * (MAX_REQUEST_ID_CHARS + 1), "line\x0bfeed", "caf\u00e9"])
def test_request_id_that_can_not_be_a_header_is_replaced(given_id: str) -> None:
    """Empty, too long, with control characters or beyond ASCII: one is made."""
    made = request(headers=[("x-request-id", given_id)]).request_id

    assert made != given_id
    assert len(made) == 32


def test_request_ids_that_are_made_differ() -> None:
    """Two requests without an id are two."""
    assert request().request_id != request().request_id


@pytest.mark.parametrize(
    ("content_type", "accept", "wants"),
    [
        ("application/json", None, False),
        (MSGPACK, None, True),
        (MSGPACK, "*/*", True),
        (MSGPACK, "application/json", False),
        ("application/json", MSGPACK, True),
    ],
)
def test_answer_is_in_the_encoding_asked_for_or_that_of_the_body(
    content_type: str, accept: str | None, *, wants: bool
) -> None:
    """`Accept` decides; without it the answer comes as the question did."""
    headers = [("content-type", content_type)] + ([("accept", accept)] if accept else [])

    assert request(headers=headers).wants_msgpack is wants


async def test_json_answer_has_its_type_length_and_id() -> None:
    """Arrays are lists, and Content-Length is the body's."""
    client = Client()

    await send_response(
        request(client, [("x-request-id", "r1")]), Response({"v": np.array([0.5, 1], dtype=np.float32)}), client.send
    )

    start, body = client.sent
    assert start["status"] == 200
    assert body["body"] == b'{"v":[0.5,1.0]}'
    assert client.headers == {"content-type": "application/json", "content-length": "15", "x-request-id": "r1"}


async def test_msgpack_answer_has_the_same_fields() -> None:
    """Bytes stay bytes, and small arrays become lists."""
    client = Client()
    answer = Response(
        {"v": b"\x00\xff", "p": np.array([0.5], dtype=np.float32), "m": np.array([True])}, 201, {"x-tier": "fast"}
    )

    await send_response(request(client, [("accept", MSGPACK)]), answer, client.send)

    assert client.sent[0]["status"] == 201
    assert msgpack.unpackb(client.sent[1]["body"]) == {"v": b"\x00\xff", "p": [0.5], "m": [True]}
    assert client.headers["content-type"] == MSGPACK
    assert client.headers["x-tier"] == "fast"


async def test_ready_text_is_sent_as_it_is() -> None:
    """A page has its own type, whatever the caller accepts."""
    client = Client()
    page = Response("<p>caf\u00e9", media_type="text/html; charset=utf-8")

    await send_response(request(client, [("accept", MSGPACK)]), page, client.send)

    assert client.sent[1]["body"] == "<p>caf\u00e9".encode()
    assert client.headers["content-type"] == "text/html; charset=utf-8"


async def test_head_is_answered_without_the_body() -> None:
    """Its headers are those of GET, length included."""
    client = Client()

    await send_response(request(client, method="HEAD"), Response({"status": "ok"}), client.send)

    assert client.sent[1]["body"] == b""
    assert client.headers["content-length"] == "15"


async def test_id_is_left_to_a_server_that_adds_it() -> None:
    """Behind Serve's proxy the header would stand twice."""
    client = Client()

    await send_response(request(client, names_itself=False), Response({}), client.send)

    assert "x-request-id" not in client.headers


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [(Overloaded("full", retry_after_s=7), 503, "7"), (Overloaded("full"), 503, "1"), (TooLarge("big"), 413, None)],
)
def test_error_answer_says_when_to_try_again(error: ApiError, status: int, retry_after: str | None) -> None:
    """Every 503 has Retry-After; a mistake of the caller has none."""
    answer = error_response(error)

    assert (answer.status, answer.headers.get("retry-after")) == (status, retry_after)
    assert answer.body == error.body()
