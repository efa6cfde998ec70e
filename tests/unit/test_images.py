"""Opening pictures within limits: the header is checked before anything is decoded."""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.pictures import encode
from tiers.config import ImageLimits
from tiers.errors import BadItem
from tiers.images import FORMATS, open_image

LIMITS = ImageLimits()
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG of a declared size, with no pixels in it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def refuse(data: bytes, limits: ImageLimits = LIMITS) -> BadItem:
    """Open a picture that can't be opened, and say why."""
    with pytest.raises(BadItem) as caught:
        open_image(data, limits)
    return caught.value


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_is_decoded(file_format: str) -> None:
    """The formats that the message names are the formats that work."""
    image = open_image(encode(NOISE, file_format), LIMITS)

    assert image.size == (30, 40)
    assert image.convert("RGB").getpixel((0, 0)) is not None


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_mode_of_a_png_is_decoded(mode: str) -> None:
    """Bilevel, grey, palette, alpha and sixteen bits."""
    image = NOISE.convert("L").convert("I").convert("I;16") if mode == "I;16" else NOISE.convert(mode)

    assert open_image(encode(image), LIMITS).convert("RGB").size == (30, 40)


@pytest.mark.parametrize("file_format", ["TIFF", "ICO", "PPM", "TGA"])
def test_other_formats_are_unsupported(file_format: str) -> None:
    """What Pillow could read is not what we read: each decoder is a door."""
    error = refuse(encode(NOISE, file_format))

    assert error.code == "unsupported_media"
    assert "JPEG, PNG, WEBP, GIF, BMP" in error.message


@pytest.mark.parametrize("data", [b"", b"a cat", b"%PDF-1.7", b"<svg/>", b"\x89PNG", b"\xff\xd8"])
def test_bytes_that_are_no_picture_are_unsupported(data: bytes) -> None:
    """Text, other files, and magic bytes alone."""
    assert refuse(data).code == "unsupported_media"


@pytest.mark.parametrize("size", [(60_000, 60_000), (5001, 5000), (2**31 - 1, 3), (1_000_000, 30)])
def test_declared_pixels_are_checked_before_decoding(size: tuple[int, int]) -> None:
    """The file has no pixels at all: to be told `too_large` it can't have been decoded."""
    assert refuse(png_header(*size)).code == "too_large"


def test_pixels_up_to_the_limit_are_decoded() -> None:
    """The limit is on width times height and is allowed itself."""
    limits = ImageLimits(max_pixels=1200)

    assert open_image(encode(NOISE), limits).size == (30, 40)
    assert refuse(encode(NOISE), ImageLimits(max_pixels=1199)).code == "too_large"


@pytest.mark.parametrize("size", [(1, 1), (2, 100), (100, 2)])
def test_tiny_picture_is_bad(size: tuple[int, int]) -> None:
    """Fewer than three pixels on a side are nothing to see; the header says so."""
    error = refuse(png_header(*size))

    assert error.code == "bad_image"
    assert f"{size[0]}x{size[1]}" in error.message


@pytest.mark.parametrize("size", [(3, 301), (301, 3)])
def test_long_thin_picture_is_too_large(size: tuple[int, int]) -> None:
    """Scaled until its short side fills the model's input, a strip of few pixels becomes gigabytes."""
    assert refuse(png_header(*size)).code == "too_large"
    assert open_image(encode(Image.new("RGB", (3, 300))), LIMITS).size == (3, 300)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_picture_is_bad(file_format: str, share: float) -> None:
    """Its header is fine and its end is missing."""
    data = encode(NOISE, file_format)

    error = refuse(data[: int(len(data) * share)])

    assert (error.code, error.message) in {
        ("bad_image", "picture is truncated or corrupt"),
        ("bad_image", "picture's header is corrupt"),
    }


def test_corrupt_picture_is_bad() -> None:
    """A PNG whose data is no zlib stream."""
    data = bytearray(encode(NOISE))
    data[60:80] = bytes(20)

    assert refuse(bytes(data)).code == "bad_image"


def test_animation_is_its_first_frame() -> None:
    """A GIF of two frames is a picture of the first."""
    buffer = io.BytesIO()
    red, blue = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    red.save(buffer, "GIF", save_all=True, append_images=[blue])

    assert open_image(buffer.getvalue(), LIMITS).convert("RGB").getpixel((0, 0)) == (255, 0, 0)


@settings(deadline=None, max_examples=150)
@given(
    file_format=st.sampled_from(FORMATS),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
    length=st.integers(0, 4000),
)
def test_damaged_picture_is_decoded_or_a_bad_item(
    file_format: str, changes: list[tuple[int, int]], length: int
) -> None:
    """Whatever bytes are changed or cut, nothing but `BadItem` comes out."""
    data = bytearray(encode(NOISE, file_format))
    for place, value in changes:
        data[place % len(data)] = value

    with suppress(BadItem):
        open_image(bytes(data[:length]), LIMITS)
