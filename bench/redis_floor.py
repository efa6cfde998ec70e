"""What Redis itself can do here: `redis-benchmark`, of the Redis that is under test, with values of our size."""

import csv
import io
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from cache.keys import DIGEST_BYTES, NAMESPACE_BYTES
from tests.redis_server import RedisServer

PROGRAM = "redis-benchmark"
CALIBRATION_REQUESTS = 2_000
TIMEOUT_S = 120.0
RANDOM = "__rand_int__"
"""Twelve digits that redis-benchmark draws anew for each key."""
KEY_PREFIX = "sl:".ljust(3 + NAMESPACE_BYTES + DIGEST_BYTES - 12, "k")


@dataclass(frozen=True, slots=True)
class Command:
    """One way to run redis-benchmark: connections, pipelining and the command itself."""

    connections: int
    pipeline: int
    words: tuple[str, ...]
    keys: int = 1


def get(connections: int, pipeline: int) -> Command:
    """GET of one random key."""
    return Command(connections, pipeline, ("GET", KEY_PREFIX + RANDOM))


def mget(connections: int, keys: int) -> Command:
    """MGET of so many random keys."""
    return Command(connections, 1, ("MGET", *([KEY_PREFIX + RANDOM] * keys)), keys)


def put(connections: int, pipeline: int, value_bytes: int) -> Command:
    """SET of a random key."""
    return Command(connections, pipeline, ("SET", KEY_PREFIX + RANDOM, "v" * value_bytes))


def find_program() -> str | None:
    """Where redis-benchmark is, or None."""
    return shutil.which(PROGRAM)


def fill(server: RedisServer, keys: int, value_bytes: int) -> None:
    """Give the server every key that redis-benchmark may draw, so that each is found."""
    step = 500
    for first in range(0, keys, step):
        words: list[str] = ["MSET"]
        for number in range(first, min(first + step, keys)):
            words += [f"{KEY_PREFIX}{number:012d}", "v" * value_bytes]
        server.call(*words)


def measure(server: RedisServer, command: Command, *, key_space: int, seconds: float) -> dict[str, float]:
    """Run for about so many seconds; return commands/s, keys/s and latency percentiles."""
    calibration = _run(server, command, CALIBRATION_REQUESTS, key_space)
    requests = max(CALIBRATION_REQUESTS, int(calibration["rps"] * seconds))
    row = _run(server, command, requests, key_space)
    return {
        "commands_per_s": row["rps"],
        "keys_per_s": row["rps"] * command.keys,
        "p50_ms": row["p50_latency_ms"],
        "p99_ms": row["p99_latency_ms"],
    }


def _run(server: RedisServer, command: Command, requests: int, key_space: int) -> dict[str, float]:
    program = find_program()
    assert program is not None
    options: Sequence[str] = [
        *("-h", "127.0.0.1", "-p", str(server.port), "--csv", "-r", str(key_space)),
        *("-c", str(command.connections), "-P", str(command.pipeline), "-n", str(requests)),
    ]
    output = subprocess.run(  # noqa: S603 - the program that was found, arguments of ours
        [program, *options, *command.words], check=True, capture_output=True, text=True, timeout=TIMEOUT_S
    ).stdout
    return parse(output)


def parse(output: str) -> dict[str, float]:
    """Read the CSV of one test; the first column, which repeats the command, is left out."""
    *_, header, row = [line for line in csv.reader(io.StringIO(output)) if line]
    return {name: float(value) for name, value in zip(header[1:], row[1:], strict=True)}
