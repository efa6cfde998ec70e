"""Which shard keeps a key: rendezvous hashing (Thaler and Ravishankar, 1998), by the highest of all shards' weights.

Every router gives the same answer without talking to the others. A shard that is taken away gives up its own keys
and no others; one that is added takes 1/N of each.
"""

from collections.abc import Sequence

import xxhash

_DIGEST = xxhash.xxh3_64_intdigest


class Rendezvous:
    """Places keys on shards by the shards' names; their order plays no part."""

    def __init__(self, names: Sequence[str]) -> None:
        if not names or len(set(names)) != len(names):
            raise ValueError("shards: expected at least one, each once")
        self._seeds = [_DIGEST(name.encode()) for name in names]

    def place(self, key: bytes) -> int:
        """Return the number of the shard that keeps a key."""
        weights = [_DIGEST(key, seed) for seed in self._seeds]
        return weights.index(max(weights))

    def ranking(self, key: bytes) -> list[int]:
        """Return the shards' numbers, the one that keeps the key first, then who would keep it without the former."""
        weights = [_DIGEST(key, seed) for seed in self._seeds]
        return sorted(range(len(weights)), key=weights.__getitem__, reverse=True)
