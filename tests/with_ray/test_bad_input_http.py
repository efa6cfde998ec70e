"""The contract's table of errors, each row through real HTTP."""

import http.client
import socket
import struct
import time
import zlib
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from router.errors import ERROR_TABLE
from secondlook.haproxy import HEAD_TIMEOUT_S
from tests.pictures import as_base64, picture

GOOD = as_base64(picture(1))


def huge_png(side: int) -> bytes:
    """A PNG whose header declares side x side pixels, and nothing behind it."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    data = zlib.compress(b"")
    idat = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    return b"\x89PNG\r\n\x1a\n" + chunk + idat


def similarity(**changes: Any) -> dict[str, Any]:
    """A good body with changes."""
    return {"images": [GOOD], "texts": ["a cat", "a dog"], **changes}


def image(data: bytes) -> dict[str, Any]:
    """A body about one picture."""
    return similarity(images=[{"image": as_base64(data)}])


BODIES: list[tuple[str, dict[str, Any], int, str]] = [
    ("empty list of images", similarity(images=[]), 400, "invalid_request"),
    ("empty list of texts", similarity(texts=[]), 400, "invalid_request"),
    ("unknown field", similarity(temperature=1), 400, "invalid_request"),
    ("missing field", {"images": [GOOD]}, 400, "invalid_request"),
    ("wrong type", similarity(texts="a cat"), 400, "invalid_request"),
    ("unknown tier", similarity(tier="best"), 400, "invalid_request"),
    ("threshold out of range", similarity(threshold=7), 400, "invalid_request"),
    ("item of a wrong type", similarity(images=[7]), 400, "invalid_request"),
    ("not base64", similarity(images=["***"]), 400, "invalid_request"),
    ("an URL", similarity(images=[{"image_url": {"url": "http://127.0.0.1/x.png"}}]), 400, "invalid_request"),
    ("empty text", similarity(texts=[""]), 400, "invalid_request"),
    ("unknown key", similarity(images=[{"key": "i:01" + "0" * 32}]), 404, "unknown_key"),
    ("too many images", similarity(images=[GOOD] * 65), 413, "too_large"),
    ("too many texts", similarity(texts=["a"] * 1025), 413, "too_large"),
    ("too long a text", similarity(texts=["a " * 2100]), 413, "too_large"),
    ("too many pixels", image(huge_png(13_000)), 413, "too_large"),
    ("a bomb", image(huge_png(60_000)), 413, "too_large"),
    ("no image at all", image(b"hello, world"), 415, "unsupported_media"),
    ("truncated image", image(picture(1, "JPEG")[:500]), 422, "bad_image"),
    ("too small an image", image(huge_png(2)), 422, "bad_image"),
]


@pytest.mark.parametrize(("body", "status", "code"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_bad_body_gets_its_status_and_code(client: httpx.Client, body: dict[str, Any], status: int, code: str) -> None:
    """Each bad body gets the status and code of its row."""
    response = client.post("/v1/similarity", json=body)

    assert_error(response, status, code)


def test_body_that_is_not_json_is_an_invalid_request(client: httpx.Client) -> None:
    """Also where it says it is."""
    response = client.post("/v1/similarity", content=b"{", headers={"content-type": "application/json"})

    assert_error(response, 400, "invalid_request")


def test_body_over_the_limit_is_too_large(client: httpx.Client) -> None:
    """With Content-Length, and without."""
    data = b" " * (8 * 2**20 + 1)

    with_length = client.post("/v1/similarity", content=data, headers={"content-type": "application/json"})
    without = client.post("/v1/similarity", content=iter([data]), headers={"content-type": "application/json"})

    assert_error(with_length, 413, "too_large")
    assert_error(without, 413, "too_large")


def test_unknown_content_type_is_unsupported(client: httpx.Client) -> None:
    """Only JSON and msgpack are read."""
    response = client.post("/v1/similarity", content=b"<a/>", headers={"content-type": "application/xml"})

    assert_error(response, 415, "unsupported_media")


def test_unknown_model_is_not_found(client: httpx.Client) -> None:
    """A model that no tier runs."""
    response = client.post("/v1/embeddings", json={"model": "gpt-9", "input": "a"})

    assert_error(response, 404, "unknown_model")


def test_unknown_path_is_not_found_and_wrong_method_not_allowed(client: httpx.Client) -> None:
    """In the same shape as every error."""
    assert_error(client.get("/v1/nothing"), 404, "not_found")
    wrong_method = client.get("/v1/similarity")
    assert_error(wrong_method, 405, "method_not_allowed")
    assert wrong_method.headers["allow"] == "POST"


def test_deadline_that_passes_is_exceeded(client: httpx.Client) -> None:
    """A millisecond is not enough for a picture that nobody has embedded."""
    response = client.post(
        "/v1/similarity", json=image(picture(4001)) | {"tier": "accurate"}, headers={"X-Deadline-Ms": "1"}
    )

    assert_error(response, 408, "deadline_exceeded")


def test_bad_item_makes_an_embeddings_request_fail_naming_it(client: httpx.Client) -> None:
    """OpenAI's route has no slots for errors."""
    body = {"model": "fast", "input": ["a cat", "", "a dog"]}

    response = client.post("/v1/embeddings", json=body)

    assert_error(response, 400, "invalid_request")
    assert response.json()["error"]["param"] == "input[1]"


def assert_error(response: httpx.Response, status: int, code: str) -> None:
    """The one shape, with this status and code, and nothing of a library's in its text."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert error["code"] == code
    assert {(row.status, row.code) for row in ERROR_TABLE} >= {(status, code)}
    assert "Traceback" not in error["message"]
    assert response.headers["x-request-id"]


def test_body_that_never_arrives_ends_with_the_deadline(base_url: str) -> None:
    """Whoever sends a body drop by drop holds a place until the deadline and no longer."""
    url = httpx.URL(base_url)
    head = "POST /v1/similarity HTTP/1.1\r\nHost: test\r\nX-Deadline-Ms: 300\r\nContent-Length: 100\r\n\r\n{"
    with socket.create_connection((url.host, url.port), timeout=20) as connection:
        connection.sendall(head.encode())

        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 408 ")


def test_connection_that_rests_between_requests_is_kept(base_url: str) -> None:
    """Longer than a request's head may take to arrive: who closes it just then loses the next request."""
    address = urlsplit(base_url)
    with closing(http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)) as connection:
        for rest_s in (0.0, HEAD_TIMEOUT_S + 1.0):
            time.sleep(rest_s)
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b'{"status":"ok"}'
            assert connection.sock is not None


@pytest.mark.parametrize(
    "headers", [{"X-Long": "x" * 20_000}, {f"X-{i}": "x" for i in range(200)}], ids=["one", "many"]
)
def test_headers_without_measure_are_refused_before_the_service(base_url: str, headers: dict[str, str]) -> None:
    """The ingress keeps 16 KB and about a hundred of them; it says so and serves the next."""
    refused = httpx.get(f"{base_url}/v1/models", headers=headers)

    assert refused.status_code in (400, 431)
    assert httpx.get(f"{base_url}/v1/models").status_code == 200
