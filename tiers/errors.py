"""Errors of the tiers. They cross Ray by pickle, so every argument goes to `super().__init__`.

TierError
├── ModelUnavailable   a model can't be loaded as configured
├── ReplicaOverloaded  a replica's queue of items is full
└── BadItem            one image or text can't be encoded; its neighbours can
"""

from typing import Literal

ItemCode = Literal["too_large", "unsupported_media", "bad_image", "expired", "internal"]


class TierError(Exception):
    """Root of the tiers' errors."""


class ModelUnavailable(TierError):
    """Raised when a model can't be loaded as configured."""


class ReplicaOverloaded(TierError):
    """Raised when a replica would hold more items than its bound."""


class BadItem(TierError):
    """Raised for one image or text that can't be encoded."""

    def __init__(self, code: ItemCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
