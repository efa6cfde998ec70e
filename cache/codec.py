"""The stored form of a vector: a msgpack array [version, dtype, dim, body], little-endian.

The array's header is constant for a dtype and dim; the body is a 64-bit check over key, input length and
vector, the input length, and the vector. A batch is decoded by one join, one header comparison and one
strided view. Whatever is not exactly the value of its key is None, never an exception or a wrong vector.
"""

import struct
from collections.abc import Sequence
from typing import Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

DType = Literal["float16", "float32"]

MAX_DIM = 16_000
MIN_BATCH = 6
_VERSION = 1
_DTYPE_CODES: dict[DType, int] = {"float16": 2, "float32": 4}
_STORED: dict[DType, np.dtype[np.float16] | np.dtype[np.float32]] = {
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
}
# fixarray(4), uint8 version, fixint dtype, uint32 dim, bin16 body: 12 bytes keep the vector 4-byte aligned.
_HEADER = struct.Struct(">BBBBBIBH")
_CHECK = struct.Struct("<Q")
_LENGTH = struct.Struct("<Q")
_CHECK_AND_LENGTH = struct.Struct("<QQ")
_CHECKED_FROM = _HEADER.size + _CHECK.size
_OVERHEAD = _CHECKED_FROM + _LENGTH.size
_DIGEST = xxhash.xxh3_64_intdigest


def _make_header(dtype: DType, dim: int) -> bytes:
    if not 0 < dim <= MAX_DIM:
        raise ValueError(f"dim: expected 1 to {MAX_DIM}, got {dim}")
    body_bytes = _CHECK.size + _LENGTH.size + dim * _STORED[dtype].itemsize
    return _HEADER.pack(0x94, 0xCC, _VERSION, _DTYPE_CODES[dtype], 0xCE, dim, 0xC5, body_bytes)


class _Layout:
    """The constant header and the numpy record of one dim, and the decoding of values of their size."""

    __slots__ = ("_header_words", "_record", "_stored", "header", "size")

    def __init__(self, dtype: DType, dim: int) -> None:
        self.header = _make_header(dtype, dim)
        self._header_words = np.frombuffer(self.header, dtype="<u4")
        self._stored = _STORED[dtype]
        self._record = np.dtype(
            [("header", "<u4", (3,)), ("check", "<u8"), ("length", "<u8"), ("vector", self._stored, (dim,))]
        )
        self.size = self._record.itemsize

    def decode_one(self, key: bytes, value: bytes, length: int | None) -> NDArray[np.float32] | None:
        """Return one value's vector, float32[dim]; None if it is not valid for its key and length."""
        check, stored_length = _CHECK_AND_LENGTH.unpack_from(value, _HEADER.size)
        if (
            not value.startswith(self.header)
            or length not in (None, stored_length)
            or _DIGEST(key + value[_CHECKED_FROM:]) != check
        ):
            return None
        vector = np.frombuffer(value, self._stored, offset=_OVERHEAD).astype(np.float32)
        vector.flags.writeable = False
        return vector

    def decode_batch(
        self, keys: Sequence[bytes], values: Sequence[bytes], lengths: Sequence[int | None]
    ) -> list[NDArray[np.float32] | None]:
        """Return the values' vectors, rows of one float32[n, dim]; None for what is not valid."""
        records = np.frombuffer(b"".join(values), dtype=self._record)
        digests = [_DIGEST(key + value[_CHECKED_FROM:]) for key, value in zip(keys, values, strict=True)]
        is_valid = (records["header"] == self._header_words).all(axis=1)
        is_valid &= records["check"] == np.array(digests, dtype=np.uint64)
        stored_lengths = records["length"].tolist()
        if stored_lengths != lengths:
            is_valid &= [
                length is None or length == stored for length, stored in zip(lengths, stored_lengths, strict=True)
            ]
        vectors = _widen(records["vector"])
        vectors.flags.writeable = False
        found: list[NDArray[np.float32] | None] = list(vectors)
        for place in np.flatnonzero(~is_valid):
            found[place] = None
        return found


def _widen(stored: NDArray[np.float16] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the numbers as float32, exactly; finite float16 a third of the time that `astype` takes.

    A float16's bits, sign-extended and shifted by 13, are the float32 of a number 2^112 times too small.
    """
    if stored.dtype.itemsize == 4:
        return stored.astype(np.float32)
    bits = stored.view("<i2").astype(np.int32)
    bits <<= 13
    bits &= np.int32(-0x70000001)
    widened = bits.view(np.float32)
    widened *= np.float32(2.0**112)
    return widened


class Codec:
    """Encodes float32 vectors at one storage precision, and decodes them in batches."""

    def __init__(self, dtype: DType = "float16") -> None:
        self._dtype = dtype
        self._stored = _STORED[dtype]
        self._layouts: dict[int, _Layout] = {}

    def encode(self, key: bytes, vector: NDArray[np.float32], input_length: int) -> bytes:
        """Return the stored form of a vector.

        Args:
            key: The storage key; the value is valid under no other.
            vector: float32[dim], finite in the storage precision.
            input_length: Bytes of the input that the vector was computed from.

        Raises:
            ValueError: The vector has another shape, or a number that the storage precision cannot hold.
        """
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(vector, dtype=self._stored)
        if stored.ndim != 1 or not np.isfinite(stored).all():
            raise ValueError(f"vector: expected one dimension of finite {self._dtype}")
        body = _LENGTH.pack(input_length) + stored.tobytes()
        return self._layout(stored.shape[0]).header + _CHECK.pack(_DIGEST(key + body)) + body

    def encode_many(
        self, keys: Sequence[bytes], vectors: Sequence[NDArray[np.float32]], input_lengths: Sequence[int]
    ) -> list[bytes | None]:
        """Return the stored forms of vectors, float32[dim] each, of any dims; None where `encode` refuses."""
        encoded: list[bytes | None] = []
        for key, vector, length in zip(keys, vectors, input_lengths, strict=True):
            try:
                encoded.append(self.encode(key, vector, length))
            except ValueError:
                encoded.append(None)
        return encoded

    def decode_many(
        self,
        keys: Sequence[bytes],
        values: Sequence[bytes | None],
        *,
        dim: int,
        input_lengths: Sequence[int | None],
    ) -> list[NDArray[np.float32] | None]:
        """Return the vectors, read-only float32[dim], and None for what is absent or not valid for its key.

        Args:
            keys: The storage keys which the values were found under.
            values: What a store returned for them.
            dim: The vectors' dimension.
            input_lengths: Bytes of each input; None where only its key is known.
        """
        layout = self._layout(dim)
        found: list[NDArray[np.float32] | None] = [None] * len(keys)
        places: list[int] = []
        present: list[bytes] = []
        for place, value in enumerate(values):
            if value is not None and len(value) == layout.size:
                places.append(place)
                present.append(value)
        if len(places) < MIN_BATCH:
            for place, value in zip(places, present, strict=True):
                found[place] = layout.decode_one(keys[place], value, input_lengths[place])
        else:
            vectors = layout.decode_batch(
                [keys[place] for place in places], present, [input_lengths[place] for place in places]
            )
            for place, vector in zip(places, vectors, strict=True):
                found[place] = vector
        return found

    def _layout(self, dim: int) -> _Layout:
        layout = self._layouts.get(dim)
        if layout is None:
            layout = self._layouts[dim] = _Layout(self._dtype, dim)
        return layout
