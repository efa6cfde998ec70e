"""Each server in its own environment, answering, until its block ends."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from bench.load import OK
from bench.load_process import REPOSITORY, Target
from bench.peers.apis import APIS, OURS, OURS_INT8
from bench.peers.model import ARCHITECTURE, FOR_TRANSFORMERS, WEIGHTS
from bench.peers.setup import interpreter
from bench.services import ask, free_port, target_of
from tests.deployment_files import write_deployment_file
from tests.service_process import run_service

THREADS = 2
BATCH = 32
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
ENVIRONMENT = {
    "OMP_NUM_THREADS": str(THREADS),
    "PYTHONPATH": str(REPOSITORY),
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
}


class PeerNotReady(Exception):
    """Raised when a peer ended, or took too long, before it embedded a text; shows the end of its log."""


def running(name: str, peers: Path, work: Path) -> AbstractContextManager[Target]:
    """Run one of the servers by name.

    Args:
        name: Of `bench.peers.apis.APIS`.
        peers: What `bench.peers.setup` made.
        work: A folder for deployment files and logs.
    """
    if name in (OURS, OURS_INT8):
        return _our_service(peers, work, "torch" if name == OURS else "onnxruntime-int8")
    return _peer(name, peers, work)


def infinity_command(peers: Path, port: int) -> list[str]:
    """Infinity's own server, its torch engine on the CPU."""
    options = {
        "--model-id": peers / FOR_TRANSFORMERS,
        "--served-model-name": "clip",
        "--engine": "torch",
        "--device": "cpu",
        "--dtype": "float32",
        "--batch-size": BATCH,
        "--host": "127.0.0.1",
        "--port": port,
        "--log-level": "warning",
    }
    command = [str(interpreter(peers / "infinity")), "-m", "bench.peers.infinity_server", "v2"]
    return command + [str(part) for option in options.items() for part in option]


def litserve_command(peers: Path, port: int) -> list[str]:
    """Our program on LitServe."""
    command = [str(interpreter(peers / "litserve")), "-m", "bench.peers.litserve_server"]
    return [*command, str(peers / WEIGHTS), str(port)]


def bentoml_command(peers: Path, port: int) -> list[str]:
    """Our program on BentoML."""
    command = [str(interpreter(peers / "bentoml")), "-m", "bentoml", "serve", "bench.peers.bentoml_server:Clip"]
    return [*command, "--host", "127.0.0.1", "--port", str(port)]


COMMANDS: dict[str, Callable[[Path, int], list[str]]] = {
    "infinity": infinity_command,
    "litserve": litserve_command,
    "bentoml": bentoml_command,
}


def our_deployment(path: Path, weights: Path, engine: str) -> Path:
    """Write the quickstart's file with the peers' model as the fast tier and nothing cached."""
    document: dict[str, Any] = yaml.safe_load(write_deployment_file(path, {"cache": {"url": "none:"}}).read_bytes())
    model = {"architecture": ARCHITECTURE, "pretrained": str(weights), "threads": THREADS, "engine": engine}
    document["tiers"]["fast"]["model"] = model
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@contextmanager
def _our_service(peers: Path, work: Path, engine: str) -> Iterator[Target]:
    file = our_deployment(work / f"peers-{engine}.yaml", peers / WEIGHTS, engine)
    with run_service(file, environment={"OMP_NUM_THREADS": str(THREADS)}) as service:
        yield target_of(service)


@contextmanager
def _peer(name: str, peers: Path, work: Path) -> Iterator[Target]:
    port = free_port()
    log = work / f"{name}.log"
    environment = {
        **os.environ,
        **ENVIRONMENT,
        "BENTOML_HOME": str(work / "bentoml"),
        "CLIP_WEIGHTS": str(peers / WEIGHTS),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - commands of this file
            COMMANDS[name](peers, port),
            cwd=work,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            target = Target("127.0.0.1", port, process.pid)
            _wait_for_answer(target, APIS[name].text("a"), process, log)
            yield target
        finally:
            _end(process)


def _wait_for_answer(target: Target, request: bytes, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_at and process.poll() is None:
        with suppress(OSError):
            code, _ = ask(target, request)
            if code == OK:
                return
        time.sleep(0.2)
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise PeerNotReady(f"exit code {process.poll()}\n{tail}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the peer and every process that it started: they are a session of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
