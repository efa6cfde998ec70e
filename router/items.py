"""Turn one raw item of a request into bytes or text with its content key, or into its own error."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import pybase64

from cache.errors import InvalidKey
from cache.keys import ContentHasher, parse_public_key, public_key
from router.errors import ApiError, InvalidRequest, TooLarge, UrlNotFetched
from tiers.messages import Modality

_FORMS = "an item is a string or an object with one of: text, image, image_url, key"


class Item(NamedTuple):
    """One image or text. `content` is None where only its key was sent.

    A tuple, because dozens are made per request and a frozen dataclass takes three times as long to make.
    """

    modality: Modality
    digest: bytes
    content: bytes | str | None
    length: int | None
    tenant: str = ""
    """In whose part of the cache it is looked up and kept; empty where all share one."""

    @property
    def key(self) -> str:
        """The content key callers may send instead of the bytes."""
        return public_key(self.digest, self.modality)


@dataclass(frozen=True, slots=True)
class ItemReader:
    """Reads raw items of one service: its hasher and its limits. `tenant` is whose items it reads, if that matters."""

    hasher: ContentHasher
    text_chars: int
    tenant: str = ""

    def read(self, raw: object, plain: Modality, wanted: Modality | None = None) -> Item:
        """Read one item.

        Args:
            raw: What the body holds: a string, bytes or a mapping with one key.
            plain: What a bare string is.
            wanted: The modality that is allowed here, or None for both.

        Raises:
            UrlNotFetched: The item is an image that has to be fetched from a URL first.
            ApiError: The item is malformed or over a limit.
        """
        try:
            item = self._read(raw, plain)
        except UrlNotFetched:
            if wanted == "text":
                raise InvalidRequest("expected a text, not an image") from None
            raise
        if wanted is not None and item.modality != wanted:
            raise InvalidRequest(f"expected {_with_article(wanted)}, not {_with_article(item.modality)}")
        return item

    def _read(self, raw: object, plain: Modality) -> Item:
        if isinstance(raw, str):
            return self._image(raw) if plain == "image" else self._text(raw)
        if isinstance(raw, bytes):
            return self._image(raw)
        if isinstance(raw, dict) and len(raw) == 1:
            ((name, value),) = raw.items()
            return self._read_named(name, value)
        raise InvalidRequest(_FORMS)

    def _read_named(self, name: object, value: object) -> Item:
        if isinstance(value, str):
            if name == "key":
                return self._by_key(value)
            if name == "text":
                return self._text(value)
        if name == "image" and isinstance(value, (str, bytes)):
            return self._image(value)
        if name == "image_url":
            return self._image_url(value)
        raise InvalidRequest(_FORMS)

    def _text(self, text: str) -> Item:
        if not text:
            raise InvalidRequest("a text has at least one character")
        if len(text) > self.text_chars:
            raise TooLarge(f"a text has at most {self.text_chars} characters")
        length = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        return Item("text", self.hasher.text(text), text, length, self.tenant)

    def _image(self, raw: str | bytes) -> Item:
        data = raw if isinstance(raw, bytes) else _decode_base64(raw)
        if not data:
            raise InvalidRequest("an image has at least one byte")
        return Item("image", self.hasher.image(data), data, len(data), self.tenant)

    def _by_key(self, key: str) -> Item:
        try:
            digest = parse_public_key(key)
        except InvalidKey as error:
            raise InvalidRequest("not a content key") from error
        return Item("image" if key.startswith("i:") else "text", digest, None, None, self.tenant)

    def _image_url(self, value: object) -> Item:
        url = value.get("url") if isinstance(value, Mapping) and len(value) == 1 else None
        if not isinstance(url, str):
            raise InvalidRequest("image_url is an object with one key: url")
        if not url.startswith("data:"):
            raise UrlNotFetched("this service fetches no URLs; send a data: URL or the bytes")
        return self._image(url)


def read_all(
    reader: ItemReader, raw_items: list[object], *, plain: Modality, wanted: Modality | None, param: str
) -> list[Item | ApiError]:
    """Read a list; each item stands for itself, and an error names its place."""
    items: list[Item | ApiError] = []
    for index, raw in enumerate(raw_items):
        try:
            items.append(reader.read(raw, plain, wanted))
        except ApiError as error:
            items.append(error.at(f"{param}[{index}]"))
    return items


def _decode_base64(raw: str) -> bytes:
    payload = raw
    if raw.startswith("data:"):
        head, comma, payload = raw.partition(",")
        if not comma or not head.endswith(";base64"):
            raise InvalidRequest("a data: URL has the form data:image/...;base64,...")
    with suppress(ValueError):
        return _decode_strictly(payload)
    try:
        return _decode_strictly("".join(payload.split()))  # MIME wraps base64 into lines
    except ValueError as error:
        raise InvalidRequest("an image is not valid base64") from error


def _decode_strictly(payload: str) -> bytes:
    """Decode at memory speed (SIMD); `binascii` takes fifty times as long for a photograph."""
    return pybase64.b64decode(payload, validate=True)


def _with_article(modality: Modality) -> str:
    return {"image": "an image", "text": "a text"}[modality]
