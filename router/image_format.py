"""What the first bytes of a file say of its format: those that the tiers read, without decoding anything. Pure."""

SIGNATURE_BYTES = 12
"""So many bytes tell every format."""
_PREFIXES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM")


def is_image(data: bytes | bytearray) -> bool:
    """Whether a file begins as JPEG, PNG, GIF, BMP or WebP do, whatever it was called by who sent it."""
    return data.startswith(_PREFIXES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
