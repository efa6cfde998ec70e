"""`secondlook query` against a server that answers as the contract's worked example does."""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from secondlook import cli

TIERING = {
    "tier": "accurate",
    "confidence": 0.93,
    "margin": 2.6,
    "escalated": True,
    "degraded": None,
    "cache": {"image": "miss", "texts": {"hit": 2, "miss": 0}},
    "policy": "p-3c81a0",
}
ITEM = {"index": 0, "key": "i:9f", "best": 1, "cosine": [0.24, 0.31], "probability": [0.07, 0.93], "tiering": TIERING}
ANSWER = {"object": "similarity", "model": {}, "data": [ITEM], "usage": {}}
BAD_IMAGE = {"message": "not a picture", "type": "invalid_request_error", "code": "bad_image", "param": "images[0]"}


@contextmanager
def answering(status: int, body: object) -> Iterator[tuple[str, list[Any]]]:
    """A server that gives one answer to everything; yields its URL and the bodies it was sent."""
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


@pytest.fixture
def picture(tmp_path: Path) -> str:
    """A file to send; nobody decodes it here."""
    file = tmp_path / "cat.jpg"
    file.write_bytes(b"picture")
    return str(file)


def test_query_prints_texts_best_first(picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Aligned lines in a pipe, then who answered."""
    with answering(200, ANSWER) as (url, received):
        assert cli.main(["query", picture, "a dog", "a cat", "--url", url]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["probability", "cosine", "text"],
        ["0.9300", "0.3100", "a", "cat"],
        ["0.0700", "0.2400", "a", "dog"],
    ]
    assert lines[3].startswith("accurate tier, after a second look; confidence 0.930; 2 of 3 embeddings cached; ")
    assert received == [{"images": [{"image": "cGljdHVyZQ=="}], "texts": ["a dog", "a cat"]}]


def test_query_prints_the_answer_as_json(picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` is the service's answer, nothing else."""
    with answering(200, ANSWER) as (url, _):
        assert cli.main(["query", picture, "a dog", "a cat", "--url", url, "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == ANSWER


def test_query_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is standard input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    with answering(200, ANSWER) as (url, received):
        assert cli.main(["query", "-", "a dog", "a cat", "--url", url]) == 0

    assert received[0]["images"] == [{"image": "cGlwZWQ="}]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (422, {"error": BAD_IMAGE}, "422: not a picture [bad_image] (images[0])"),
        (200, {**ANSWER, "data": [{"index": 0, "error": BAD_IMAGE}]}, "not a picture [bad_image] (images[0])"),
        (500, ["not", "ours"], "500: an answer that is not of this API"),
    ],
)
def test_query_fails_with_the_services_own_words(
    picture: str, status: int, body: object, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error answer, or an item that failed alone, ends with 1 and its message."""
    with answering(status, body) as (url, _):
        assert cli.main(["query", picture, "a", "b", "--url", url]) == 1

    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"secondlook: {said}\n")


def test_query_without_a_service_says_how_to_start_one(picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens: exit code 1 and a way out."""
    assert cli.main(["query", picture, "a", "--url", "http://127.0.0.1:9"]) == 1
    assert "secondlook serve" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["ftp://example.com", "nonsense", "http://"])
def test_query_refuses_what_is_no_url(picture: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong URL is told as such."""
    assert cli.main(["query", picture, "a", "--url", url]) == 1
    assert "URL" in capsys.readouterr().err


def test_query_of_a_missing_file_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """A picture that is not there is named."""
    assert cli.main(["query", "/no/such/cat.jpg", "a"]) == 1
    assert "/no/such/cat.jpg: no such file or directory" in capsys.readouterr().err
