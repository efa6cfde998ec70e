"""What is asked of a tier in one call, and what its reply says of each item."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.errors import ApiError, BadImage, DeadlineExceeded, InternalError, TooLarge, UnsupportedMedia
from router.items import Item
from tiers.errors import ItemCode
from tiers.messages import EncodeCall, EncodeReply, TrafficClass

_ITEM_ERRORS: dict[ItemCode, type[ApiError]] = {
    "too_large": TooLarge,
    "unsupported_media": UnsupportedMedia,
    "bad_image": BadImage,
    "expired": DeadlineExceeded,
    "internal": InternalError,
}


@dataclass(frozen=True, slots=True)
class Encoded:
    """One embedding as a tier made it: float32, shape (dimension,), unit length."""

    vector: NDArray[np.float32]
    token_count: int
    revision: str
    queue_ms: float


def call_for(items: Sequence[Item], budget_s: float, traffic: TrafficClass) -> EncodeCall:
    """Make the call for items of which the images come first."""
    images: list[bytes] = []
    texts: list[str] = []
    for item in items:
        if isinstance(item.content, bytes):
            images.append(item.content)
        elif isinstance(item.content, str):
            texts.append(item.content)
    return EncodeCall(tuple(images), tuple(texts), budget_s, traffic)


def read_reply(items: Sequence[Item], queued_ms: Sequence[float], reply: EncodeReply) -> list[Encoded | ApiError]:
    """Tell what the reply says of each item; `queued_ms` is what each had waited before the call.

    Raises:
        ValueError: It is no reply to a call for these items.
    """
    failures = {failure.index: failure for failure in reply.failures}
    images = sum(item.modality == "image" for item in items)
    results: list[Encoded | ApiError] = []
    for index, (_, row, waited_ms) in enumerate(zip(items, reply.matrix(), queued_ms, strict=True)):
        if index in failures:
            failure = failures[index]
            results.append(_ITEM_ERRORS[failure.code](failure.message))
        else:
            tokens = reply.token_counts[index - images] if index >= images else 0
            results.append(Encoded(row, tokens, reply.revision, waited_ms))
    return results
