"""What may be given as an image or a text, and the content keys that are remembered for it."""

import io
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from secondlook import Key
from secondlook.client.items import Picture, read_images, read_items, read_texts
from secondlook.client.known_keys import KnownKeys


def test_image_is_bytes_or_the_file_that_holds_them(tmp_path: Path) -> None:
    """Both are the same picture: one digest."""
    file = tmp_path / "cat.jpg"
    file.write_bytes(b"cat")

    of_bytes, of_file = read_images([b"cat", file])

    assert isinstance(of_bytes, Picture)
    assert of_bytes.data == b"cat"
    assert of_file == of_bytes


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F", "CMYK", "YCbCr", "HSV"])
def test_pillow_image_of_any_mode_is_sent_as_png(mode: str) -> None:
    """And equal images have equal bytes, so that their key is found again."""
    first, second = read_images([Image.new(mode, (5, 4)), Image.new(mode, (5, 4))])

    assert first == second
    assert isinstance(first, Picture)
    with Image.open(io.BytesIO(first.data)) as sent:
        assert (sent.format, sent.size) == ("PNG", (5, 4))


def test_one_item_stands_for_a_list_of_one() -> None:
    """Of each kind; any sequence is a list."""
    assert read_images(b"cat") == read_images([b"cat"])
    assert read_texts("a cat") == ["a cat"]
    assert read_items(Key("i:1")) == [Key("i:1")]
    assert read_texts(deque(["a", "b"])) == ["a", "b"]


def test_items_mix_images_and_texts() -> None:
    """In the order they were given."""
    kinds = [type(item) for item in read_items(["a cat", b"cat", Key("t:1")])]

    assert kinds == [str, Picture, Key]


def test_string_is_no_image() -> None:
    """It could be a path, base64 or a mistake; a path is a Path."""
    with pytest.raises(TypeError, match="not str"):
        read_images(["cat.jpg"])  # type: ignore[list-item] # that is the point


def test_image_is_no_text() -> None:
    """A text is a string or a key."""
    with pytest.raises(TypeError, match="not bytes"):
        read_texts([b"a cat"])  # type: ignore[list-item] # that is the point


def test_missing_file_is_the_callers_error(tmp_path: Path) -> None:
    """As from any function that reads a file."""
    with pytest.raises(FileNotFoundError):
        read_images(tmp_path / "none.jpg")


def test_least_recently_used_key_goes_first() -> None:
    """A key that was asked for is used."""
    known = KnownKeys(2)
    known.remember(b"a", "i:a")
    known.remember(b"b", "i:b")
    known.get(b"a")

    known.remember(b"c", "i:c")

    assert [known.get(digest) for digest in (b"a", b"b", b"c")] == ["i:a", None, "i:c"]


@given(st.integers(0, 5), st.lists(st.tuples(st.sampled_from("rgf"), st.binary(max_size=1))))
def test_known_keys_stay_bounded_and_true(max_keys: int, steps: list[tuple[str, bytes]]) -> None:
    """Whatever is remembered, got and forgotten: never more keys than allowed, never another's key."""
    known = KnownKeys(max_keys)
    for step, digest in steps:
        if step == "r":
            known.remember(digest, f"i:{digest.hex()}")
        elif step == "f":
            known.forget([digest])
            assert known.get(digest) is None
        assert known.get(digest) in (None, f"i:{digest.hex()}")
        assert len(known) <= max_keys
