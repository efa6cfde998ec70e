"""What the first bytes say: the formats that the tiers read, and no other."""

import pytest
from PIL import Image

from router.image_format import SIGNATURE_BYTES, is_image
from tests.pictures import encode
from tiers.images import FORMATS

PICTURE = Image.new("RGB", (8, 8), "red")


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_that_the_tiers_read_is_told_by_its_first_bytes(file_format: str) -> None:
    """By no more of them than are said to be needed."""
    assert is_image(encode(PICTURE, file_format)[:SIGNATURE_BYTES])


@pytest.mark.parametrize("file_format", ["TIFF", "ICO", "PPM", "TGA", "PDF"])
def test_format_that_the_tiers_do_not_read_is_no_image(file_format: str) -> None:
    """They would refuse it after it has been fetched."""
    assert not is_image(encode(PICTURE, file_format))


@pytest.mark.parametrize(
    "data", [b"", b"G", b"<html>", b"\x1f\x8b\x08", b"RIFF\0\0\0\0WAVE", b"<svg xmlns=", b"\x89PNG", b"root:x:0:0"]
)
def test_what_is_no_picture_is_no_image(data: bytes) -> None:
    """Pages, archives, sounds, drawings, and files of the system."""
    assert not is_image(data)
