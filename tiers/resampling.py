"""Scale the part of a picture that is kept, with Pillow's filter and with torch's faster copy of it."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
Filter = Literal["bicubic", "bilinear"]
PILLOW_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def resample(image: Image.Image, scaled: Size, corner: Size, kept: Size, filter_name: Filter) -> Pixels:
    """Scale the whole of `image` to `scaled`, cut `kept` out at `corner` and convert it to RGB.

    Sizes are (width, height), the corner is (left, top), in pixels. As in open_clip, the picture is scaled in its
    own mode and converted then.

    Returns:
        uint8, shape (height, width, 3).
    """
    if image.mode == "RGB" and image.size != scaled and _is_vectorised():
        return _resample_with_torch(image, scaled, corner, kept, filter_name)
    return np.asarray(_resample_with_pillow(image, scaled, corner, kept, filter_name).convert("RGB"))


def _is_vectorised() -> bool:
    # Without these instructions torch takes twice as long as Pillow; with them a quarter, copying included.
    return torch.backends.cpu.get_cpu_capability().startswith("AVX")


def _resample_with_torch(image: Image.Image, scaled: Size, corner: Size, kept: Size, filter_name: Filter) -> Pixels:
    """At most one level from Pillow, whose fixed-point weights it has, rounded elsewhere. Releases the GIL."""
    batch = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    whole = torch.nn.functional.interpolate(batch, size=scaled[::-1], mode=filter_name, antialias=True)
    (left, top), (width, height) = corner, kept
    pixels: Pixels = whole[0, :, top : top + height, left : left + width].permute(1, 2, 0).numpy()
    return pixels


def _resample_with_pillow(
    image: Image.Image, scaled: Size, corner: Size, kept: Size, filter_name: Filter
) -> Image.Image:
    left, top = corner
    right, bottom = left + kept[0], top + kept[1]
    if image.size == scaled or image.mode in {"1", "P"}:
        # Pillow takes the nearest pixel in these modes, and which one that is depends on the box by rounding.
        whole = image if image.size == scaled else image.resize(scaled)
        return whole.crop((left, top, right, bottom))
    across, down = image.width / scaled[0], image.height / scaled[1]
    box = (left * across, top * down, min(right * across, image.width), min(bottom * down, image.height))
    return image.resize(kept, PILLOW_FILTERS[filter_name], box)
