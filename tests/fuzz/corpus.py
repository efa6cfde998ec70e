"""Hostile pictures, made when they are needed: bombs, cut files, files of two kinds, and what decoders stumble over.

`python -m tests.fuzz.corpus DIRECTORY` writes them down to look at.
"""

import io
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from tiers.images import FORMATS

SIDE = 20_000
FRAMES = 10_000
NOISE = Image.fromarray(np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8))


@cache
def corpus() -> dict[str, bytes]:
    """Every file by its name."""
    return {name: data for part in (_bombs, _cut, _of_two_kinds, _odd_modes, _odd_extras) for name, data in part()}


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    """An image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG of a declared size, with these chunks between its header and its end."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def _bombs() -> Iterator[tuple[str, bytes]]:
    packer = zlib.compressobj(9)
    row = bytes(SIDE // 8 + 1)
    zeros = b"".join(packer.compress(row) for _ in range(SIDE)) + packer.flush()
    yield "bomb.png", png(SIDE, SIDE, chunk(b"IDAT", zeros), depth=1)
    # Few pixels, with ten thousand times the data that they take.
    yield "overlong.png", png(64, 64, chunk(b"IDAT", zlib.compress(bytes(40_000_000), 9)))
    yield "largest.png", png(5000, 5000, chunk(b"IDAT", zlib.compress(bytes(5001 * 5000), 9)))
    text = zlib.compress(bytes(20_000_000), 9)
    yield "text.png", png(8, 8, chunk(b"zTXt", b"a\0\0" + text), chunk(b"IDAT", zlib.compress(bytes(9 * 8))))
    frame = b"\x21\xf9\x04\x00\x00\x00\x00\x00\x2c" + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\x02\x02\x84\x51\x00"
    head = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes(6)
    yield "frames.gif", head + frame * FRAMES + b"\x3b"
    yield "screen.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + frame + b"\x3b"
    # The screen is small, the frame on it is not.
    large = frame.replace(struct.pack("<HH", 8, 8), struct.pack("<HH", 65535, 65535))
    yield "frame-beyond-screen.gif", head + large + b"\x3b"
    yield "huge.jpeg", _resized_jpeg(65500, 65500)
    yield "progressive.jpeg", _resized_jpeg(5000, 5000, progressive=True)
    yield "scans.jpeg", _many_scans(2000)
    yield "huge.bmp", encode(NOISE, "BMP")[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + encode(NOISE, "BMP")[26:]
    yield "upside-down.bmp", encode(NOISE, "BMP")[:18] + struct.pack("<ii", 64, -(2**31)) + encode(NOISE, "BMP")[26:]
    webp = b"VP8X" + struct.pack("<II", 10, 0) + b"\xff\xff\xff" * 2
    yield "huge.webp", b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp
    yield "animated.webp", encode(NOISE, "WEBP", save_all=True, append_images=[NOISE.rotate(i) for i in range(1, 60)])


def _resized_jpeg(width: int, height: int, **options: object) -> bytes:
    """A JPEG whose header declares another size than it has."""
    data = encode(NOISE, "JPEG", **options)
    marker = b"\xff\xc2" if options else b"\xff\xc0"
    place = data.index(marker) + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def _many_scans(count: int) -> bytes:
    """A progressive JPEG of 4000 x 4000 whose first scan comes again and again: each is a pass over all of it."""
    data = _resized_jpeg(4000, 4000, progressive=True)
    start = data.index(b"\xff\xda")
    following = data.index(b"\xff\xda", start + 2)
    scan = data[start:following]
    return data[:following] + scan * count + data[following:]


def _cut() -> Iterator[tuple[str, bytes]]:
    yield "nothing", b""
    for file_format in FORMATS:
        data = encode(NOISE, file_format)
        for tenth in range(1, 10):
            yield f"cut-{tenth}0.{file_format.lower()}", data[: len(data) * tenth // 10]


def _of_two_kinds() -> Iterator[tuple[str, bytes]]:
    yield "script.gif", b"GIF89a/*" + encode(NOISE, "GIF")[8:] + b"*/=1;alert(1)"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("hello.txt", "hello")
    yield "archive.jpeg", encode(NOISE, "JPEG") + archive.getvalue()
    yield "page.png", png(8, 8, chunk(b"tEXt", b"a\0<script>"), chunk(b"IDAT", zlib.compress(bytes(9 * 8)))) + b"<html>"
    yield "jpeg-in-webp", b"RIFF\x10\x00\x00\x00WEBP" + encode(NOISE, "JPEG")
    yield "vector.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
    yield "postscript.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n"


def _odd_modes() -> Iterator[tuple[str, bytes]]:
    for mode in ("1", "L", "LA", "P", "RGBA"):
        yield f"{mode}.png", encode(NOISE.convert(mode), "PNG")
    yield "16-bit.png", encode(Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16), "PNG")
    yield "cmyk.jpeg", encode(NOISE.convert("CMYK"), "JPEG")
    yield "grey.jpeg", encode(NOISE.convert("L"), "JPEG")
    yield "rgba.webp", encode(NOISE.convert("RGBA"), "WEBP")
    yield "lossless.webp", encode(NOISE, "WEBP", lossless=True)
    pixels = chunk(b"IDAT", zlib.compress(bytes([0, 255, 255, 255] * 4)))
    yield "no-palette.png", png(3, 4, pixels, colour=3)
    yield "short-palette.png", png(3, 4, chunk(b"PLTE", b"\1\2\3"), pixels, colour=3)
    yield "no-such-depth.png", png(3, 4, pixels, depth=3)
    transparency = (chunk(b"PLTE", bytes(768)), chunk(b"tRNS", bytes(300)))
    yield "long-transparency.png", png(3, 4, *transparency, pixels, colour=3)
    yield "transparent.gif", encode(NOISE.convert("P"), "GIF", transparency=3)


def _odd_extras() -> Iterator[tuple[str, bytes]]:
    for orientation in (0, 6, 9, 65535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"orientation-{orientation}.jpeg", encode(NOISE, "JPEG", exif=exif)
    yield "exif.jpeg", encode(NOISE, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + b"\xff" * 60_000)
    yield (
        "exif-circle.jpeg",
        encode(NOISE, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\1\0\0\0\x08\0\0\0"),
    )
    yield "profile.jpeg", encode(NOISE, "JPEG", icc_profile=b"\xff" * 50_000)
    pixels = chunk(b"IDAT", zlib.compress(bytes(9 * 8)))
    yield "profile.png", png(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(b"\xff" * 500)), pixels)
    yield "profile-no-zlib.png", png(8, 8, chunk(b"iCCP", b"a\0\0garbage"), pixels)
    yield "animated.png", encode(NOISE, "PNG", save_all=True, append_images=[NOISE.rotate(90)] * 5)
    yield "animated-without-frames.png", png(8, 8, chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)), pixels)
    yield "chunks.png", png(8, 8, *[chunk(b"tEXt", b"a\0b")] * 50_000, pixels)


def main(directory: str) -> None:
    """Write the corpus down."""
    for name, data in corpus().items():
        Path(directory, name).write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1])
