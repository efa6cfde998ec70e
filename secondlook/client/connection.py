"""What both clients are made of: options, the session, and what a failed connection is called."""

import random
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypedDict

import httpx

from secondlook.client.errors import ConnectionFailed, DeadlineExceeded
from secondlook.client.flow import Incoming, Outgoing, Session
from secondlook.client.known_keys import KnownKeys
from secondlook.client.retries import RetryPolicy

DEFAULT_URL = "http://127.0.0.1:8000"
LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class Options(TypedDict, total=False):
    """What a client can be told, beside where the service is."""

    api_key: str
    """Sent as `Authorization: Bearer`."""
    deadline_s: float
    """Seconds that a call may take, retries included; 30 by default."""
    retry: RetryPolicy
    """How refused requests (429, 503) are sent again."""
    remembered_keys: int
    """How many images' content keys are remembered; 65,536 by default, 0 sends all bytes each time."""
    max_connections: int
    """How many connections are open at the same time; 100 by default."""
    traffic_class: Literal["live", "warm-up"]
    """`warm-up` for work that can wait."""
    verify: ssl.SSLContext | bool
    """How TLS certificates are checked, as httpx takes it."""


class HttpSettings(TypedDict):
    """What an httpx client is made with."""

    base_url: httpx.URL
    headers: dict[str, str]
    limits: httpx.Limits
    trust_env: bool
    verify: ssl.SSLContext | bool


def new_session(options: Options) -> Session:
    """The state that the calls of a client share."""
    return Session(
        retry=options.get("retry", RetryPolicy()),
        known=KnownKeys(options.get("remembered_keys", 65_536)),
        deadline_s=options.get("deadline_s", 30.0),
        clock=time.monotonic,
        draw=random.random,
        new_id=lambda: uuid.uuid4().hex,
    )


def http_settings(url: str, options: Options) -> HttpSettings:
    """What to make an httpx client with; proxies of the environment are not asked for a local address.

    Raises:
        ValueError: `url` is not the URL of an HTTP server.
    """
    try:
        base_url = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"not a URL: {url}") from error
    if base_url.scheme not in ("http", "https") or not base_url.host:
        raise ValueError(f"not an http(s) URL: {url}")
    is_local = base_url.host in LOCAL_HOSTS
    headers: dict[str, str] = {"X-Traffic-Class": options.get("traffic_class", "live")}
    if "api_key" in options:
        headers["Authorization"] = f"Bearer {options['api_key']}"
    return HttpSettings(
        base_url=base_url,
        headers=headers,
        limits=httpx.Limits(max_connections=options.get("max_connections", 100)),
        trust_env=not is_local,
        verify=options.get("verify", _nobody() if is_local and base_url.scheme == "http" else True),
    )


def _nobody() -> ssl.SSLContext:
    """Trust no TLS certificate at all: reading all authorities' takes a tenth of a second, and here is no TLS."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def new_request(http: httpx.Client | httpx.AsyncClient, outgoing: Outgoing) -> httpx.Request:
    """What httpx sends; each of its waits ends at the deadline.

    Raises:
        DeadlineExceeded: It is already past.
    """
    timeout_s = outgoing.give_up_at - time.monotonic()
    if timeout_s <= 0:
        raise _too_late(outgoing)
    return http.build_request(
        outgoing.method, outgoing.path, headers=outgoing.headers, content=outgoing.content, timeout=timeout_s
    )


def check_time(outgoing: Outgoing) -> None:
    """Stop where the deadline is past: drop by drop, an answer could take for ever.

    Raises:
        DeadlineExceeded: It is.
    """
    if time.monotonic() >= outgoing.give_up_at:
        raise _too_late(outgoing)


def as_incoming(response: httpx.Response, content: bytes) -> Incoming:
    """An answer, free of httpx."""
    return Incoming(response.status_code, response.headers, content)


@contextmanager
def failures_of(outgoing: Outgoing, http: httpx.Client | httpx.AsyncClient) -> Iterator[None]:
    """Say in the client's own errors what fails inside.

    Raises:
        DeadlineExceeded: A wait took too long.
        ConnectionFailed: There is no connection, or it was cut.
    """
    try:
        yield
    except (httpx.TimeoutException, TimeoutError) as error:
        raise _too_late(outgoing) from error
    except (httpx.RequestError, httpx.InvalidURL) as error:
        kind = "could not be reached" if isinstance(error, httpx.ConnectError) else "cut the connection"
        raise ConnectionFailed(f"the service at {http.base_url} {kind}", outgoing.request_id) from error


def _too_late(outgoing: Outgoing) -> DeadlineExceeded:
    return DeadlineExceeded("no answer before the deadline", outgoing.request_id)
