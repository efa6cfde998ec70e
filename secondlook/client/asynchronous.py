"""The client for asyncio."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

import httpx

from secondlook.client import calls
from secondlook.client.connection import (
    DEFAULT_URL,
    Options,
    as_incoming,
    failures_of,
    http_settings,
    new_request,
    new_session,
)
from secondlook.client.flow import Flow, Incoming, Outgoing, Session

Asked = ParamSpec("Asked")
Value = TypeVar("Value")


def _method(
    begin: Callable[Concatenate[Session, Asked], Flow[Value]],
) -> "Callable[Concatenate[AsyncClient, Asked], Coroutine[Any, Any, Value]]":
    @wraps(begin)
    async def method(self: "AsyncClient", /, *args: Asked.args, **kwargs: Asked.kwargs) -> Value:
        return await self._drive(begin(self._session, *args, **kwargs))

    return method


class AsyncClient:
    """A connection pool to one service, and what its answers taught it."""

    def __init__(self, url: str = DEFAULT_URL, **options: Unpack[Options]) -> None:
        """Connect to nothing yet.

        Args:
            url: Where the service is.
            options: See `Options`.

        Raises:
            ValueError: `url` is not the URL of an HTTP server.
        """
        self._session = new_session(options)
        self._http = httpx.AsyncClient(**http_settings(url, options))

    similarity = _method(calls.similarity)
    embed = _method(calls.embed)
    classify = _method(calls.classify)
    score = _method(calls.score)
    rerank = _method(calls.rerank)
    search = _method(calls.search)
    models = _method(calls.models)
    collections = _method(calls.collections)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _drive(self, flow: Flow[Value]) -> Value:
        try:
            # Up to its first request a flow reads files, encodes and hashes: not on the event loop.
            outgoing = await asyncio.to_thread(next, flow)
            while True:
                outgoing = flow.send(await self._send(outgoing))
        except StopIteration as end:
            value: Value = end.value
            return value

    async def _send(self, outgoing: Outgoing) -> Incoming:
        if outgoing.after_s:
            await asyncio.sleep(outgoing.after_s)
        request = new_request(self._http, outgoing)
        with failures_of(outgoing, self._http):
            async with asyncio.timeout(outgoing.give_up_at - time.monotonic()):
                response = await self._http.send(request)
        return as_incoming(response, response.content)
