"""A redis-server of its own for each test that needs one."""

from collections.abc import Iterator

import pytest

from tests.redis_server import RedisServer


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A running, empty server without limits."""
    with RedisServer() as server:
        yield server
