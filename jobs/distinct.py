"""Which texts have come before, in 16 bytes a text. Pure."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 16
Digests = NDArray[np.uint64]
"""uint64[n, 2], rows in ascending order of their first halves."""


class Distinct:
    """Remembers digests of texts in sorted runs, each at least twice as long as the next; a text is never kept."""

    def __init__(self) -> None:
        self._runs: list[Digests] = []

    def __len__(self) -> int:
        return sum(len(run) for run in self._runs)

    @property
    def used_bytes(self) -> int:
        """Memory of the digests."""
        return sum(run.nbytes for run in self._runs)

    def are_new(self, texts: Sequence[str]) -> list[bool]:
        """Say of each text whether it comes for the first time, and remember it."""
        digests = [hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest() for text in texts]
        halves = np.frombuffer(b"".join(digests), dtype=np.uint64).reshape(-1, 2)
        is_new = ~np.any([_are_in(run, halves) for run in self._runs] or [np.zeros(len(halves), dtype=bool)], axis=0)
        seen: set[bytes] = set()
        for place, digest in enumerate(digests):
            is_new[place] &= digest not in seen
            seen.add(digest)
        self._add(halves[is_new])
        new: list[bool] = is_new.tolist()
        return new

    def _add(self, digests: Digests) -> None:
        if not len(digests):
            return
        self._runs.append(_in_order(digests))
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            last, before = self._runs.pop(), self._runs.pop()
            self._runs.append(_in_order(np.concatenate([before, last])))


def _in_order(digests: Digests) -> Digests:
    return digests[np.argsort(digests[:, 0], kind="stable")]


def _are_in(run: Digests, digests: Digests) -> NDArray[np.bool_]:
    """Two of one first half, which do not occur, would at worst let a text pass as new."""
    places = np.searchsorted(run[:, 0], digests[:, 0]).clip(max=len(run) - 1)
    return np.asarray((run[places] == digests).all(axis=1))
