"""Both clients behind one face, so that a test states once what both do."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, Unpack

from secondlook import AsyncClient, Client
from secondlook.client.connection import Options
from tests.http_server import Asked, Reply


class Ask(Protocol):
    """Calls a client's method by its name and waits for the answer."""

    def __call__(self, method: str, /, *args: object, **kwargs: object) -> Any:
        """Call it."""


class Connect(Protocol):
    """Connects a client to a server of these answers, until the test ends."""

    def __call__(self, answer: Callable[[Asked], Reply], **options: Unpack[Options]) -> Ask:
        """Serve and connect."""


@contextmanager
def waiting(url: str, **options: Unpack[Options]) -> Iterator[Ask]:
    """`Client`."""
    with Client(url, **options) as client:
        yield lambda method, /, *args, **kwargs: getattr(client, method)(*args, **kwargs)


@contextmanager
def on_a_loop(url: str, **options: Unpack[Options]) -> Iterator[Ask]:
    """`AsyncClient`, on an event loop of its own."""
    with asyncio.Runner() as runner:
        client = AsyncClient(url, **options)
        try:
            yield lambda method, /, *args, **kwargs: runner.run(getattr(client, method)(*args, **kwargs))
        finally:
            runner.run(client.aclose())


DRIVERS = (waiting, on_a_loop)
