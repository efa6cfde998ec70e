"""The content keys that earlier answers gave for the same bytes."""

import threading
from collections import OrderedDict
from collections.abc import Iterable


class KnownKeys:
    """A bounded LRU from the digest of an image's bytes to its content key; threads may share it."""

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        self._keys: OrderedDict[bytes, str] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, digest: bytes) -> str | None:
        """The key of these bytes, if an answer named it."""
        with self._lock:
            key = self._keys.get(digest)
            if key is not None:
                self._keys.move_to_end(digest)
            return key

    def of(self, digests: Iterable[bytes]) -> dict[bytes, str]:
        """The keys that are known of these."""
        return {digest: key for digest in digests if (key := self.get(digest)) is not None}

    def remember(self, digest: bytes, key: str) -> None:
        """Note a key; where there are too many, the one that was not used for longest goes."""
        with self._lock:
            self._keys[digest] = key
            self._keys.move_to_end(digest)
            while len(self._keys) > self._max_keys:
                self._keys.popitem(last=False)

    def forget(self, digests: Iterable[bytes]) -> None:
        """Drop keys that the service does not know."""
        with self._lock:
            for digest in digests:
                self._keys.pop(digest, None)
