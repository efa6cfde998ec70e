"""Open one encoded picture within limits. Nothing is decoded before its header has been checked."""

import io
import warnings

from PIL import Image, UnidentifiedImageError

from tiers.config import ImageLimits
from tiers.errors import BadItem

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
PREPROCESSING_VERSION = "1"


def open_image(data: bytes, limits: ImageLimits) -> Image.Image:
    """Decode `data` to a PIL image, RGB or as its file says (the model's transform converts).

    Raises:
        BadItem: `unsupported_media` for a format we don't read, `too_large` for more pixels than allowed
            or a shape too long, `bad_image` for a corrupt, truncated or tiny picture.
    """
    image = _open_header(data)
    width, height = image.size
    if min(width, height) < limits.min_side_px:
        raise BadItem("bad_image", f"picture is {width}x{height}; each side needs {limits.min_side_px} px")
    if width * height > limits.max_pixels:
        raise BadItem("too_large", f"picture is {width}x{height}; at most {limits.max_pixels} pixels")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise BadItem(
            "too_large", f"picture is {width}x{height}; one side at most {limits.max_aspect:g} times the other"
        )
    try:
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError) as error:
        raise BadItem("bad_image", "picture is truncated or corrupt") from error
    if image.mode == "P":
        image.info.pop("transparency", None)  # plays no part on the way to RGB, but Pillow would warn of it
    return image


def _open_header(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        # Our own pixel limit is checked next; Pillow's warning at its own limit would only be noise.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError as error:
            raise BadItem("unsupported_media", f"not one of {', '.join(FORMATS)}") from error
        except Image.DecompressionBombError as error:
            raise BadItem("too_large", "picture declares too many pixels") from error
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise BadItem("bad_image", "picture's header is corrupt") from error
