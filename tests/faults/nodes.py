"""A Ray cluster of several nodes on one machine: each has its address, its ingress and its disk, and can be lost."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from secondlook import haproxy, watchdog
from secondlook.ports import PortBlock, claim_address, claim_block
from secondlook.ray_environment import haproxy_environment, service_environment
from secondlook.watchdog import marked_processes
from tests.faults.processes import REPLICA_TITLE, titled
from tests.redis_server import RedisServer
from tests.service_process import REPOSITORY

START_TIMEOUT_S = 120.0
LOST_WITHIN_S = 30.0
GCS_OFFSET = 5
"""A port of the head's block that nothing else uses: it stays the cluster's while no head runs."""
OBJECT_STORE_BYTES = 80 * 2**20
SHORT_PATH = "/tmp"
"""Sockets lie below: pytest's folders have longer paths than the kernel allows for these."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is found, whichever machine is put there: a lost head is replaced at its own address."""

    address: str
    http_port: int
    ports: PortBlock

    @property
    def base_url(self) -> str:
        """The node's ingress."""
        return f"http://{self.address}:{self.http_port}"


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster: the processes that are marked with its folder."""

    place: Place
    folder: Path
    guard: subprocess.Popen[bytes]

    def lose(self) -> None:
        """Kill all that runs there, without warning, and remove its disk."""
        assert self.guard.stdin is not None
        self.guard.stdin.close()
        self.guard.wait(LOST_WITHIN_S)

    def processes(self, title: str) -> set[int]:
        """The node's processes of this title."""
        return titled(marked_processes(str(self.folder)), title)

    def replicas(self, deployment: str = "") -> set[int]:
        """The processes of one deployment's replicas there, or of all."""
        return self.processes(REPLICA_TITLE + deployment)


class Cluster:
    """Nodes that find each other at the head, whose GCS keeps what it knows in a Redis outside of them."""

    def __init__(self, folder: Path, redis: RedisServer, binary: Path, held: ExitStack) -> None:
        self._folder = folder
        # Serve's controller has all nodes' HAProxies keep their files where its own environment says.
        self._ingress = folder / "ha"
        self._ingress.mkdir()
        self._wrapper = haproxy.write_wrapper(binary, self._ingress)
        self._redis = redis
        self._held = held
        # Any 127.x.y.z is this machine on Linux: other clusters on it have others.
        self._network = f"127.{secrets.randbelow(250) + 2}.{secrets.randbelow(250) + 2}"
        self._places = 0
        self.head = self._new_place()
        self._head_node: Node | None = None
        self._token = folder / "token"
        self._token.touch(mode=0o600)
        self._token.write_text(secrets.token_hex(32), encoding="ascii")

    @property
    def address(self) -> str:
        """Where nodes and drivers find the GCS."""
        return f"{self.head.address}:{self.head.ports.base + GCS_OFFSET}"

    def start_head(self) -> None:
        """Start a head that runs no replicas; after one that has been lost, in its place."""
        port = self.head.ports.base + GCS_OFFSET
        options = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")
        self._head_node = self._start(self.head, *options)

    def lose_head(self) -> None:
        """Kill GCS, raylet, controller, ingress and whatever else is there."""
        assert self._head_node is not None
        self._head_node.lose()

    def start_worker(self) -> Node:
        """Add a node with room for replicas."""
        return self._start(self._new_place(), f"--address={self.address}", "--num-cpus=2")

    def serve(self, *arguments: str | Path) -> dict[str, Any]:
        """Call on Serve's controller by way of the head (tests/faults/operations.py); returns what runs."""
        script = [sys.executable, "-m", "tests.faults.operations", self.address, str(self.head.http_port)]
        environment = self._environment(self.head, self._folder)
        ended = self._run([*script, *map(str, arguments)], environment)
        found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return found

    def _new_place(self) -> Place:
        self._places += 1
        http_port = self._held.enter_context(claim_address("0.0.0.0", 0))
        return Place(f"{self._network}.{self._places}", http_port, self._held.enter_context(claim_block()))

    def _start(self, place: Place, *options: str) -> Node:
        folder = Path(tempfile.mkdtemp(prefix="sl-", dir=SHORT_PATH))
        guard = subprocess.Popen(
            [sys.executable, "-S", "-E", watchdog.__file__, str(folder)], stdin=subprocess.PIPE, start_new_session=True
        )
        node = Node(place, folder, guard)
        self._held.callback(node.lose)
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--node-ip-address={place.address}"]
        # Each has its own disk. Without ranges of ports that all nodes would try, they choose free ones.
        command += [f"--temp-dir={folder / 'r'}", f"--object-store-memory={OBJECT_STORE_BYTES}"]
        command += ["--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats", *options]
        self._run(command, self._environment(place, folder))
        return node

    def _environment(self, place: Place, folder: Path) -> dict[str, str]:
        """What the product sets for its one node, and what a cluster needs beside that."""
        return {
            **os.environ,
            **service_environment(folder, REPOSITORY, ""),
            **haproxy_environment(self._wrapper, self._ingress, place.ports),
            "RAY_AUTH_TOKEN_PATH": str(self._token),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "RAY_REDIS_ADDRESS": f"127.0.0.1:{self._redis.port}",
            "RAY_external_storage_namespace": "secondlook-test",
            # Nodes of one machine share its ports: all but the head's ingress listen where this says.
            "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(place.http_port),
        }

    def _run(self, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            command,
            env=environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
        assert ended.returncode == 0, f"{' '.join(command[2:5])} ended with {ended.returncode}:\n{ended.stderr[-3000:]}"
        return ended


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster without nodes yet; all are gone when the block ends."""
    binary = haproxy.find_binary()
    if binary is None:
        pytest.skip("needs HAProxy, and 127.0.0.0/8 to be this machine, as on Linux")
    with ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="sl-", dir=SHORT_PATH))
        redis = held.enter_context(RedisServer())
        yield Cluster(Path(folder), redis, binary, held)
