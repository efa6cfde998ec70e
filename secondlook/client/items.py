"""What callers may give as an image or a text, made into what is sent."""

import hashlib
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

# What PNG can hold as it is; other modes are made RGB.
PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


@dataclass(frozen=True, slots=True)
class Key:
    """A content key from an earlier answer (`i:…` or `t:…`), in place of what it stands for."""

    value: str


ImageInput: TypeAlias = "bytes | Path | PillowImage | Key"
"""The bytes of an image file, the file's path, a PIL image, or a content key."""
ItemInput: TypeAlias = "ImageInput | str"
"""An image, or a text."""
Images: TypeAlias = "ImageInput | Sequence[ImageInput]"
Texts: TypeAlias = "str | Key | Sequence[str | Key]"
Items: TypeAlias = "ItemInput | Sequence[ItemInput]"


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file's bytes and the digest that this process knows them by."""

    data: bytes = field(repr=False)
    digest: bytes


Item: TypeAlias = Picture | Key | str


def read_images(given: Images) -> list[Item]:
    """Images only.

    Raises:
        TypeError: Something is no image: a str could be a path, base64 or a mistake.
        OSError: A file can't be read.
    """
    return [_read_image(image) for image in _as_list(given)]


def read_items(given: Items) -> list[Item]:
    """Images and texts.

    Raises:
        TypeError: Something is neither.
        OSError: A file can't be read.
    """
    return [item if isinstance(item, str) else _read_image(item) for item in _as_list(given)]


def read_texts(given: Texts) -> list[Item]:
    """Texts only.

    Raises:
        TypeError: Something is no text.
    """
    return [_read_text(text) for text in _as_list(given)]


def _as_list(given: object) -> list[object]:
    """A list, also of a single one."""
    if isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        return [*given]
    return [given]


def _read_text(text: object) -> Item:
    if not isinstance(text, (str, Key)):
        raise TypeError(f"a text is a str or a Key, not {type(text).__name__}")
    return text


def _read_image(image: object) -> Item:
    if isinstance(image, Key):
        return image
    data = _bytes_of(image)
    # Who picks pictures must not be able to make two of one digest: the wrong one's key would be sent.
    return Picture(data, hashlib.blake2b(data, digest_size=32).digest())


def _bytes_of(image: object) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, Path):
        return image.read_bytes()
    if _is_pillow(image):
        return _as_png(image)
    raise TypeError(f"an image is bytes, a pathlib.Path, a PIL image or a Key, not {type(image).__name__}")


def _is_pillow(value: object) -> "TypeGuard[PillowImage]":
    """Whether it is a PIL image, without importing PIL: who has such an image has imported it."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


def _as_png(image: "PillowImage") -> bytes:
    buffer = io.BytesIO()
    picture = image if image.mode in PNG_MODES else image.convert("RGB")
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
