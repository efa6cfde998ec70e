"""Services that the acceptance tests share: each is started once, for real, when the first test wants it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deployment_files import write_deployment_file
from tests.direct_model import DirectModel
from tests.redis_server import RedisServer
from tests.service_process import run_service


@pytest.fixture(scope="session")
def models() -> dict[str, DirectModel]:
    """Both demo models, called without the service."""
    return {tier: DirectModel(tier) for tier in ("fast", "accurate")}


@pytest.fixture(scope="session")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service on the quickstart's defaults, with an empty embedded store of its own."""
    folder = tmp_path_factory.mktemp("service")
    yield from _serve(folder, {"cache": {"url": f"embedded:{folder / 'cache'}"}})


@pytest.fixture(scope="session")
def client(base_url: str) -> Iterator[httpx.Client]:
    """An HTTP client of that service."""
    with httpx.Client(base_url=base_url, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis, empty."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_base_url(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[str]:
    """A service whose every hit comes from Redis: it has no in-process level."""
    folder = tmp_path_factory.mktemp("redis-service")
    yield from _serve(folder, {"cache": {"url": redis_server.url, "l1_bytes": 0, "lookup_timeout_s": 0.2}})


def _serve(folder: Path, changes: dict[str, Any]) -> Iterator[str]:
    with run_service(write_deployment_file(folder / "service.yaml", changes)) as service:
        yield service.base_url
