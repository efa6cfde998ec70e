"""Ask a running service which texts fit which pictures."""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from secondlook.credentials import authorization
from secondlook.errors import QueryFailed

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class PictureAnswer:
    """What the service said about one picture, the texts in the order they were asked."""

    best: int
    cosine: tuple[float | None, ...]
    probability: tuple[float | None, ...] | None
    tier: str
    confidence: float
    escalated: bool
    degraded: str | None
    image_hit: bool
    text_hits: int
    text_misses: int

    @property
    def hits(self) -> int:
        """How many of the embeddings that the answer needed came from the cache."""
        return self.text_hits + self.image_hit

    @property
    def lookups(self) -> int:
        """How many embeddings the answer needed."""
        return self.text_hits + self.text_misses + 1


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer over HTTP: as data, as the body that was received, and how long it took."""

    pictures: tuple[PictureAnswer, ...]
    body: dict[str, Any]
    elapsed_ms: float


def ask(client: httpx.Client, images: Sequence[bytes], texts: Sequence[str], *, tier: str | None = None) -> Answer:
    """Send one question; a named `tier` answers it alone.

    Raises:
        QueryFailed: No service there, an error instead of an answer, or a picture that can't be read.
    """
    items = [{"image": base64.b64encode(image).decode("ascii")} for image in images]
    question = {"images": items, "texts": list(texts)} | ({"tier": tier} if tier else {})
    began = time.perf_counter()
    body = fetch(client, "POST", "/v1/similarity", expects="data", json=question)
    elapsed_ms = (time.perf_counter() - began) * 1e3
    return Answer(tuple(_picture_answer(item) for item in body["data"]), body, elapsed_ms)


def fetch(client: httpx.Client, method: str, path: str, *, expects: str, json: object = None) -> dict[str, Any]:
    """Send one request and return the body of its answer, which has the field `expects`.

    Raises:
        QueryFailed: No service there, or an error instead of an answer.
    """
    try:
        response = client.request(method, path, json=json)
    except httpx.TimeoutException as error:
        raise QueryFailed(f"no answer from {client.base_url} in time") from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise QueryFailed(f"no service at {client.base_url}: start one with `secondlook serve`") from error
    return _body_of(response, expects)


def connect(url: str, *, is_admin: bool = False) -> httpx.Client:
    """A client for the service at `url`; proxies of the environment are not asked for a local address.

    It sends the environment's API key; `is_admin` where a route for operators is asked.

    Raises:
        QueryFailed: `url` is not the URL of an HTTP server, or the environment's key can't be sent.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise QueryFailed(f"not a URL: {url}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise QueryFailed(f"not an http(s) URL: {url}")
    local = parsed.host in ("127.0.0.1", "localhost", "::1")
    headers = authorization(is_admin=is_admin)
    return httpx.Client(base_url=parsed, headers=headers, timeout=TIMEOUT_S, trust_env=not local)


def _body_of(response: httpx.Response, expects: str) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError as error:
        raise QueryFailed(f"{response.url} answered {response.status_code}, not JSON") from error
    if response.status_code == httpx.codes.OK and isinstance(body, dict) and expects in body:
        return body
    raise QueryFailed(f"{response.status_code}: {_message_of(body)}")


def _message_of(body: object) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return "an answer that is not of this API"
    where = f" ({error['param']})" if error.get("param") else ""
    return f"{error.get('message')} [{error.get('code')}]{where}"


def _picture_answer(item: dict[str, Any]) -> PictureAnswer:
    if "error" in item:
        raise QueryFailed(_message_of(item))
    tiering = item["tiering"]
    probability = item["probability"]
    return PictureAnswer(
        best=item["best"],
        cosine=tuple(item["cosine"]),
        probability=None if probability is None else tuple(probability),
        tier=tiering["tier"],
        confidence=tiering["confidence"],
        escalated=tiering["escalated"],
        degraded=tiering["degraded"],
        image_hit=tiering["cache"]["image"] == "hit",
        text_hits=tiering["cache"]["texts"]["hit"],
        text_misses=tiering["cache"]["texts"]["miss"],
    )
