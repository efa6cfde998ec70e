"""Pictures that no tier can embed, each failing in its own way."""

import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from bench.photographs import photographs

BOMB_SIDE = 13_000


def poisoned_pictures(count: int, first: int = 0) -> Iterator[bytes]:
    """Yield files of three kinds in turn, each file another: truncated, too many pixels, too small."""
    for number, photograph in enumerate(photographs(count, first), first):
        kinds = (truncated(photograph), bomb(number), dot(number))
        yield kinds[number % len(kinds)]


def truncated(jpeg: bytes) -> bytes:
    """Return the first half of a file: a header in order, and a picture that ends in the middle."""
    return jpeg[: len(jpeg) // 2]


def bomb(number: int) -> bytes:
    """Return a PNG file of a few bytes that declares 169 million pixels."""
    header = struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 8, 2, 0, 0, 0)
    text = _chunk(b"tEXt", f"number\0{number}".encode())
    data = _chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + text + data + _chunk(b"IEND", b"")


def dot(number: int) -> bytes:
    """Return a PNG file of one pixel."""
    buffer = io.BytesIO()
    red, green, blue = number % 256, number // 256 % 256, number // 65_536 % 256
    Image.new("RGB", (1, 1), (red, green, blue)).save(buffer, "PNG")
    return buffer.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
