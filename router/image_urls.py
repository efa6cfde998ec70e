"""Fetch images from http(s) URLs: of admitted hosts, at public addresses only, within bounds of time and bytes.

A caller must not learn from it what answers inside the operator's network. Therefore a name is looked up once, every
address it has is checked, and the connection goes to one of these addresses and nowhere else: no redirect, no proxy,
no second lookup. Whatever goes wrong on the way has one text.
"""

import asyncio
import logging
import math
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

import httpcore

from router.config import ImageUrlsConfig
from router.deadline import Deadline
from router.errors import ApiError, BadImage, DeadlineExceeded, Overloaded, TooLarge, UnsupportedMedia
from router.image_format import SIGNATURE_BYTES, is_image
from router.public_address import is_public
from router.strict_url import AdmittedHosts, StrictUrl, parse_url

logger = logging.getLogger(__name__)
# Of a name's addresses so many are tried, each for its part of the time.
MAX_ADDRESSES = 3
# So many wait for each turn; the next is refused at once.
WAITING_PER_TURN = 8
_FAILURES = (
    OSError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
)


class Resolver(Protocol):
    """Looks names up."""

    async def __call__(self, host: str, /) -> Sequence[str]:
        """All addresses of a host; raises OSError where there are none."""


class SystemResolver:
    """The system's own resolver, in threads of its own: a name server that hangs keeps nothing else waiting."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="lookup")

    async def __call__(self, host: str) -> Sequence[str]:
        """All addresses of a host."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host)


class ImageUrls:
    """Fetches images for one router replica.

    Args:
        config: Which hosts, and how much.
        resolver: Looks names up; by default the system does.
        ssl_context: Whom TLS trusts; by default public authorities.
        may_connect: Which addresses may be connected to. Only tests have a reason to say otherwise.
        clock: The clock of deadlines.
    """

    def __init__(
        self,
        config: ImageUrlsConfig,
        resolver: Resolver | None = None,
        *,
        ssl_context: ssl.SSLContext | None = None,
        may_connect: Callable[[str], bool] = is_public,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._hosts = AdmittedHosts(config.allowed_hosts, config.allowed_ports)
        self._resolve = resolver or SystemResolver(config.concurrent)
        self._ssl_context = ssl_context or httpcore.default_ssl_context()
        self._may_connect = may_connect
        self._clock = clock
        self._turns = asyncio.Semaphore(config.concurrent)
        self._held = 0

    async def fetch_all(self, urls: Iterable[str], deadline: Deadline) -> dict[str, bytes | ApiError]:
        """The bytes behind each URL of one request, fetched at the same time, or its own error."""
        allowance = _Allowance(self._config.max_request_bytes)
        async with asyncio.TaskGroup() as group:
            tasks = {url: group.create_task(self._fetch(url, allowance, deadline)) for url in dict.fromkeys(urls)}
        return {url: task.result() for url, task in tasks.items()}

    async def _fetch(self, text: str, allowance: "_Allowance", deadline: Deadline) -> bytes | ApiError:
        try:
            url = parse_url(text)
            self._hosts.check(url)
            return await self._take_turn(url, allowance, deadline)
        except ApiError as error:
            return error

    async def _take_turn(self, url: StrictUrl, allowance: "_Allowance", deadline: Deadline) -> bytes:
        if self._held >= self._config.concurrent * (1 + WAITING_PER_TURN):
            raise _busy()
        left_s = deadline.left_s(self._clock())
        turn_at = math.inf
        self._held += 1
        try:
            async with asyncio.timeout(min(left_s, self._config.timeout_s)), self._turns:
                turn_at = self._clock()
                return await self._download(url, allowance)
        except TimeoutError as error:
            if left_s <= self._config.timeout_s:
                raise DeadlineExceeded("the deadline passed while an image was fetched") from error
            # Whose turn came late has shown nothing against its server.
            had_s = self._clock() - turn_at
            raise _unfetched(url, "time") if had_s >= self._config.timeout_s / 2 else _busy() from error
        finally:
            self._held -= 1

    async def _download(self, url: StrictUrl, allowance: "_Allowance") -> bytes:
        addresses = await self._addresses(url)
        network = _PinnedNetwork(addresses, self._config.timeout_s / len(addresses))
        scheme, host, target = url.scheme.encode(), url.host.encode(), url.target.encode()
        connection = httpcore.AsyncHTTPConnection(
            httpcore.Origin(scheme, host, url.port), self._ssl_context, network_backend=network
        )
        try:
            location = httpcore.URL(scheme=scheme, host=host, port=url.port, target=target)
            async with connection.stream("GET", location, headers=_headers(url)) as response:
                return await self._read(url, response, allowance)
        except _FAILURES as error:
            raise _unfetched(url, "connection") from error
        finally:
            await network.close()

    async def _addresses(self, url: StrictUrl) -> Sequence[str]:
        """Where to connect to: some of a name's addresses, all of which are public.

        Raises:
            BadImage: There are none, or one that is not public: a name that has both is somebody's trick.
        """
        try:
            addresses = [url.host] if url.is_address else await self._resolve(url.host)
        except (OSError, UnicodeError) as error:
            raise _unfetched(url, "lookup") from error
        if not addresses or not all(map(self._may_connect, addresses)):
            raise _unfetched(url, "address")
        return addresses[:MAX_ADDRESSES]

    async def _read(self, url: StrictUrl, response: httpcore.Response, allowance: "_Allowance") -> bytes:
        if response.status != 200:
            raise _unfetched(url, "status")
        headers = [(name.lower(), value.lower()) for name, value in response.headers]
        if any(name == b"content-encoding" and value != b"identity" for name, value in headers):
            raise _unfetched(url, "encoding")
        announced = max([int(value) for name, value in headers if name == b"content-length"], default=0)
        if announced > min(self._config.max_bytes, allowance.left):
            raise self._too_large()
        data = bytearray()
        async for chunk in response.aiter_stream():
            is_new = len(data) < SIGNATURE_BYTES
            data += chunk
            allowance.left -= len(chunk)
            if len(data) > self._config.max_bytes or allowance.left < 0:
                raise self._too_large()
            if is_new and len(data) >= SIGNATURE_BYTES:
                _check_format(data)
        _check_format(data)
        return bytes(data)

    def _too_large(self) -> TooLarge:
        one, all_of_them = self._config.max_bytes, self._config.max_request_bytes
        return TooLarge(f"an image that is fetched has at most {one} bytes, all of a request {all_of_them}")


class _Allowance:
    """What one request may still fetch."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


class _PinnedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, whatever host it is asked for."""

    def __init__(self, addresses: Sequence[str], attempt_s: float) -> None:
        self._addresses = addresses
        self._attempt_s = attempt_s
        self._sockets = httpcore.AnyIOBackend()
        self._stream: httpcore.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers."""
        del host, timeout, local_address, socket_options  # nothing but what was checked, and in our time
        for address in self._addresses:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                self._stream = await self._sockets.connect_tcp(address, port, self._attempt_s)
                return self._stream
        raise httpcore.ConnectError("no address answers")

    async def close(self) -> None:
        """Close the connection, in whatever state: httpcore leaves one open that was given up while TLS began."""
        if self._stream is not None:
            await self._stream.aclose()


def _look_up(host: str) -> list[str]:
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(address[0]) for *_, address in answers))


def _headers(url: StrictUrl) -> list[tuple[str, str]]:
    return [
        ("Host", url.authority),
        ("User-Agent", "secondlook"),
        ("Accept", "image/*"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    ]


def _check_format(data: bytearray) -> None:
    if not is_image(data):
        raise UnsupportedMedia("what the URL leads to is not one of JPEG, PNG, WEBP, GIF, BMP")


def _unfetched(url: StrictUrl, reason: str) -> BadImage:
    """One text for all that can go wrong on the way; what it was is for the operator's eyes."""
    logger.debug("image not fetched", extra={"host": url.host, "reason": reason})
    return BadImage("the image can't be fetched from its URL")


def _busy() -> Overloaded:
    return Overloaded("the router fetches as many images as it may", retry_after_s=1)
