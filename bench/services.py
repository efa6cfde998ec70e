"""What the benchmarks measure, each running until its block ends: bare uvicorn, empty Serve, our service."""

import http.client
import itertools
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from bench.load_process import REPOSITORY, Target
from bench.wire import END_OF_HEAD
from tests.deployment_files import write_deployment_file
from tests.service_process import RunningService, run_command, run_service

START_TIMEOUT_S = 30.0
REQUEST_TIMEOUT_S = 60.0
_file_numbers = itertools.count()


@contextmanager
def bare_uvicorn() -> Iterator[Target]:
    """Run the empty application on uvicorn alone, one process."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.empty_app:application", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--no-access-log", "--log-level", "warning", "--http", "httptools"]
    with subprocess.Popen(command, cwd=REPOSITORY) as process:  # noqa: S603 - this interpreter
        try:
            _wait_for_port(port, process)
            yield Target("127.0.0.1", port, process.pid)
        finally:
            process.terminate()


@contextmanager
def empty_serve(replicas: int) -> Iterator[Target]:
    """Run the empty application on Serve, by the project's own launcher."""
    with run_command([sys.executable, "-m", "bench.serve_empty", str(replicas)]) as service:
        yield target_of(service)


@contextmanager
def our_service(
    folder: Path, changes: Mapping[str, Any], replicas: int = 1, *, fast_model: Mapping[str, Any] | None = None
) -> Iterator[Target]:
    """Run the service with the quick start's deployment file and changes to it.

    Args:
        folder: Where the file is written.
        changes: Values of the file to set.
        replicas: Of the router.
        fast_model: What stands under `tiers.fast.model` in place of the quick start's model.
    """
    scaling = {"min_replicas": replicas, "max_replicas": replicas, "target_ongoing_requests": 100}
    router = {"autoscaling": scaling, **changes.get("router", {})}
    file = folder / f"service-{next(_file_numbers)}.yaml"
    write_deployment_file(file, {**changes, "router": router})
    if fast_model is not None:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        document["tiers"]["fast"]["model"] = dict(fast_model)
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
    with run_service(file) as service:
        yield target_of(service)


def ask(target: Target, request: bytes) -> tuple[int, Any]:
    """Send one whole request and return status and the body, parsed where it is JSON."""
    head, _, body = request.partition(END_OF_HEAD)
    first, *lines = head.decode("ascii").split("\r\n")
    method, path, _ = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    with closing(http.client.HTTPConnection(target.host, target.port, timeout=REQUEST_TIMEOUT_S)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(data) if is_json else data


def status(target: Target) -> dict[str, Any]:
    """Return what `/admin/status` says."""
    _, document = ask(target, b"GET /admin/status HTTP/1.1" + END_OF_HEAD)
    assert isinstance(document, dict)
    return document


def target_of(service: RunningService) -> Target:
    """Return a running service as a target of load."""
    parts = urlsplit(service.base_url)
    assert parts.hostname is not None
    assert parts.port is not None
    return Target(parts.hostname, parts.port, service.pid)


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_at and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"uvicorn does not start (exit code {process.poll()})")
