"""The stored form: a value is its vector again, or nothing."""

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cache.codec import MIN_BATCH, Codec, DType

KEY, OTHER_KEY = b"k" * 33, b"o" * 33
LENGTH = 60_123


def make_vector(dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Return a unit vector, float32[dim]."""
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return vector / np.float32(np.linalg.norm(vector))


def decode(
    codec: Codec, value: bytes | None, *, key: bytes = KEY, dim: int = 64, length: int | None = LENGTH
) -> NDArray[np.float32] | None:
    """Decode one value alone and within a batch of good ones; both must agree."""
    good = make_vector(dim, 7)
    batch = [codec.encode(OTHER_KEY, good, 5)] * MIN_BATCH
    alone = codec.decode_many([key], [value], dim=dim, input_lengths=[length])[0]
    *rest, among = codec.decode_many(
        [OTHER_KEY] * MIN_BATCH + [key], [*batch, value], dim=dim, input_lengths=[5] * MIN_BATCH + [length]
    )
    assert all(vector is not None and np.allclose(vector, good, atol=1e-3) for vector in rest)
    assert (alone is None) == (among is None)
    assert alone is None or among is None or np.array_equal(alone, among)
    return alone


@pytest.mark.parametrize("dim", [1, 3, 64, 512, 1536])
def test_float32_comes_back_exactly(dim: int) -> None:
    """At full precision not one bit is lost."""
    codec, vector = Codec("float32"), make_vector(dim)

    decoded = decode(codec, codec.encode(KEY, vector, LENGTH), dim=dim)

    assert decoded is not None
    assert np.array_equal(decoded, vector)


@given(st.lists(st.floats(width=16, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_float16_comes_back_exactly_where_it_can(numbers: list[float]) -> None:
    """Numbers that float16 holds, subnormal ones and both zeros included, come back bit by bit."""
    codec, vector = Codec("float16"), np.array(numbers, dtype=np.float32)

    decoded = decode(codec, codec.encode(KEY, vector, LENGTH), dim=len(numbers))

    assert decoded is not None
    assert decoded.tobytes() == vector.tobytes()


def test_every_finite_float16_is_widened_exactly() -> None:
    """The batch's own conversion agrees with numpy's on all 63,488 finite numbers."""
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    vectors = halves[np.isfinite(halves)].astype(np.float32).reshape(-1, 512)
    codec, keys = Codec("float16"), [bytes([row]) * 33 for row in range(124)]
    values = codec.encode_many(keys, list(vectors), [1] * 124)

    decoded = codec.decode_many(keys, values, dim=512, input_lengths=[1] * 124)

    assert np.array_equal(
        np.stack([row for row in decoded if row is not None]).view(np.uint32), vectors.view(np.uint32)
    )


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_any_flipped_byte_is_a_miss(dtype: DType) -> None:
    """Every byte of the value counts, at every position, with every single bit and with all of them."""
    codec, vector = Codec(dtype), make_vector(16)
    value = codec.encode(KEY, vector, LENGTH)
    flipped = [
        value[:at] + bytes([value[at] ^ flip]) + value[at + 1 :]
        for at in range(len(value))
        for flip in (1, 2, 4, 8, 16, 32, 64, 128, 255)
    ]

    decoded = codec.decode_many([KEY] * len(flipped), flipped, dim=16, input_lengths=[LENGTH] * len(flipped))
    singly = [codec.decode_many([KEY], [bad], dim=16, input_lengths=[LENGTH])[0] for bad in flipped]

    assert decoded == [None] * len(flipped)
    assert singly == [None] * len(flipped)


@given(st.integers(0, 200), st.binary(max_size=3))
def test_truncated_or_extended_value_is_a_miss(size: int, tail: bytes) -> None:
    """Only a value of exactly the right size is looked at."""
    codec = Codec()
    value = codec.encode(KEY, make_vector(64), LENGTH)
    damaged = value[:size] + tail

    decoded = decode(codec, damaged)

    assert (decoded is not None) == (damaged == value)


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_garbage_is_a_miss(garbage: bytes) -> None:
    """Whatever bytes a store returns, decoding neither raises nor makes up a vector."""
    assert decode(Codec(), garbage) is None


def test_value_of_another_key_is_a_miss() -> None:
    """A value moved to another key does not answer for it."""
    codec = Codec()

    assert decode(codec, codec.encode(OTHER_KEY, make_vector(64), LENGTH), key=KEY) is None


def test_value_of_an_input_of_another_length_is_a_miss() -> None:
    """Two inputs of different lengths never share a vector, even if their digests were equal."""
    codec = Codec()

    assert decode(codec, codec.encode(KEY, make_vector(64), LENGTH + 1)) is None


def test_unknown_length_is_not_compared() -> None:
    """Who asks by key alone gets what is stored under it."""
    codec = Codec()

    assert decode(codec, codec.encode(KEY, make_vector(64), LENGTH), length=None) is not None


def test_value_of_another_dim_is_a_miss() -> None:
    """A vector of another dim is not cut or padded."""
    codec = Codec()

    assert decode(codec, codec.encode(KEY, make_vector(32), LENGTH), dim=64) is None


def test_value_of_another_precision_is_a_miss() -> None:
    """float32[32] and float16[64] have the same size, and are told apart."""
    value = Codec("float32").encode(KEY, make_vector(32), LENGTH)

    assert decode(Codec("float16"), value, dim=64) is None


def test_misses_stay_in_their_places() -> None:
    """Absent values are None where they stood."""
    codec, vector = Codec("float32"), make_vector(8)
    value = codec.encode(KEY, vector, LENGTH)

    decoded = codec.decode_many([KEY] * 4, [None, value, None, value], dim=8, input_lengths=[LENGTH] * 4)

    assert [row is None for row in decoded] == [True, False, True, False]


@pytest.mark.parametrize("count", [1, MIN_BATCH])
def test_decoded_vectors_cannot_be_written_to(count: int) -> None:
    """Vectors are shared between callers, so none may change them."""
    codec = Codec()
    value = codec.encode(KEY, make_vector(8), LENGTH)

    decoded = codec.decode_many([KEY] * count, [value] * count, dim=8, input_lengths=[LENGTH] * count)

    assert all(row is not None and not row.flags.writeable for row in decoded)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e6])
def test_number_that_cannot_be_stored_is_refused(number: float) -> None:
    """A vector which would come back as another one is not stored at all."""
    codec, vector = Codec("float16"), np.array([0.5, number], dtype=np.float32)

    assert codec.encode_many([KEY, KEY], [vector, vector[:1]], [1, 1])[0] is None
    with pytest.raises(ValueError, match="finite float16"):
        codec.encode(KEY, vector, LENGTH)


@pytest.mark.parametrize("shape", [(0,), (20_000,), (2, 2)])
def test_vector_of_no_sensible_shape_is_refused(shape: tuple[int, ...]) -> None:
    """Only one dimension of 1 to 16,000 numbers is a vector."""
    with pytest.raises(ValueError, match="dim"):
        Codec().encode(KEY, np.zeros(shape, dtype=np.float32), LENGTH)


def test_value_is_a_msgpack_array() -> None:
    """Other programs can read the envelope: version, bytes per number, dim, body."""
    version, item_bytes, dim, body = msgpack.unpackb(Codec().encode(KEY, make_vector(64), LENGTH))

    assert (version, item_bytes, dim, len(body)) == (1, 2, 64, 16 + 2 * 64)
