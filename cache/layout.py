"""The stored form of one dtype and dim: a msgpack array [version, dtype, dim, body], little-endian.

The array's header is constant. The body is a 64-bit check over the key and all that follows, a word of the input's
length (40 bits) and token count (24 bits), for int8 the vector's scale, and the vector.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

DType = Literal["float16", "float32", "int8"]

MAX_DIM = 16_000
LENGTH_BITS, TOKEN_BITS = 40, 24
_VERSION = 2
_DTYPE_CODES: dict[DType, int] = {"int8": 1, "float16": 2, "float32": 4}
_NUMBERS: dict[DType, str] = {"int8": "<i1", "float16": "<f2", "float32": "<f4"}
_INT8_MAX = 127
_HALF_EXPONENT = 0x7C00
# fixarray(4), uint8 version, fixint dtype, uint32 dim, bin16 body: 12 bytes keep the vector 4-byte aligned.
_HEADER = struct.Struct(">BBBBBIBH")
_CHECK = struct.Struct("<Q")
_CHECK_AND_WORD = struct.Struct("<QQ")
_SCALE = struct.Struct("<f")
_CHECKED_FROM = _HEADER.size + _CHECK.size
_SCALE_FROM = _HEADER.size + _CHECK_AND_WORD.size
_LENGTH_MASK = (1 << LENGTH_BITS) - 1
_DIGEST = xxhash.xxh3_64_intdigest
_FLOAT32 = np.dtype(np.float32)
_INT32 = np.dtype(np.int32)


class Stored(NamedTuple):
    """What is stored of an input: its vector, read-only float32[dim], its length in bytes, and its token count.

    A tuple, because dozens are made per request and a frozen dataclass takes three times as long to make.
    """

    vector: NDArray[np.float32]
    input_length: int | None
    token_count: int


# Half the time of `Stored._make`.
_make_stored: Callable[[Iterable[object]], Stored] = partial(tuple.__new__, Stored)


class Layout:
    """Encodes and decodes vectors of one dim at one storage precision."""

    __slots__ = ("_dim", "_header", "_header_words", "_is_scaled", "_numbers", "_record", "_vector_from", "size")

    def __init__(self, dtype: DType, dim: int) -> None:
        if not 0 < dim <= MAX_DIM:
            raise ValueError(f"dim: expected 1 to {MAX_DIM}, got {dim}")
        self._dim = dim
        self._is_scaled = dtype == "int8"
        self._numbers = np.dtype(_NUMBERS[dtype])
        scale = [("scale", "<f4")] if self._is_scaled else []
        self._record = np.dtype(
            [("header", "<u4", (3,)), ("check", "<u8"), ("word", "<u8"), *scale, ("vector", self._numbers, (dim,))]
        )
        self.size = self._record.itemsize
        self._vector_from = self.size - dim * self._numbers.itemsize
        body_bytes = self.size - _HEADER.size
        self._header = _HEADER.pack(0x94, 0xCC, _VERSION, _DTYPE_CODES[dtype], 0xCE, dim, 0xC5, body_bytes)
        self._header_words = np.frombuffer(self._header, dtype="<u4")

    def encode(
        self, keys: Sequence[bytes], vectors: NDArray[np.float32], input_lengths: Sequence[int], counts: Sequence[int]
    ) -> list[bytes | None]:
        """Return the stored forms of vectors, float32[n, dim]; None for what the storage precision cannot hold."""
        words = [_make_word(length, count) for length, count in zip(input_lengths, counts, strict=True)]
        records = np.zeros(len(keys), self._record)
        records["word"] = [word or 0 for word in words]
        is_held = self._narrow(vectors, records).tolist()
        data = records.tobytes()
        encoded: list[bytes | None] = []
        end = 0
        for key, word, held in zip(keys, words, is_held, strict=True):
            start, end = end, end + self.size
            if word is None or not held:
                encoded.append(None)
                continue
            checked = data[start + _CHECKED_FROM : end]
            encoded.append(self._header + _CHECK.pack(_DIGEST(key + checked)) + checked)
        return encoded

    def decode_one(self, key: bytes, value: bytes, length: int | None) -> Stored | None:
        """Return what one value of this layout's size holds; None if it is not valid for its key and length."""
        check, word = _CHECK_AND_WORD.unpack_from(value, _HEADER.size)
        stored_length = word & _LENGTH_MASK
        if (
            (length != stored_length and length is not None)
            or _DIGEST(key + value[_CHECKED_FROM:]) != check
            or not value.startswith(self._header)
        ):
            return None
        vector = np.frombuffer(value, self._numbers, self._dim, self._vector_from).astype(_FLOAT32)
        if self._is_scaled:
            vector *= _SCALE.unpack_from(value, _SCALE_FROM)[0]
        vector.setflags(write=False)
        return Stored(vector, stored_length, word >> LENGTH_BITS)

    def decode_batch(
        self, keys: Sequence[bytes], values: Sequence[bytes], lengths: Sequence[int | None], *, owned: bool
    ) -> list[Stored | None]:
        """Return what values of this layout's size hold; None for what is not valid.

        Args:
            keys: The storage keys which the values were found under.
            values: What a store returned for them.
            lengths: Bytes of each input; None where only its key is known.
            owned: Whether each vector has memory of its own, or is a row of one float32[n, dim].
        """
        records = np.frombuffer(b"".join(values), self._record)
        digests = [_DIGEST(key + value[_CHECKED_FROM:]) for key, value in zip(keys, values, strict=True)]
        words, checks = records["word"], records["check"].tolist()
        stored_lengths = (words & _LENGTH_MASK).tolist()
        vectors = self._widen(records)
        rows = _split(vectors) if owned else list(vectors)
        found: list[Stored | None] = list(
            map(_make_stored, zip(rows, stored_lengths, (words >> LENGTH_BITS).tolist(), strict=True))
        )
        if digests != checks or stored_lengths != lengths or not (records["header"] == self._header_words).all():
            for place, value in enumerate(values):
                if (
                    digests[place] != checks[place]
                    or lengths[place] not in (None, stored_lengths[place])
                    or not value.startswith(self._header)
                ):
                    found[place] = None
        return found

    def _narrow(self, vectors: NDArray[np.float32], records: NDArray[np.void]) -> NDArray[np.bool_]:
        """Fill the records' vectors; return which of them hold what they were given, bool[n]."""
        if not self._is_scaled:
            with np.errstate(over="ignore"):
                stored = vectors.astype(self._numbers)
            records["vector"] = stored
            return _are_finite(stored)
        scales = np.abs(vectors).max(axis=1) / np.float32(_INT8_MAX)
        with np.errstate(over="ignore"):
            is_held: NDArray[np.bool_] = np.isfinite(scales * np.float32(_INT8_MAX))
        divisors = np.where(is_held & (scales > 0), scales, np.float32(1))
        steps = np.where(is_held[:, np.newaxis], vectors, np.float32(0)) / divisors[:, np.newaxis]
        records["scale"] = np.where(is_held, scales, np.float32(0))
        # A scale so small that it has lost digits: the quotient may be larger than what it was made of allows.
        records["vector"] = np.rint(steps).clip(-_INT8_MAX, _INT8_MAX)
        return is_held

    def _widen(self, records: NDArray[np.void]) -> NDArray[np.float32]:
        """Return the records' vectors, read-only float32[n, dim]."""
        stored = records["vector"]
        vectors = _widen_halves(stored) if self._numbers.itemsize == 2 else stored.astype(_FLOAT32)
        if self._is_scaled:
            with np.errstate(over="ignore", invalid="ignore"):  # of values that are not valid
                vectors *= records["scale"][:, np.newaxis]
        vectors.setflags(write=False)
        return vectors


def _make_word(length: int, count: int) -> int | None:
    if length >> LENGTH_BITS or count >> TOKEN_BITS:
        return None
    return count << LENGTH_BITS | length


def _split(vectors: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the rows, read-only, each in memory of its own: half the time that copies of the rows take."""
    data, step = vectors.tobytes(), vectors.shape[1] * 4
    return [np.frombuffer(data[start : start + step], _FLOAT32) for start in range(0, len(data), step)]


def _are_finite(stored: NDArray[np.float16] | NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which rows hold nothing but finite numbers, bool[n]; of float16 a fifth of `isfinite`'s time."""
    if stored.dtype.itemsize == 4:
        is_finite = np.isfinite(stored)
    else:
        is_finite = (stored.view("<i2") & _HALF_EXPONENT) < _HALF_EXPONENT
    return np.asarray(is_finite.all(axis=1))


def _widen_halves(stored: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return the numbers as float32, exactly; finite float16 a third of the time that `astype` takes.

    A float16's bits, sign-extended and shifted by 13, are the float32 of a number 2^112 times too small.
    """
    bits = stored.view("<i2").astype(_INT32)
    bits <<= 13
    bits &= np.int32(-0x70000001)
    widened = bits.view(np.float32)
    widened *= np.float32(2.0**112)
    return widened
