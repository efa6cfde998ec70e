"""HTTP/1.1 as the load generator needs it: whole requests as bytes, answers cut by their length."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

END_OF_HEAD = b"\r\n\r\n"
LENGTH_HEADER = b"content-length:"
JSON, MSGPACK = "application/json", "application/msgpack"


class UnexpectedAnswer(Exception):
    """Raised for an answer that is not HTTP/1.1 with a length; shows how it begins."""


def post(path: str, body: bytes, media_type: str = JSON, headers: Sequence[str] = ()) -> bytes:
    """Return one whole keep-alive request."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-type: {media_type}", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, *headers]).encode("ascii") + END_OF_HEAD + body


class AnswerReader:
    """Cuts one connection's stream into answers, of which it keeps the status."""

    __slots__ = ("_buffer", "_missing", "_status")

    def __init__(self) -> None:
        self._buffer = b""
        self._missing = 0
        self._status = 0

    def feed(self, data: bytes) -> Iterator[int]:
        """Take what was received and yield the status of each answer that is now complete.

        Raises:
            UnexpectedAnswer: It is not an answer this reader understands.
        """
        while data:
            if self._missing:
                taken = min(self._missing, len(data))
                self._missing -= taken
                data = data[taken:]
            else:
                data = self._read_head(data)
                if not self._status:
                    return
            if not self._missing:
                status, self._status = self._status, 0
                yield status

    def _read_head(self, data: bytes) -> bytes:
        """Read status and length; return what follows the head, or keep an incomplete one for later."""
        data = self._buffer + data
        end = data.find(END_OF_HEAD)
        if end < 0:
            self._buffer = data
            return b""
        self._buffer = b""
        head = data[:end].lower()
        at = head.find(LENGTH_HEADER)
        if not head.startswith(b"http/1.1 ") or at < 0:
            raise UnexpectedAnswer(repr(data[:200]))
        self._status = int(head[9:12])
        self._missing = int(head[at + len(LENGTH_HEADER) :].partition(b"\r\n")[0])
        return data[end + len(END_OF_HEAD) :]


def write_requests(path: Path, requests: Sequence[bytes]) -> None:
    """Write requests to a file that `read_requests` reads."""
    with path.open("wb") as file:
        for request in requests:
            file.write(struct.pack("<Q", len(request)))
            file.write(request)


def read_requests(path: Path) -> list[bytes]:
    """Return the requests that were written."""
    data = path.read_bytes()
    requests: list[bytes] = []
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        at += 8
        requests.append(data[at : at + size])
        at += size
    return requests
