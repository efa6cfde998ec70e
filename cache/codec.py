"""From vectors to stored values and back, whatever their dims.

Whatever is not exactly the value of its key is None, never an exception or a wrong vector.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cache.layout import MAX_DIM, DType, Layout, Stored

# So many values are decoded together, fewer one by one.
MIN_BATCH = 6


class Codec:
    """Encodes float32 vectors at one storage precision, and decodes them in batches."""

    def __init__(self, dtype: DType = "float16") -> None:
        self._dtype = dtype
        self._layouts: dict[int, Layout] = {}

    def encode(self, key: bytes, vector: NDArray[np.float32], input_length: int, token_count: int = 0) -> bytes:
        """Return the stored form of a vector.

        Args:
            key: The storage key; the value is valid under no other.
            vector: float32[dim], finite in the storage precision.
            input_length: Bytes of the input that the vector was computed from, less than 2^40.
            token_count: Tokens of that input, less than 2^24.

        Raises:
            ValueError: The vector has another shape, or a number that the storage precision cannot hold.
        """
        if vector.ndim != 1:
            raise ValueError("vector: expected one dim")
        (value,) = self._layout(vector.shape[0]).encode([key], vector[np.newaxis], [input_length], [token_count])
        if value is None:
            raise ValueError(f"expected finite {self._dtype}, and a length and a token count that are in range")
        return value

    def encode_many(
        self,
        keys: Sequence[bytes],
        vectors: Sequence[NDArray[np.float32]],
        input_lengths: Sequence[int],
        token_counts: Sequence[int],
    ) -> list[bytes | None]:
        """Return the stored forms of vectors, float32[dim] each, of any dims; None where `encode` refuses."""
        places_of: dict[tuple[int, ...], list[int]] = {}
        for place, vector in enumerate(vectors):
            places_of.setdefault(vector.shape, []).append(place)
        encoded: list[bytes | None] = [None] * len(keys)
        for shape, places in places_of.items():
            if len(shape) != 1 or not 0 < shape[0] <= MAX_DIM:
                continue
            values = self._layout(shape[0]).encode(
                [keys[place] for place in places],
                np.array([vectors[place] for place in places], dtype=np.float32),
                [input_lengths[place] for place in places],
                [token_counts[place] for place in places],
            )
            for place, value in zip(places, values, strict=True):
                encoded[place] = value
        return encoded

    def decode(self, key: bytes, value: bytes, *, dim: int, input_length: int | None) -> Stored | None:
        """Return what one value holds, its vector in memory of its own; None if it is not valid for its key."""
        layout = self._layouts.get(dim) or self._layout(dim)
        return layout.decode_one(key, value, input_length) if len(value) == layout.size else None

    def decode_many(
        self,
        keys: Sequence[bytes],
        values: Sequence[bytes | None],
        *,
        dim: int,
        input_lengths: Sequence[int | None],
        owned: bool = False,
    ) -> list[Stored | None]:
        """Return what the values hold, and None for what is absent or not valid for its key.

        Args:
            keys: The storage keys which the values were found under.
            values: What a store returned for them.
            dim: The vectors' dimension.
            input_lengths: Bytes of each input; None where only its key is known.
            owned: Whether each vector has memory of its own, so that it keeps no other one's alive.
        """
        layout = self._layout(dim)
        if None not in values and set(map(len, values)) == {layout.size}:  # type: ignore[arg-type]
            return _decode(layout, keys, values, input_lengths, owned=owned)  # type: ignore[arg-type]
        present = {
            place: value for place, value in enumerate(values) if value is not None and len(value) == layout.size
        }
        found: list[Stored | None] = [None] * len(values)
        decoded = _decode(
            layout,
            [keys[place] for place in present],
            list(present.values()),
            [input_lengths[place] for place in present],
            owned=owned,
        )
        for place, stored in zip(present, decoded, strict=True):
            found[place] = stored
        return found

    def _layout(self, dim: int) -> Layout:
        layout = self._layouts.get(dim)
        if layout is None:
            layout = self._layouts[dim] = Layout(self._dtype, dim)
        return layout


def _decode(
    layout: Layout,
    keys: Sequence[bytes],
    values: Sequence[bytes],
    lengths: Sequence[int | None],
    *,
    owned: bool,
) -> list[Stored | None]:
    if len(values) < MIN_BATCH:
        return list(map(layout.decode_one, keys, values, lengths))
    return layout.decode_batch(keys, values, lengths, owned=owned)
