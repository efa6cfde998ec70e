"""The stored form: a value is its vector again, or nothing."""

import msgpack
import numpy as np
import pytest
import xxhash
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cache.codec import MIN_BATCH, Codec
from cache.layout import DType, Stored

KEY, OTHER_KEY = b"k" * 33, b"o" * 33
LENGTH = 60_123


def make_vector(dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Return a unit vector, float32[dim]."""
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return vector / np.float32(np.linalg.norm(vector))


def decode_stored(
    codec: Codec, value: bytes | None, *, key: bytes = KEY, dim: int = 64, length: int | None = LENGTH
) -> Stored | None:
    """Decode one value alone, and within batches of good ones, as rows and owned; all must agree."""
    good = make_vector(dim, 7)
    batch = [codec.encode(OTHER_KEY, good, 5)] * MIN_BATCH
    alone = codec.decode_many([key], [value], dim=dim, input_lengths=[length])[0]
    singly = None if value is None else codec.decode(key, value, dim=dim, input_length=length)
    assert same(alone, singly)
    for owned in (False, True):
        *rest, among = codec.decode_many(
            [OTHER_KEY] * MIN_BATCH + [key],
            [*batch, value],
            dim=dim,
            input_lengths=[5] * MIN_BATCH + [length],
            owned=owned,
        )
        assert all(stored is not None and np.allclose(stored.vector, good, atol=1e-2) for stored in rest)
        assert same(alone, among)
    return alone


def same(one: Stored | None, other: Stored | None) -> bool:
    """Whether two are both nothing, or equal bit by bit."""
    if one is None or other is None:
        return one is other
    return one.vector.tobytes() == other.vector.tobytes() and one[1:] == other[1:]


def decode(
    codec: Codec, value: bytes | None, *, key: bytes = KEY, dim: int = 64, length: int | None = LENGTH
) -> NDArray[np.float32] | None:
    """Decode one value's vector."""
    stored = decode_stored(codec, value, key=key, dim=dim, length=length)
    return stored and stored.vector


def decode_int8(codec: Codec, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Encode and decode a vector."""
    decoded = decode(codec, codec.encode(KEY, vector, LENGTH), dim=vector.shape[0])
    assert decoded is not None
    return decoded


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
    values = codec.encode_many(keys, list(vectors), [1] * 124, [0] * 124)

    decoded = codec.decode_many(keys, values, dim=512, input_lengths=[1] * 124)

    assert np.array_equal(
        np.stack([row.vector for row in decoded if row is not None]).view(np.uint32), vectors.view(np.uint32)
    )


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
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


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
@given(size=st.integers(0, 300), tail=st.binary(max_size=3))
def test_truncated_or_extended_value_is_a_miss(dtype: DType, size: int, tail: bytes) -> None:
    """Only a value of exactly the right size is looked at."""
    codec = Codec(dtype)
    value = codec.encode(KEY, make_vector(64), LENGTH)
    damaged = value[:size] + tail

    decoded = decode(codec, damaged)

    assert (decoded is not None) == (damaged == value)


@pytest.mark.parametrize("dtype", ["int8", "float16"])
@settings(max_examples=200)
@given(garbage=st.binary(max_size=300))
def test_garbage_is_a_miss(dtype: DType, garbage: bytes) -> None:
    """Whatever bytes a store returns, decoding neither raises nor makes up a vector."""
    assert decode(Codec(dtype), garbage) is None


def test_value_of_an_earlier_version_is_a_miss() -> None:
    """What an earlier release has stored means something else, and is not read."""
    vector = make_vector(64).astype(np.float16).tobytes()
    checked = LENGTH.to_bytes(8, "little") + vector
    check = xxhash.xxh3_64_intdigest(KEY + checked).to_bytes(8, "little")
    body = check + checked
    value = b"\x94\xcc\x01\x02\xce" + (64).to_bytes(4, "big") + b"\xc5" + len(body).to_bytes(2, "big") + body
    codec = Codec()

    assert len(value) == len(codec.encode(KEY, make_vector(64), LENGTH))
    assert decode(codec, value) is None


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


@given(length=st.integers(0, 2**40 - 1), tokens=st.integers(0, 2**24 - 1))
def test_length_and_token_count_come_back(length: int, tokens: int) -> None:
    """Both are stored in full, and found by who knows the length and by who knows the key alone."""
    codec = Codec()
    value = codec.encode(KEY, make_vector(8), length, tokens)

    for known in (length, None):
        stored = decode_stored(codec, value, dim=8, length=known)
        assert stored is not None
        assert (stored.input_length, stored.token_count) == (length, tokens)


@pytest.mark.parametrize(("length", "tokens"), [(2**40, 0), (-1, 0), (0, 2**24), (0, -1)])
def test_length_or_token_count_out_of_range_is_refused(length: int, tokens: int) -> None:
    """Neither may spill into the other."""
    with pytest.raises(ValueError, match="in range"):
        Codec().encode(KEY, make_vector(8), length, tokens)


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


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
@pytest.mark.parametrize(("count", "owned"), [(1, False), (MIN_BATCH, False), (MIN_BATCH, True)])
def test_decoded_vectors_cannot_be_written_to(dtype: DType, count: int, owned: bool) -> None:  # noqa: FBT001
    """Vectors are shared between callers, so none may change them."""
    codec = Codec(dtype)
    value = codec.encode(KEY, make_vector(8), LENGTH)

    decoded = codec.decode_many([KEY] * count, [value] * count, dim=8, input_lengths=[LENGTH] * count, owned=owned)

    assert all(row is not None and not row.vector.flags.writeable for row in decoded)


@pytest.mark.parametrize(
    ("dtype", "number"),
    [
        ("float16", 1e6),
        *[(dtype, float(number)) for dtype in ("int8", "float16", "float32") for number in ("nan", "inf", "-inf")],
    ],
)
def test_number_that_cannot_be_stored_is_refused(dtype: DType, number: float) -> None:
    """A vector which would come back as another one is not stored at all; its neighbours in the batch are."""
    codec, bad = Codec(dtype), np.array([0.5, number], dtype=np.float32)
    good = np.array([0.5, -0.5], dtype=np.float32)

    values = codec.encode_many([KEY] * 4, [good, bad, good, bad[:1]], [1] * 4, [0] * 4)

    assert [value is None for value in values] == [False, True, False, False]
    with pytest.raises(ValueError, match=f"finite {dtype}"):
        codec.encode(KEY, bad, LENGTH)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_int8_is_half_a_step_off_at_most(numbers: list[float]) -> None:
    """Each vector has a scale of its own: a 127th of its largest number, which is a step."""
    codec, vector = Codec("int8"), np.array(numbers, dtype=np.float32)
    step = float(np.abs(vector).max()) / 127
    assume(step < 2.6e36)  # the very largest float32 divided by 127 and multiplied again is none

    decoded = decode_int8(codec, vector)

    errors = np.abs(decoded.astype(np.float64) - vector)
    # Scales below 2^-126 lose digits, those of subnormal numbers all of them.
    assert errors.max() <= step / 2 + 127 * 2.0**-149 + 1e-4 * step


def test_int8_of_zeros_is_zeros() -> None:
    """A vector without a largest number has scale 0, and is no division by it."""
    assert not decode_int8(Codec("int8"), np.zeros(8, dtype=np.float32)).any()


def test_int8_scales_each_vector_of_a_batch_by_itself() -> None:
    """A large neighbour costs a small vector nothing."""
    codec, keys = Codec("int8"), [b"%033d" % number for number in range(8)]
    vectors = [make_vector(64, number) * np.float32(10.0**number) for number in range(8)]

    decoded = codec.decode_many(keys, codec.encode_many(keys, vectors, [1] * 8, [0] * 8), dim=64, input_lengths=[1] * 8)

    for stored, vector in zip(decoded, vectors, strict=True):
        assert stored is not None
        assert np.abs(stored.vector - vector).max() <= np.abs(vector).max() / 127 / 2 * 1.001


def test_encoding_together_is_encoding_one_by_one() -> None:
    """Vectors of many dims and of no sensible shape, in one call."""
    codec, dims = Codec(), [8, 4, 8, 0, 16, 8]
    keys, vectors = [b"%033d" % place for place in range(7)], [*map(make_vector, dims), np.ones((2, 2), np.float32)]

    values = codec.encode_many(keys, vectors, list(range(7)), list(range(7)))

    assert (values[3], values[6]) == (None, None)
    for place in (0, 1, 2, 4, 5):
        assert values[place] == codec.encode(keys[place], vectors[place], place, place)


@pytest.mark.parametrize("shape", [(0,), (20_000,), (2, 2)])
def test_vector_of_no_sensible_shape_is_refused(shape: tuple[int, ...]) -> None:
    """Only one dimension of 1 to 16,000 numbers is a vector."""
    with pytest.raises(ValueError, match="dim"):
        Codec().encode(KEY, np.zeros(shape, dtype=np.float32), LENGTH)


def test_value_is_a_msgpack_array() -> None:
    """Other programs can read the envelope: version, bytes per number, dim, body."""
    version, item_bytes, dim, body = msgpack.unpackb(Codec().encode(KEY, make_vector(64), LENGTH))

    assert (version, item_bytes, dim, len(body)) == (2, 2, 64, 16 + 2 * 64)
