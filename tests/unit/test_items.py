"""Raw items of a request: every form that the contract admits, and an error of their own for all else."""

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import ApiError, InvalidRequest, TooLarge, UrlNotFetched
from router.items import Item, read_all
from tests.fakes import READER
from tiers.messages import Modality

PNG = b"\x89PNG\r\n\x1a\n any bytes will do"
BASE64 = base64.b64encode(PNG).decode()
DATA_URL = f"data:image/png;base64,{BASE64}"

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
NAMES = st.sampled_from(["text", "image", "image_url", "url", "key"]) | st.text(max_size=3)
RAW_ITEMS = st.recursive(
    SCALARS | st.sampled_from([BASE64, DATA_URL, f"i:{'01' * 17}"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=5,
)


@pytest.mark.parametrize(
    "raw",
    [
        PNG,
        {"image": PNG},
        {"image": BASE64},
        {"image": DATA_URL},
        {"image_url": {"url": DATA_URL}},
        {"image": base64.encodebytes(PNG).decode()},
        {"image": BASE64.replace("A", "A\r\n ")},
    ],
)
def test_every_form_of_an_image_is_the_same_item(raw: object) -> None:
    """Bytes, base64, wrapped base64 and both data URLs lead to the bytes and to one key."""
    item = READER.read(raw, "text")

    assert (item.modality, item.content, item.length) == ("image", PNG, len(PNG))
    assert item.key == READER.read(PNG, "image").key


@pytest.mark.parametrize("raw", ["a cat", {"text": "a cat"}])
def test_every_form_of_a_text_is_the_same_item(raw: object) -> None:
    """A bare string where texts are expected, and an object, are one text."""
    item = READER.read(raw, "text")

    assert (item.modality, item.content, item.length) == ("text", "a cat", 5)


def test_bare_string_is_what_the_route_says() -> None:
    """The same string is base64 where images are expected and words where texts are."""
    assert READER.read(BASE64, "image").content == PNG
    assert READER.read(BASE64, "text").content == BASE64


def test_key_names_an_item_without_its_content() -> None:
    """The key that an answer returned has the digest of what was sent, and no bytes."""
    for sent in (READER.read(PNG, "image"), READER.read("a cat", "text")):
        named = READER.read({"key": sent.key}, "text")

        assert (named.modality, named.digest) == (sent.modality, sent.digest)
        assert (named.content, named.length) == (None, None)


def test_length_of_a_text_is_in_bytes() -> None:
    """The limit counts characters, the length counts what is hashed."""
    assert READER.read("\u00e9\U0001f408", "text").length == 6


def test_text_may_be_as_long_as_its_limit() -> None:
    """One character more is too large."""
    assert READER.read("x" * 64, "text").length == 64
    with pytest.raises(TooLarge, match="at most 64 characters"):
        READER.read("x" * 65, "text")


@pytest.mark.parametrize("text", ["\ud83d", "cat \udc08", "\udc08\ud83d"])
def test_lone_surrogates_are_a_text_like_any_other(text: str) -> None:
    """Half of a character has a key of its own, and breaks nothing."""
    item = READER.read({"text": text}, "text")

    assert item.content == text
    assert item.key != READER.read(text.encode("utf-8", "replace").decode(), "text").key


@pytest.mark.parametrize(
    "raw",
    [
        {"image": "not base64!"},
        {"image": BASE64[:-3]},
        {"image": f"{BASE64}===="},
        {"image": "\u00e9"},
        {"image": "\ud83d"},
        {"image": "data:image/png;base64"},
        {"image": f"data:image/png,{BASE64}"},
        {"image": "data:image/png;base64,?"},
        {"image_url": {"url": "data:,hello"}},
    ],
)
def test_image_that_is_not_base64_is_refused(raw: object) -> None:
    """Cut, padded wrongly, or of characters that base64 does not have."""
    with pytest.raises(InvalidRequest, match="base64"):
        READER.read(raw, "image")


@pytest.mark.parametrize(
    "url", ["http://example.org/cat.png", "https://example.org", "file:///etc/passwd", "", "DATA:"]
)
def test_urls_are_not_fetched(url: str) -> None:
    """Nothing but data: URLs is read: a service that fetches can be sent anywhere."""
    with pytest.raises(UrlNotFetched, match="fetches no URLs"):
        READER.read({"image_url": {"url": url}}, "image")


def test_url_among_texts_is_an_image_all_the_same() -> None:
    """Where no image may stand there is nothing to fetch."""
    with pytest.raises(InvalidRequest, match="expected a text, not an image") as caught:
        READER.read({"image_url": {"url": "https://example.org/cat.png"}}, "text", "text")

    assert not isinstance(caught.value, UrlNotFetched)


@pytest.mark.parametrize("raw", ["", {"text": ""}])
def test_empty_text_is_refused(raw: object) -> None:
    """A text has at least one character."""
    with pytest.raises(InvalidRequest, match="at least one character"):
        READER.read(raw, "text")


@pytest.mark.parametrize("raw", ["", b"", {"image": ""}, {"image": b""}, {"image": "data:image/png;base64,"}])
def test_empty_image_is_refused(raw: object) -> None:
    """An image has at least one byte."""
    with pytest.raises(InvalidRequest, match="at least one byte"):
        READER.read(raw, "image")


@pytest.mark.parametrize(
    "raw",
    [
        None,
        7,
        True,
        [],
        ["a cat"],
        {},
        {"text": "a", "image": BASE64},
        {"txt": "a"},
        {"text": b"a"},
        {"text": ["a"]},
        {"image": None},
        {"key": 7},
        {1: "a"},
    ],
)
def test_what_is_no_item_is_refused(raw: object) -> None:
    """The message names the forms that there are."""
    with pytest.raises(InvalidRequest, match="text, image, image_url, key"):
        READER.read(raw, "text")


@pytest.mark.parametrize("value", ["data:", {}, {"url": 1}, {"url": DATA_URL, "detail": "low"}])
def test_image_url_is_an_object_with_a_url(value: object) -> None:
    """Options that we do not have are refused and not ignored."""
    with pytest.raises(InvalidRequest):
        READER.read({"image_url": value}, "image")


@pytest.mark.parametrize(
    "key", ["", "i:", "i:zz", f"x:{'01' * 17}", f"i:{'03' * 17}", f"t:{'01' * 17}", f"i:{'01' * 16}"]
)
def test_key_that_is_none_of_ours_is_refused(key: str) -> None:
    """A wrong length, a foreign prefix, or a digest of the other modality."""
    with pytest.raises(InvalidRequest, match="not a content key"):
        READER.read({"key": key}, "text")


@pytest.mark.parametrize(
    ("raw", "plain", "wanted"),
    [
        ({"text": "a"}, "image", "image"),
        (PNG, "text", "text"),
        ({"key": READER.read("a", "text").key}, "image", "image"),
    ],
)
def test_item_of_the_other_modality_is_refused(raw: object, plain: Modality, wanted: Modality) -> None:
    """A text among images, and an image among texts, are told apart by what they say they are."""
    with pytest.raises(InvalidRequest, match=r"expected an? \w+, not an? \w+"):
        READER.read(raw, plain, wanted)


def test_list_keeps_its_order_and_places_its_errors() -> None:
    """Each item stands for itself; an error names its place."""
    good, bad, also_good = read_all(READER, [BASE64, "?", PNG], plain="image", wanted="image", param="images")

    assert isinstance(good, Item)
    assert good == also_good
    assert isinstance(bad, InvalidRequest)
    assert bad.param == "images[1]"


@settings(deadline=None, max_examples=300)
@given(raw=RAW_ITEMS, plain=st.sampled_from(["image", "text"]), wanted=st.sampled_from(["image", "text", None]))
def test_anything_is_an_item_or_an_error_of_ours(raw: Any, plain: Modality, wanted: Modality | None) -> None:
    """Whatever a body holds, it is read or refused: never another exception."""
    (result,) = read_all(READER, [raw], plain=plain, wanted=wanted, param="images")

    assert isinstance(result, (Item, ApiError))
    if isinstance(result, Item) and wanted is not None:
        assert result.modality == wanted


@settings(deadline=None)
@given(one=st.binary(min_size=1), other=st.binary(min_size=1))
def test_keys_are_equal_exactly_where_contents_are(one: bytes, other: bytes) -> None:
    """Two images share a key when they are the same bytes, and a key leads back to its digest."""
    first, second = READER.read(one, "image"), READER.read({"image": base64.b64encode(other).decode()}, "text")

    assert (first.key == second.key) == (one == other)
    assert READER.read({"key": first.key}, "text").digest == first.digest


@settings(deadline=None)
@given(content=st.text(min_size=1, max_size=64))
def test_text_and_image_of_the_same_bytes_share_no_key(content: str) -> None:
    """Modality is part of the key, whatever is in the item."""
    data = content.encode("utf-8", "surrogatepass")

    assert READER.read(content, "text").digest != READER.read(data, "image").digest
