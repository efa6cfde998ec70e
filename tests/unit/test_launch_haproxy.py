"""What stands between Serve and HAProxy: the wrapper script and the front door."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from secondlook import haproxy

CONFIG = """defaults
    timeout client 3600s
    timeout server 3600s
    option splice-request
    option splice-response
frontend prometheus
    bind :9101
frontend http_frontend
    bind {front}:8000
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path \'%[path]\' not found."
listen stats
  bind *:8404
"""


@pytest.fixture
def wrapper(tmp_path: Path) -> Path:
    """A wrapper around a program that prints the file it is given."""
    binary = tmp_path / "fake haproxy"
    binary.write_text('#!/bin/sh\ncat "$3"\n')
    binary.chmod(0o700)
    return haproxy.write_wrapper(binary, tmp_path)


def start(wrapper: Path, front: str = "127.0.0.1") -> subprocess.CompletedProcess[str]:
    """Start the wrapper as Serve does."""
    config = wrapper.parent / "haproxy.cfg"
    config.write_text(CONFIG.replace("{front}", front))
    return subprocess.run([wrapper, "-db", "-f", config], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("front", ["*", "192.0.2.1"])
def test_wrapper_keeps_haproxys_own_pages_on_loopback(wrapper: Path, front: str) -> None:
    """Status and metrics are bound to loopback, the front door to what was asked for: Serve writes `*` for 0.0.0.0."""
    started = start(wrapper, front)

    binds = [line.split()[1] for line in started.stdout.splitlines() if "bind" in line]
    assert binds == ["127.0.0.1:9101", f"{front}:8000", "127.0.0.1:8404"]


def test_wrapper_lets_haproxy_see_clients_go_away(wrapper: Path) -> None:
    """Requests are not spliced; answers may be."""
    started = start(wrapper)

    assert [line.strip() for line in started.stdout.splitlines() if "splice" in line] == ["option splice-response"]


def test_wrapper_gives_clients_little_time_for_a_request(wrapper: Path) -> None:
    """Ten seconds for the head and a minute's pause in the body; what the router may take stays as it is."""
    started = start(wrapper)

    timeouts = [line.strip() for line in started.stdout.splitlines() if "timeout" in line]
    assert timeouts == [
        "timeout http-request 10s",
        "timeout http-keep-alive 300s",
        "timeout client 60s",
        "timeout server 3600s",
    ]


def test_wrapper_tells_clients_to_come_again_while_no_router_is_known(wrapper: Path) -> None:
    """503 with the contract's body, where Serve's template would say that there is no such path."""
    started = start(wrapper)

    (line,) = [line for line in started.stdout.splitlines() if "return status" in line]
    assert line.startswith(
        "    http-request return status 503 content-type application/json hdr Retry-After 1 string '"
    )
    assert json.loads(line.split("'")[1])["error"].keys() == {"message", "type", "code", "param"}


def test_closed_front_door_stays_closed_and_haproxy_is_told_to_finish(wrapper: Path) -> None:
    """The running HAProxy gets its soft stop, and the wrapper starts no other."""
    node = wrapper.parent / "node"
    node.mkdir()
    with (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as running,
        socket.socket(socket.AF_UNIX) as admin,
    ):
        admin.bind(str(node / haproxy.SOCKET_NAME))
        admin.listen()
        threading.Thread(target=answer_once, args=(admin, f"Name: HAProxy\nPid: {running.pid}\n")).start()

        haproxy.close_front_door(wrapper.parent)

        assert running.wait(10) == -signal.SIGUSR1
    assert start(wrapper).returncode == 1


def answer_once(admin: socket.socket, text: str) -> None:
    """Play HAProxy's admin socket for one command."""
    connection, _ = admin.accept()
    with connection:
        connection.recv(100)
        connection.sendall(text.encode())


def test_unreachable_haproxy_answers_nothing(tmp_path: Path) -> None:
    """A drain without HAProxy goes on."""
    assert haproxy.ask(tmp_path / "none.sock", "show info") == ""


def test_binary_that_does_not_run_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for another platform is passed over."""
    broken = tmp_path / "haproxy"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o700)
    monkeypatch.setitem(os.environ, haproxy.BINARY_VARIABLE, str(broken))

    assert haproxy.find_binary() != broken
