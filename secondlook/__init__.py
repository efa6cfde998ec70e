"""Image-text similarity over HTTP. `from secondlook import Client` loads the client, and nothing of the service."""

from typing import TYPE_CHECKING

from secondlook.errors import SecondlookError

if TYPE_CHECKING:
    from secondlook.client import (
        ApiError,
        AsyncClient,
        Client,
        ClientError,
        ConnectionFailed,
        DeadlineExceeded,
        ItemError,
        Key,
        Overloaded,
        RateLimited,
        RetryPolicy,
        UnreadableAnswer,
    )

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "DeadlineExceeded",
    "ItemError",
    "Key",
    "Overloaded",
    "RateLimited",
    "RetryPolicy",
    "SecondlookError",
    "UnreadableAnswer",
]


def __getattr__(name: str) -> object:
    """Load the client when it is first asked for: the command line's --help does not need it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from secondlook import client  # noqa: PLC0415

    return getattr(client, name)
