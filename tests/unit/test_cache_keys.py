"""Content keys: equal only for equal inputs in equal embedding spaces."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import InvalidKey
from cache.keys import (
    ContentHasher,
    EmbeddingSpace,
    ImageDigest,
    namespace,
    parse_public_key,
    public_key,
    storage_key,
)

SECRET = b"a secret of this deployment"
SPACE = EmbeddingSpace("image", "ViT-B-32", "rev-1", "resize-224", "float32", "")
ANY_TEXT = st.text(alphabet=st.characters(), max_size=12)
FIELDS = st.tuples(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT)


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(SPACE, model="other"),
        dataclasses.replace(SPACE, revision="other"),
        dataclasses.replace(SPACE, preprocessing="other"),
        dataclasses.replace(SPACE, precision="other"),
        dataclasses.replace(SPACE, tenant_salt="other"),
    ],
)
def test_namespace_changes_with_every_field(other: EmbeddingSpace) -> None:
    """Another model, revision, preprocessing, precision or tenant is another space."""
    assert namespace(other) != namespace(SPACE)


def test_namespace_changes_with_the_modality() -> None:
    """An image's vector is never looked up as a text's."""
    assert namespace(dataclasses.replace(SPACE, modality="text")) != namespace(SPACE)


@given(FIELDS, FIELDS)
def test_namespace_fields_never_run_into_each_other(
    a: tuple[str, str, str, str, str], b: tuple[str, str, str, str, str]
) -> None:
    """Two spaces have one name only if every field is equal."""
    same = namespace(EmbeddingSpace("image", *a)) == namespace(EmbeddingSpace("image", *b))

    assert same == (a == b)


@given(FIELDS, st.integers(0, 3), st.integers(0, 12))
def test_namespace_tells_where_one_field_ends(fields: tuple[str, str, str, str, str], at: int, cut: int) -> None:
    """Text moved from one field into its neighbour makes another space."""
    moved = list(fields)
    moved[at], moved[at + 1] = fields[at][:cut], fields[at][cut:] + fields[at + 1]

    same = namespace(EmbeddingSpace("text", *moved)) == namespace(EmbeddingSpace("text", *fields))

    assert same == (tuple(moved) == fields)


@pytest.mark.parametrize("algorithm", ["xxh3_128", "blake2b"])
@given(data=st.binary(min_size=1, max_size=600), at=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_images_that_differ_in_one_byte_never_share_a_digest(
    algorithm: ImageDigest, data: bytes, at: int, flip: int
) -> None:
    """One changed byte, wherever it is, changes the digest."""
    hasher = ContentHasher(SECRET, algorithm)
    changed = bytearray(data)
    changed[at % len(data)] ^= flip

    assert hasher.image(bytes(changed)) != hasher.image(data)


@pytest.mark.parametrize("algorithm", ["xxh3_128", "blake2b"])
@given(st.text(alphabet=st.characters(), max_size=40))
def test_image_and_text_of_the_same_bytes_never_share_a_digest(algorithm: ImageDigest, text: str) -> None:
    """The digest's first byte names the modality and the algorithm."""
    hasher = ContentHasher(SECRET, algorithm)

    assert hasher.image(text.encode("utf-8", "surrogatepass"))[0] != hasher.text(text)[0]


def test_digest_algorithm_is_part_of_the_key() -> None:
    """A change of algorithm starts with an empty cache, and no digest is read as the other's."""
    data = b"an image"

    assert ContentHasher(SECRET, "xxh3_128").image(data)[0] != ContentHasher(SECRET, "blake2b").image(data)[0]


@pytest.mark.parametrize("algorithm", ["xxh3_128", "blake2b"])
def test_digests_depend_on_the_secret(algorithm: ImageDigest) -> None:
    """Who does not know the secret cannot compute a digest."""
    ours, theirs = ContentHasher(SECRET, algorithm), ContentHasher(SECRET[::-1], algorithm)

    assert ours.image(b"same") != theirs.image(b"same")
    assert ours.text("same") != theirs.text("same")


def test_image_digest_is_the_same_for_bytes_and_a_view() -> None:
    """A memoryview of a request's body needs no copy."""
    hasher = ContentHasher(SECRET)

    assert hasher.image(memoryview(b"xximage")[2:]) == hasher.image(b"image")


def test_lone_surrogates_are_texts_of_their_own() -> None:
    """JSON can carry half a surrogate pair: it gets a digest, and not another text's."""
    hasher = ContentHasher(SECRET)
    texts = ["\ud800", "\udfff", "\ud83d", "?", "\ufffd", "a\ud800", ""]

    assert len({hasher.text(text) for text in texts}) == len(texts)


def test_short_secret_is_refused() -> None:
    """A secret that could be guessed is none."""
    with pytest.raises(ValueError, match="at least 16 bytes"):
        ContentHasher(b"short")


def test_storage_key_is_namespace_and_digest() -> None:
    """Both parts have fixed lengths, so that they cannot run into each other."""
    digest = ContentHasher(SECRET).text("a photo of a cat")

    key = storage_key(namespace(SPACE), digest)

    assert key == namespace(SPACE) + digest
    assert len(key) == 33


@pytest.mark.parametrize(("name", "digest"), [(b"short", bytes(17)), (bytes(16), b"short"), (bytes(17), bytes(16))])
def test_storage_key_refuses_parts_of_other_lengths(name: bytes, digest: bytes) -> None:
    """A key is never made of something that is not a namespace and a digest."""
    with pytest.raises(InvalidKey):
        storage_key(name, digest)


@given(st.binary(max_size=50), st.text(max_size=50))
def test_public_key_leads_back_to_its_digest(data: bytes, text: str) -> None:
    """What a caller was told, it can ask for."""
    hasher = ContentHasher(SECRET)
    image, words = hasher.image(data), hasher.text(text)

    assert parse_public_key(public_key(image, "image")) == image
    assert parse_public_key(public_key(words, "text")) == words


def test_public_key_refuses_a_digest_of_the_other_modality() -> None:
    """A text's digest cannot be published as an image's."""
    with pytest.raises(InvalidKey):
        public_key(ContentHasher(SECRET).text("a"), "image")


@given(st.text(max_size=40) | st.from_regex(r"[it]:[0-9a-f]{30,38}", fullmatch=True))
def test_public_key_parses_only_what_was_published(key: str) -> None:
    """Any other text raises InvalidKey, and nothing else."""
    try:
        digest = parse_public_key(key)
    except InvalidKey:
        return

    assert public_key(digest, "image" if key.startswith("i:") else "text") == key


@pytest.mark.parametrize(
    "key", ["", "i:", "t:01" + "00" * 16, "i:03" + "00" * 16, "i:01" + "0g" * 16, "I:01" + "00" * 16]
)
def test_malformed_public_key_is_refused(key: str) -> None:
    """Wrong prefix, wrong modality, wrong length and wrong digits are all InvalidKey."""
    with pytest.raises(InvalidKey):
        parse_public_key(key)
