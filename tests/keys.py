"""API keys for tests: real ones, and their entries."""

from typing import Any

from router.access_config import KeyEntry
from router.api_keys import hash_key, new_key

USER, OTHER, ADMIN = new_key(), new_key(), new_key()


def entry(key: str, name: str = "a-key", **fields: Any) -> KeyEntry:
    """What is kept of a key."""
    return KeyEntry.model_validate({"id": name, "hash": hash_key(key), **fields})


def bearer(key: str) -> dict[str, str]:
    """The header that sends a key."""
    return {"Authorization": f"Bearer {key}"}
