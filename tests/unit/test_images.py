"""Opening pictures within limits: the header is checked before anything is decoded."""

import io
import struct
import time
import tracemalloc
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
from tiers.images import (
    FORMATS,
    MAX_SCANS,
    SCAN_MARKER,
    can_be_halved,
    decode,
    is_ringing,
    open_image,
    read_header,
)

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


def progressive(scans: int) -> bytes:
    """A progressive JPEG whose first scan comes so often that there are so many in all."""
    buffer = io.BytesIO()
    NOISE.save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    first = data.index(SCAN_MARKER)
    second = data.index(SCAN_MARKER, first + 2)
    return data[:second] + data[first:second] * (scans - data.count(SCAN_MARKER)) + data[second:]


def test_scans_are_counted_before_decoding() -> None:
    """A file of eight megabytes has room for a hundred thousand, each of them a pass over all pixels."""
    assert open_image(progressive(MAX_SCANS), LIMITS).size == (30, 40)
    assert refuse(progressive(MAX_SCANS + 1)).code == "too_large"


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


def test_further_frames_cost_nothing() -> None:
    """A thousand of them are not even looked at: what follows the first may be missing or no image at all."""
    buffer = io.BytesIO()
    frames = [Image.new("L", (64, 64), level % 256) for level in range(1000)]
    frames[7].save(buffer, "GIF", save_all=True, append_images=frames[8:])
    first = len(encode(frames[7], "GIF"))

    started = time.process_time()
    image = open_image(buffer.getvalue()[: first + 200], LIMITS)

    assert image.convert("RGB").getpixel((0, 0)) == (7, 7, 7)
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize("chunk", [b"zTXt", b"iTXt", b"iCCP"])
@pytest.mark.parametrize("is_last", [False, True])
def test_compressed_extras_are_not_inflated(chunk: bytes, *, is_last: bool) -> None:
    """Forty megabytes of text or profile in forty kilobytes: refused or left alone, and never unpacked."""
    bomb = zlib.compress(bytes(40_000_000))
    body = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[chunk] + bomb
    extra = struct.pack(">I", len(body)) + chunk + body + struct.pack(">I", zlib.crc32(chunk + body))
    data = encode(NOISE)
    place = len(data) - 12 if is_last else 33

    tracemalloc.start()
    with suppress(BadItem):
        open_image(data[:place] + extra + data[place:], LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 20_000_000


def test_large_exif_is_no_matter() -> None:
    """It is never read: neither turned by, nor parsed."""
    data = io.BytesIO()
    NOISE.save(data, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + b"\xff" * 60_000)

    assert open_image(data.getvalue(), LIMITS).size == (30, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_not_applied(orientation: int) -> None:
    """As open_clip does, whose embeddings ours are to equal."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    NOISE.save(buffer, "JPEG", exif=exif)

    assert open_image(buffer.getvalue(), LIMITS).tobytes() == open_image(encode(NOISE, "JPEG"), LIMITS).tobytes()


def test_sixteen_bits_become_their_high_byte() -> None:
    """As Pillow reads sixteen-bit colour; its own conversion of sixteen-bit grey is white from level 255 on."""
    levels = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)

    image = open_image(encode(Image.fromarray(levels)), LIMITS)

    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), levels >> 8)


def test_header_is_checked_before_pixels_are_read() -> None:
    """What comes of the check is a picture that has not been decoded."""
    data = encode(NOISE, "JPEG")

    header = read_header(data[:-200], LIMITS)

    assert header.size == (30, 40)
    with pytest.raises(BadItem):
        decode(header)


def test_jpeg_of_even_sides_can_be_halved() -> None:
    """And nothing else: other decoders can't, and half of an odd side is no half."""
    even, odd = encode(NOISE, "JPEG"), encode(NOISE.resize((31, 40)), "JPEG")

    assert can_be_halved(read_header(even, LIMITS))
    assert not can_be_halved(read_header(odd, LIMITS))
    assert not can_be_halved(read_header(encode(NOISE), LIMITS))
    assert decode(read_header(even, LIMITS), halved=True).size == (15, 20)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_hard_edges_beside_white_or_black_ring(mode: str) -> None:
    """Stripes do; a ramp of the same levels and an even area do not."""
    ramp = Image.linear_gradient("L")
    stripes = Image.fromarray(np.tile(np.array([0, 255], dtype=np.uint8), (256, 128)))

    assert is_ringing(stripes.convert(mode))
    assert not is_ringing(ramp.convert(mode))
    assert not is_ringing(Image.new(mode, (256, 256)))


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
