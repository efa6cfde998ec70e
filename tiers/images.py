"""Open one encoded picture within limits. Nothing is decoded before its header has been checked."""

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from tiers.config import ImageLimits
from tiers.errors import BadItem

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
PREPROCESSING_VERSION = "2"
# Neighbours that differ by so many levels are a hard edge; photographs have 0-7 % of them near white or black, half a
# page of text has 16 %, a whole one 30 %.
HARD_EDGE_LEVELS = 24
RINGING_SHARE = 0.1
# A progressive JPEG has ten scans or so. Each is a pass over the whole picture, and takes ten bytes of the file.
MAX_SCANS = 100
SCAN_MARKER = b"\xff\xda"
# What Pillow raises for damaged files; each decoder has its own way.
DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    Image.DecompressionBombError,
)


def open_image(data: bytes, limits: ImageLimits) -> Image.Image:
    """Decode `data` at full size: what `read_header` and `decode` do together, with their errors."""
    return decode(read_header(data, limits))


def read_header(data: bytes, limits: ImageLimits) -> Image.Image:
    """Read and check a picture's header; its pixels are not decoded.

    Raises:
        BadItem: `unsupported_media` for a format we don't read, `too_large` for more pixels than allowed
            or scans than allowed or a shape too long, `bad_image` for a corrupt header or a tiny picture.
    """
    image = _identify(data)
    width, height = image.size
    if min(width, height) < limits.min_side_px:
        raise BadItem("bad_image", f"picture is {width}x{height}; each side needs {limits.min_side_px} px")
    if width * height > limits.max_pixels:
        raise BadItem("too_large", f"picture is {width}x{height}; at most {limits.max_pixels} pixels")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise BadItem(
            "too_large", f"picture is {width}x{height}; one side at most {limits.max_aspect:g} times the other"
        )
    if isinstance(image, JpegImageFile) and data.count(SCAN_MARKER) > MAX_SCANS:
        raise BadItem("too_large", f"picture has more than {MAX_SCANS} scans")
    return image


def decode(header: Image.Image, *, halved: bool = False) -> Image.Image:
    """Decode the first frame of a picture whose header was read, in the mode of its file, sixteen bits as eight.

    Args:
        header: From `read_header`; it can be decoded once.
        halved: Decode a JPEG at half of its sides, which leaves out half of the work behind its entropy decoding.

    Raises:
        BadItem: `bad_image` for a corrupt or truncated picture.
    """
    if halved:
        header.draft(None, (header.width // 2, header.height // 2))
    try:
        header.load()
    except DECODING_ERRORS as error:
        raise BadItem("bad_image", "picture is truncated or corrupt") from error
    # It plays no part on the way to RGB, but Pillow would warn of it or stumble over a damaged one.
    header.info.pop("transparency", None)
    return _eight_bits(header) if header.mode.startswith("I") else header


def can_be_halved(header: Image.Image) -> bool:
    """Whether the decoder can decode half of each side, and that half is the same piece of the picture."""
    return isinstance(header, JpegImageFile) and header.width % 2 == 0 and header.height % 2 == 0


def is_ringing(image: Image.Image) -> bool:
    """Whether much of a picture are hard edges beside white or black, as in a page of text.

    A full decode clips the ringing of JPEG there and a halved one does not: such pages come out two levels brighter.
    """
    quarter = image.resize((image.width, max(1, image.height // 4)), Image.Resampling.NEAREST)
    levels = np.asarray(quarter).astype(np.int16)
    left, right = levels[:, :-1], levels[:, 1:]
    is_extreme = (np.maximum(left, right) >= 240) | (np.minimum(left, right) < 16)
    return float(np.mean(is_extreme & (np.abs(left - right) >= HARD_EDGE_LEVELS))) > RINGING_SHARE


def _eight_bits(image: Image.Image) -> Image.Image:
    # Pillow's own conversion makes everything over 255 of 65535 white; it is the high byte that shows the picture.
    levels = np.clip(np.asarray(image), 0, 65535) >> 8
    return Image.fromarray(levels.astype(np.uint8))


def _identify(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        # Our own limits are checked next, and a damaged extra of the file (a second frame, a date) is no news. Only
        # Pillow's warnings: these filters belong to the process, and threads that leave in another order keep them.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            return Image.open(io.BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError as error:
            raise BadItem("unsupported_media", f"not one of {', '.join(FORMATS)}") from error
        except Image.DecompressionBombError as error:
            raise BadItem("too_large", "picture declares too many pixels") from error
        except DECODING_ERRORS as error:
            raise BadItem("bad_image", "picture's header is corrupt") from error
