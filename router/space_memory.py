"""What this process holds of a tier's space, without waiting for anything."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache.local_lru import LocalStore
from cache.two_level import EmbeddingCache, Stored
from router.confidence import Scale
from router.items import Item
from router.space import Space


class TextMatrix(NamedTuple):
    """The embeddings of a list of texts that comes again and again, ready to be compared with.

    `matrix` is float32[texts, dimension]; `scale` is that of the model which made it.
    """

    matrix: NDArray[np.float32]
    columns: tuple[int, ...]
    token_count: int
    is_truncated: bool
    scale: Scale
    model_id: str


class SpaceMemory:
    """Embeddings of one space in this process: single ones in the cache's first level, lists of texts as matrices.

    A matrix is stacked once, and not from dozens of vectors for each request; it can't go stale, because its
    name is made of its texts' digests and its space ends with the model's revision.
    """

    def __init__(self, space: Space, cache: EmbeddingCache, matrix_bytes: int) -> None:
        self._space = space
        self._cache = cache
        self._matrices: LocalStore[TextMatrix] = LocalStore(matrix_bytes, size_of=_weigh)

    @property
    def full_name(self) -> str:
        """The space's full name, as certificates give it."""
        return self._space.full_name

    @property
    def context_length(self) -> int:
        """Tokens that the model reads of a text."""
        return self._space.description.context_length

    def texts(self, name: bytes, texts: Sequence[Item]) -> TextMatrix | None:
        """Return the texts' matrix, if every one's embedding is in this process; `name` is their digests, joined."""
        # A tenant may name texts by keys of another's, which it must not find.
        if texts and texts[0].tenant:
            name = texts[0].tenant.encode() + b":" + name
        known = self._matrices.get_all_now((name,))
        if known is not None:
            return known[0]
        found = self._cache.get_all_now(self._space.lookups(texts))
        if found is None:
            return None
        matrix = TextMatrix(
            np.array([stored.vector for stored in found]),
            tuple(range(len(found))),
            sum(stored.token_count for stored in found),
            any(stored.token_count > self.context_length for stored in found),
            self._space.scale,
            self._space.model_id,
        )
        self._matrices.put_many_now([(name, matrix)])
        return matrix

    def images(self, images: Sequence[Item]) -> list[Stored] | None:
        """Return every image's embedding if all are in this process."""
        return self._cache.get_all_now(self._space.lookups(images))

    def lacks(self, items: Sequence[Item]) -> bool:
        """Whether the shared store said of every item, a moment ago, that it has not got its embedding."""
        return all(self._cache.is_absent(self._space.key(item)) for item in items)


def _weigh(matrix: TextMatrix) -> int:
    return matrix.matrix.nbytes + 8 * len(matrix.columns)
