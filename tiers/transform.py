"""open_clip's image transform, in a fraction of its time: same geometry, same filter, same treatment of modes."""

import io
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from tiers.config import ImageLimits
from tiers.errors import BadItem
from tiers.images import DECODING_ERRORS, FORMATS, can_be_halved, decode, is_ringing, open_image, read_header
from tiers.resampling import Filter, Pixels, Size, resample

logger = logging.getLogger(__name__)
CONVERSION_ERRORS = (*DECODING_ERRORS, RuntimeError)
# A JPEG is decoded at half of its sides only where it is large and that leaves so many times the pixels needed a side.
HALVED_OVERSAMPLING = 4.0
HALVED_FROM_PIXELS = 2_000_000
# Grey levels by which a value may differ from open_clip's on the probes. On their noise the two roundings differ by up
# to two, and one pixel of shift by a hundred.
PROBE_TOLERANCE_LEVELS = 4.0
PROBE_SIZES = ((61, 47), (20, 33), (300, 40))


class ImageTransform(Protocol):
    """From the bytes of a file to a model's input."""

    def prepare(self, data: bytes, limits: ImageLimits) -> torch.Tensor:
        """Decode and transform one encoded picture: float32, shape (3, height, width), normalised.

        Raises:
            BadItem: The picture is over a limit, of an unknown format, or corrupt.
        """


class Preprocessing(BaseModel):
    """The fields of open_clip's `PreprocessCfg`; one that we don't know is an error, not a guess."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int | Size
    mode: Literal["RGB"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear", "random"] = "bicubic"
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest"
    fill_color: int = 0


@dataclass(frozen=True, slots=True)
class Geometry:
    """The whole picture's scaled size and the box of it that is kept: (width, height) and (left, top), in pixels.

    The box is cut to the scaled picture: what it lacks of the model's input is padded on both sides.
    """

    scaled: Size
    corner: Size
    kept: Size


class FastTransform:
    """What open_clip's transform computes. Thread-safe."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        size = preprocessing.size
        self._height, self._width = (size, size) if isinstance(size, int) else size
        self._resize_mode = preprocessing.resize_mode
        self._fill = preprocessing.fill_color
        # open_clip forgets `interpolation` where it scales to a shorter side of an oblong input.
        is_bilinear = preprocessing.interpolation == "bilinear"
        keeps_filter = self._resize_mode != "shortest" or self._height == self._width
        self._filter: Filter = "bilinear" if is_bilinear and keeps_filter else "bicubic"
        self._offset = np.array(preprocessing.mean, dtype=np.float32) * 255
        self._scale = (1 / (255 * np.array(preprocessing.std))).astype(np.float32)

    def prepare(self, data: bytes, limits: ImageLimits) -> torch.Tensor:
        """Decode and transform one encoded picture; see `ImageTransform`."""
        header = read_header(data, limits)
        geometry = self.geometry(header.size)
        halved = _may_be_halved(header, geometry)
        image = decode(header, halved=halved)
        if halved and is_ringing(image):
            image = decode(read_header(data, limits))
        try:
            pixels = self._pixels(image, geometry)
        except CONVERSION_ERRORS as error:
            raise BadItem("bad_image", "picture can't be converted to RGB") from error
        return torch.from_numpy(self._normalise(pixels))

    def geometry(self, size: Size) -> Geometry:
        """Say what is kept of a picture of `size` (width, height): whole pixels, rounded as open_clip rounds them."""
        scaled = self._scaled_size(size)
        kept = (min(self._width, scaled[0]), min(self._height, scaled[1]))
        corner = (round((scaled[0] - kept[0]) / 2), round((scaled[1] - kept[1]) / 2))
        return Geometry(scaled, corner, kept)

    def _scaled_size(self, size: Size) -> Size:
        width, height = size
        if self._resize_mode == "squash":
            return self._width, self._height
        if self._resize_mode == "shortest" and self._width == self._height:
            side = self._width
            return (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
        ratios = (height / self._height, width / self._width)
        ratio = max(ratios) if self._resize_mode == "longest" else min(ratios)
        # A strip so thin that nothing of it is left is an error in open_clip; here it is one pixel wide.
        return max(1, round(width / ratio)), max(1, round(height / ratio))

    def _pixels(self, image: Image.Image, geometry: Geometry) -> Pixels:
        kept = resample(image, geometry.scaled, geometry.corner, geometry.kept, self._filter)
        if geometry.kept == (self._width, self._height):
            return kept
        return self._pad(kept, _fill_colour(image, self._fill))

    def _pad(self, kept: Pixels, colour: Pixels) -> Pixels:
        pixels = np.empty((self._height, self._width, 3), dtype=np.uint8)
        pixels[:] = colour
        height, width = kept.shape[:2]
        top, left = (self._height - height) // 2, (self._width - width) // 2
        pixels[top : top + height, left : left + width] = kept
        return pixels

    def _normalise(self, pixels: Pixels) -> NDArray[np.float32]:
        normalised = np.empty((3, *pixels.shape[:2]), dtype=np.float32)
        for channel in range(3):
            np.subtract(pixels[..., channel], self._offset[channel], out=normalised[channel])
        normalised *= self._scale[:, None, None]
        return normalised


class OpenClipTransform:
    """open_clip's own transform, behind our limits and errors."""

    def __init__(self, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self._transform = transform

    def prepare(self, data: bytes, limits: ImageLimits) -> torch.Tensor:
        """Decode and transform one encoded picture; see `ImageTransform`."""
        image = open_image(data, limits)
        try:
            return self._transform(image)
        except CONVERSION_ERRORS as error:
            raise BadItem("bad_image", "picture can't be converted to RGB") from error


def choose_transform(
    preprocessing: Mapping[str, object], transform: Callable[[Image.Image], torch.Tensor]
) -> ImageTransform:
    """Take ours if it knows every field of the configuration and agrees with open_clip's on probes, else open_clip's.

    Args:
        preprocessing: What `open_clip.get_model_preprocess_cfg` says of the model.
        transform: open_clip's own, for inference.
    """
    original = OpenClipTransform(transform)
    try:
        known = Preprocessing.model_validate({k: v for k, v in preprocessing.items() if v is not None})
    except ValidationError as error:
        logger.warning("open_clip's image transform is kept; ours does not know the configuration: %s", error)
        return original
    ours = FastTransform(known)
    tolerance = PROBE_TOLERANCE_LEVELS / 255 / min(known.std)
    if all(_difference(ours, original, _probe(size)) <= tolerance for size in PROBE_SIZES):
        return ours
    logger.warning("open_clip's image transform is kept; ours differs from it")
    return original


def _may_be_halved(header: Image.Image, geometry: Geometry) -> bool:
    width, height = header.size
    oversampling = min(width / geometry.scaled[0], height / geometry.scaled[1]) / 2
    is_worth_it = width * height >= HALVED_FROM_PIXELS and oversampling >= HALVED_OVERSAMPLING
    return is_worth_it and can_be_halved(header)


def _fill_colour(image: Image.Image, fill: int) -> Pixels:
    """What padding with `fill` in the picture's own mode is in RGB: white in CMYK, a colour of the palette in P."""
    bands = len(image.getbands())
    pixel = Image.new(image.mode, (1, 1), fill if bands == 1 else (fill,) * bands)
    if image.mode == "P":
        pixel.putpalette(image.getpalette() or [])
    colour: Pixels = np.asarray(pixel.convert("RGB"))[0, 0]
    return colour


def grey_pictures() -> list[bytes]:
    """A grey picture in each format that is read: Pillow imports a decoder when it first needs it."""
    return [_encoded(Image.new("RGB", (64, 64), "grey"), file_format) for file_format in FORMATS]


def _probe(size: Size) -> bytes:
    levels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return _encoded(Image.fromarray(levels), "BMP")


def _encoded(image: Image.Image, file_format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


def _difference(one: ImageTransform, other: ImageTransform, data: bytes) -> float:
    limits = ImageLimits()
    pair = [transform.prepare(data, limits) for transform in (one, other)]
    return float((pair[0] - pair[1]).abs().max()) if pair[0].shape == pair[1].shape else math.inf
