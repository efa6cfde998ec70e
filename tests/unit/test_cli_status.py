"""`secondlook status` against the status that a router gives."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from router.breaker import BreakerConfig, CircuitBreaker
from secondlook import cli
from secondlook.commands.status import cache_line, certificate_line
from tests.fakes import FakeRouter


async def router_status(*breakers: CircuitBreaker) -> bytes:
    """What a router answers after one question."""
    async with FakeRouter().client(cache_breakers=breakers) as client:
        await client.post("/v1/similarity", json={"images": [{"image": "YQ=="}], "texts": ["cat", "dog"]})
        return (await client.get("/admin/status")).content


@contextmanager
def serving(body: bytes) -> Iterator[str]:
    """A server that gives one answer to every GET."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/admin/status" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def test_status_names_tiers_cache_and_policy(capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, with what waits, what may, and what was sent."""
    with serving(await router_status()) as url:
        code = cli.main(["status", "--url", url])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[1].split() == ["fast", "closed", "0", "64", "64", "3", "0", "0", "0", "0", "tiny-fast@f1"]
    assert lines[2].split()[:2] == ["accurate", "closed"]
    assert lines[3].startswith("cache: 0.0% found")
    assert "threshold 1.0" in lines[4]


async def test_status_as_json_is_the_services_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """For machines."""
    body = await router_status()
    with serving(body) as url:
        cli.main(["status", "--url", url, "--json"])

    assert json.loads(capsys.readouterr().out) == json.loads(body)


async def test_open_breaker_before_a_redis_server_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """By the server's place in the configuration; closed ones are no news."""
    broken = CircuitBreaker(BreakerConfig(consecutive_failures=1, open_s=3600))
    broken.failed(1000.0)
    with serving(await router_status(CircuitBreaker(), broken)) as url:
        cli.main(["status", "--url", url])

    assert capsys.readouterr().out.splitlines()[3].endswith("; server 1 open")


def test_status_without_a_service_fails_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and what to do."""
    assert cli.main(["status", "--url", "http://127.0.0.1:9"]) == 1
    assert "secondlook serve" in capsys.readouterr().err


def test_cache_that_was_not_asked_says_so() -> None:
    """A share of nothing is none."""
    cache = {"l1_hits": 0, "shared_hits": 0, "misses": 0, "breakers": []}

    assert "none asked for" in cache_line(cache)


@pytest.mark.parametrize(
    ("standing", "effect"),
    [("holds", "second look below 3"), ("alarm", "every item takes a second look"), ("void", "every item")],
)
def test_certificate_is_a_line_with_its_effect_and_its_audit(standing: str, effect: str) -> None:
    """What the operator watches after an application."""
    audit = {"audits": 1200, "recent_agreement": 0.99, "recent_agreement_bound": 0.984}
    certificate = {"id": "c-1", "group": "similarity/2", "standing": standing, "threshold": 3.0, "audit": audit}

    line = certificate_line(certificate)

    assert line.startswith(f"certificate c-1 for similarity/2: {standing}, {effect}")
    assert line.endswith("1200 audits, of late 99.00% agree (at least 98.40%)")
    assert certificate_line({**certificate, "audit": None}).endswith("not audited yet")
