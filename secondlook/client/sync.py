"""The client that waits. Threads may share one."""

import time
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar, Unpack

import httpx

from secondlook.client import calls
from secondlook.client.connection import (
    DEFAULT_URL,
    Options,
    as_incoming,
    check_time,
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
) -> "Callable[Concatenate[Client, Asked], Value]":
    @wraps(begin)
    def method(self: "Client", /, *args: Asked.args, **kwargs: Asked.kwargs) -> Value:
        return self._drive(begin(self._session, *args, **kwargs))

    return method


class Client:
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
        self._http = httpx.Client(**http_settings(url, options))

    similarity = _method(calls.similarity)
    embed = _method(calls.embed)
    classify = _method(calls.classify)
    score = _method(calls.score)
    rerank = _method(calls.rerank)
    search = _method(calls.search)
    models = _method(calls.models)
    collections = _method(calls.collections)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _drive(self, flow: Flow[Value]) -> Value:
        try:
            outgoing = next(flow)
            while True:
                outgoing = flow.send(self._send(outgoing))
        except StopIteration as end:
            value: Value = end.value
            return value

    def _send(self, outgoing: Outgoing) -> Incoming:
        if outgoing.after_s:
            time.sleep(outgoing.after_s)
        request = new_request(self._http, outgoing)
        with failures_of(outgoing, self._http):
            response = self._http.send(request, stream=True)
            try:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    check_time(outgoing)
            finally:
                response.close()
        return as_incoming(response, bytes(content))
