"""An HTTP server on loopback that answers byte by byte as told, and names that resolve as told."""

import asyncio
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from router.config import ImageUrlsConfig
from router.deadline import Deadline
from router.errors import ApiError
from router.image_urls import ImageUrls, Resolver

PATIENCE_S = 5.0
Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


class WebServer:
    """What it was asked, and what it answers: raw bytes, or whatever a coroutine writes."""

    def __init__(self) -> None:
        self.port = 0
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        """The head of each request."""
        self.connections = 0
        self._was_asked = asyncio.Event()
        self._has_ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [head.split(" ")[1] for head in self.requests]

    @asynccontextmanager
    async def listen(
        self, host: str = "127.0.0.1", port: int = 0, context: ssl.SSLContext | None = None
    ) -> AsyncIterator["WebServer"]:
        """Serve while the context lasts."""
        server = await asyncio.start_server(self._start, host, port, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    async def asked(self) -> None:
        """Wait until a request has come in."""
        async with asyncio.timeout(PATIENCE_S):
            await self._was_asked.wait()

    async def hung_up(self) -> None:
        """Wait until a connection has ended."""
        async with asyncio.timeout(PATIENCE_S):
            await self._has_ended.wait()

    def _start(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.requests.append(head)
                self._was_asked.set()
                answer = self.answers.get(head.split(" ")[1], response(b"", status="404 Not Found"))
                await _first(_send(writer, answer), reader.read(1))
        finally:
            self._has_ended.set()
            writer.close()


class Names:
    """A resolver at the network's edge. A name's answers come in turn, the last of them for ever."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.lookups: list[str] = []
        self._answers = answers
        self._asked: defaultdict[str, int] = defaultdict(int)

    async def __call__(self, host: str) -> Sequence[str]:
        """The next answer for the first label of a host."""
        self.lookups.append(host)
        name = host.partition(".")[0]
        if name not in self._answers:
            raise OSError(f"{host}: no such name")
        answers = self._answers[name]
        self._asked[name] += 1
        return answers[min(self._asked[name], len(answers)) - 1]


async def _send(writer: asyncio.StreamWriter, answer: Answer) -> None:
    if isinstance(answer, bytes):
        writer.write(answer)
        await writer.drain()
    else:
        await answer(writer)


async def _first(*coroutines: Coroutine[object, object, object]) -> None:
    """Until the answer is sent or the client hangs up."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def response(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A response with its length, or with the length that is claimed."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def forever(_: object = None) -> None:
    """Answer nothing."""
    await asyncio.Event().wait()


def fetcher(
    server: WebServer, resolver: Resolver | None = None, *, public_only: bool = False, **parts: Any
) -> ImageUrls:
    """A fetcher of `img.example.com`, which is the server; loopback is admitted, as in no deployment.

    `parts` are fields of its configuration or arguments of its constructor.
    """
    fields = {name: parts.pop(name) for name in list(parts) if name in ImageUrlsConfig.model_fields}
    hosts = {"allowed_hosts": ["img.example.com"], "allowed_ports": [server.port]}
    config = ImageUrlsConfig.model_validate({**hosts, "timeout_s": 5.0, **fields})
    if not public_only:
        parts.setdefault("may_connect", lambda address: address == "127.0.0.1")
    return ImageUrls(config, resolver or Names(img=[["127.0.0.1"]]), **parts)


def url(server: WebServer, path: str = "/a.png", *, host: str = "img.example.com", scheme: str = "http") -> str:
    """Where the server has a file."""
    return f"{scheme}://{host}:{server.port}{path}"


async def fetch(images: ImageUrls, address: str, left_s: float = 60.0) -> bytes | ApiError:
    """Fetch one URL."""
    (result,) = (await images.fetch_all([address], Deadline(time.monotonic() + left_s))).values()
    return result
