"""Runs `bench.encoder_worker`: a model in a process of its own, to be timed now and then."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.encoder_task import Setup, Task
from bench.load_process import REPOSITORY, RequestSet


class EncoderFailed(Exception):
    """Raised when the worker ended without an answer; what it wrote is on standard error."""


class EncoderProcess:
    """A worker that is ready. It uses no CPU between two tasks."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def run(self, task: Task) -> dict[str, Any]:
        """Have one task timed."""
        self.send(asdict(task))
        return self.receive()

    def send(self, document: dict[str, Any]) -> None:
        """Write one line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(document).encode() + b"\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Read its next line.

        Raises:
            EncoderFailed: There is none.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EncoderFailed(f"the encoder's process ended with {self._process.wait()}")
        document: dict[str, Any] = json.loads(line)
        return document


@contextmanager
def encoder_process(
    folder: Path, model: dict[str, Any], batch: dict[str, int], pictures: Sequence[bytes], texts: Sequence[str]
) -> Iterator[EncoderProcess]:
    """Load a model in a process of its own, until the block ends."""
    file = RequestSet.write(folder, pictures).path
    with subprocess.Popen(
        [sys.executable, "-m", "bench.encoder_worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY
    ) as process:
        try:
            encoder = EncoderProcess(process)
            encoder.send(asdict(Setup(dict(model), dict(batch), str(file), list(texts))))
            encoder.receive()
            yield encoder
        finally:
            process.kill()
