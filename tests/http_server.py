"""A real HTTP server in a thread, for tests of clients: a function says what each request is answered with."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgpack

MSGPACK = "application/msgpack"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came, its body as data."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer. `promised` bytes more than are sent make an answer that is cut off."""

    body: object
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    promised: int = 0
    as_json: bool = False


class Cut:
    """Close the connection instead of answering."""


@dataclass(frozen=True, slots=True)
class Drops:
    """Send the head, then a byte whenever the event has not come within `every_s`, for as long as somebody reads."""

    until: threading.Event
    every_s: float = 0.02


Reply = Answer | Cut | Drops


@contextmanager
def serving(answer: Callable[[Asked], Reply]) -> Iterator[str]:
    """Serve until the block ends; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            is_msgpack = self.headers["content-type"] == MSGPACK
            self._reply(msgpack.unpackb(raw) if is_msgpack else json.loads(raw))

        def do_GET(self) -> None:
            self._reply(None)

        def _reply(self, body: object) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = answer(Asked(self.command, self.path, headers, body))
            with suppress(BrokenPipeError, ConnectionResetError):  # who gave up does not read
                _send(self, reply)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    if isinstance(reply, Cut):
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
    elif isinstance(reply, Drops):
        _send_head(handler, 200, {"content-length": "1000000"})
        while not reply.until.wait(reply.every_s):
            handler.wfile.write(b" ")
        handler.close_connection = True
    else:
        content_type, content = _encode(reply)
        length = {"content-type": content_type, "content-length": str(len(content) + reply.promised)}
        _send_head(handler, reply.status, {**length, **reply.headers})
        handler.wfile.write(content)
        handler.close_connection = bool(reply.promised)


def _send_head(handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


def _encode(reply: Answer) -> tuple[str, bytes]:
    if isinstance(reply.body, str):
        return "text/plain", reply.body.encode()
    if reply.as_json:
        return "application/json", json.dumps(reply.body).encode()
    return MSGPACK, msgpack.packb(reply.body)
