"""What several unit tests of the client share."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Unpack

import pytest

from secondlook import RetryPolicy
from secondlook.client.connection import Options
from tests.client_drivers import DRIVERS, Ask, Connect
from tests.contract_service import ContractService
from tests.http_server import Asked, Reply, serving

FAST_RETRIES = RetryPolicy(first_pause_s=0.001, longest_pause_s=0.002)


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.__name__)
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """One of the two clients; each test is about both."""
    driver: Callable[..., AbstractContextManager[Ask]] = request.param
    with ExitStack() as stack:

        def connected(answer: Callable[[Asked], Reply], **options: Unpack[Options]) -> Ask:
            url = stack.enter_context(serving(answer))
            return stack.enter_context(driver(url, **{"retry": FAST_RETRIES, **options}))

        yield connected


@pytest.fixture
def service() -> ContractService:
    """A service that has seen nothing."""
    return ContractService()
