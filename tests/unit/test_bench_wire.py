"""How the load generator cuts answers out of a stream, and keeps requests on disk."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.wire import AnswerReader, UnexpectedAnswer, post, read_requests, write_requests

STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\ndate: x\r\n\r\nhello"
    b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"
    b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_answers_are_found_however_the_stream_is_cut(cuts: list[int]) -> None:
    """TCP keeps no boundaries."""
    edges = [0, *sorted(cuts), len(STREAM)]
    reader = AnswerReader()

    statuses = [s for start, end in itertools.pairwise(edges) for s in reader.feed(STREAM[start:end])]

    assert statuses == [200, 204, 503]


def test_answer_without_a_length_is_refused() -> None:
    """The generator would wait for its end for ever."""
    with pytest.raises(UnexpectedAnswer):
        list(AnswerReader().feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"))


def test_requests_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    """Bodies may hold anything, line ends included."""
    requests = [post("/", b"\r\n\r\n\0" * 9), post("/v1/similarity", b"")]

    write_requests(tmp_path / "requests", requests)

    assert read_requests(tmp_path / "requests") == requests
